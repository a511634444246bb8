/// Prometheus' text format 0.0.4, read strictly: whatever a server could stumble over is an error.
struct PrometheusText {
    struct Sample: Equatable {
        var name: String
        var labels: [String: String]
        var value: Double
    }

    struct Family {
        var type: String
        var help: String?
        var samples: [Sample] = []
    }

    struct Malformed: Error, CustomStringConvertible {
        var line: String
        var reason: String
        var description: String { "\(reason): \(line)" }
    }

    private(set) var families: [String: Family] = [:]

    init(_ text: String) throws {
        guard text.hasSuffix("\n") else { throw Malformed(line: "", reason: "the last line has no line break") }
        var current = ""
        var help: (name: String, text: String)?
        var seen: Set<String> = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init) {
            func fail(_ reason: String) -> Malformed { Malformed(line: line, reason: reason) }
            if line.hasPrefix("# HELP ") {
                let parts = line.dropFirst(7).split(separator: " ", maxSplits: 1).map(String.init)
                guard parts.count == 2, Self.isName(parts[0]), help == nil else { throw fail("HELP") }
                help = (parts[0], parts[1])
            } else if line.hasPrefix("# TYPE ") {
                let parts = line.dropFirst(7).split(separator: " ", omittingEmptySubsequences: false).map(String.init)
                guard parts.count == 2, Self.isName(parts[0]), ["counter", "gauge", "histogram"].contains(parts[1]),
                    families[parts[0]] == nil, help == nil || help?.name == parts[0]
                else { throw fail("TYPE") }
                current = parts[0]
                families[current] = Family(type: parts[1], help: help?.text)
                help = nil
            } else {
                guard let type = families[current]?.type, help == nil else { throw fail("a sample without a type") }
                let (sample, key) = try Self.sample(line)
                let isOwn =
                    type == "histogram"
                    ? ["_bucket", "_sum", "_count"].contains { sample.name == current + $0 } : sample.name == current
                guard isOwn else { throw fail("not a sample of \(current)") }
                guard seen.insert(key).inserted else { throw fail("stands twice") }
                if type == "counter", !(sample.value >= 0) { throw fail("a counter below zero") }
                families[current]?.samples.append(sample)
            }
        }
        for (name, family) in families where family.type == "histogram" { try Self.check(name, family) }
    }

    private static func sample(_ line: String) throws -> (Sample, key: String) {
        func fail(_ reason: String) -> Malformed { Malformed(line: line, reason: reason) }
        let name = String(line.prefix { $0 != "{" && $0 != " " })
        guard isName(name) else { throw fail("no name") }
        var rest = Substring(line.dropFirst(name.count))
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest.removeFirst()
            repeat {
                let label = String(rest.prefix { $0 != "=" })
                guard isName(label), !label.contains(":"), labels[label] == nil else { throw fail("label \(label)") }
                rest = rest.dropFirst(label.count)
                guard rest.hasPrefix("=\"") else { throw fail("no value of \(label)") }
                rest = rest.dropFirst(2)
                var value = ""
                while let character = rest.popFirst(), character != "\"" {
                    guard character == "\\" else {
                        value.append(character)
                        continue
                    }
                    switch rest.popFirst() {
                    case "\\": value.append("\\")
                    case "n": value.append("\n")
                    case "\"": value.append("\"")
                    default: throw fail("escape")
                    }
                }
                labels[label] = value
            } while rest.first == "," && rest.popFirst() != nil
            guard rest.popFirst() == "}" else { throw fail("labels do not end") }
        }
        let key = String(line.dropLast(rest.count))
        guard rest.popFirst() == " ", !rest.contains(" ") else { throw fail("blanks") }
        let special = ["NaN": Double.nan, "+Inf": .infinity, "-Inf": -.infinity]
        guard let value = special[String(rest)] ?? Double(rest), !rest.contains("inf"), !rest.contains("nan") else {
            throw fail("no number")
        }
        return (Sample(name: name, labels: labels, value: value), key)
    }

    private static func isName(_ text: String) -> Bool {
        (try? #/[a-zA-Z_:][a-zA-Z0-9_:]*/#.wholeMatch(in: text)) != nil
    }

    /// Buckets grow with their bounds, end with +Inf, and that is the count.
    private static func check(_ name: String, _ family: Family) throws {
        var groups: [[String: String]: [Sample]] = [:]
        for sample in family.samples {
            var labels = sample.labels
            labels["le"] = nil
            groups[labels, default: []].append(sample)
        }
        for (labels, samples) in groups {
            func fail(_ reason: String) -> Malformed { Malformed(line: "\(name)\(labels)", reason: reason) }
            let buckets = try samples.filter { $0.name == name + "_bucket" }.map { sample in
                guard let text = sample.labels["le"], let bound = text == "+Inf" ? .infinity : Double(text) else {
                    throw fail("le")
                }
                return (bound, sample.value)
            }
            guard let last = buckets.last, last.0 == .infinity else { throw fail("no +Inf") }
            guard zip(buckets, buckets.dropFirst()).allSatisfy({ $0.0 < $1.0 && $0.1 <= $1.1 }) else {
                throw fail("buckets do not grow")
            }
            guard samples.first(where: { $0.name == name + "_count" })?.value == last.1,
                samples.contains(where: { $0.name == name + "_sum" && $0.labels == labels })
            else { throw fail("count and sum") }
        }
    }

    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        families.values.flatMap(\.samples).first { $0.name == name && $0.labels == labels }?.value
    }
}
