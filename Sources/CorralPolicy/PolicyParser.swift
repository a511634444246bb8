internal import Yams

extension Policy {
    /// Largest policy text, in bytes.
    public static let maximumBytes = 16 << 20

    /// Reads a policy; JSON is YAML too.
    /// - Parameter file: its name in messages; never opened.
    public init(yaml: String, file: String) throws(PolicyError) {
        var parser = PolicyParser(file: file)
        let policy = parser.parse(yaml)
        guard let policy, parser.problems.isEmpty else { throw PolicyError(problems: parser.problems) }
        self = policy
    }
}

/// Reads the whole file and collects every problem on the way.
private struct PolicyParser {
    let file: String
    var problems: [PolicyError.Problem] = []

    init(file: String) {
        self.file = file
    }

    private typealias Fields = [(key: String, node: Node)]

    /// Brackets or indentation deeper than any policy needs, and than a recursive reader's stack should bear.
    private static let maximumDepth = 32

    mutating func parse(_ text: String) -> Policy? {
        guard text.utf8.count <= Policy.maximumBytes else {
            note(nil, "", "is \(text.utf8.count) bytes long", "at most \(Policy.maximumBytes)")
            return nil
        }
        guard !text.utf8.contains(0) else {
            note(nil, "", "holds a zero byte", "text")
            return nil
        }
        guard isShallow(text) else {
            note(nil, "", "is nested too deeply", "at most \(Self.maximumDepth) levels")
            return nil
        }
        let root: Node?
        do {
            var documents: [Node] = []
            // A `for` would iterate over a copy, and leave the error in it.
            var sequence = try compose_all(yaml: text, .basic)
            while let node = sequence.next() {
                documents.append(node)
                if documents.count > 1 { break }
            }
            // An error ends the sequence, as its end does.
            if let error = sequence.error { throw error }
            guard documents.count < 2 else {
                note(documents[1], "", "a second document begins here", "one policy a file")
                return nil
            }
            root = documents.first
        } catch let error as YamlError {
            note(error)
            return nil
        } catch {
            note(nil, "", "\(error)", nil)
            return nil
        }
        guard let root, let fields = mapping(root, "") else {
            if root == nil { note(nil, "", "is empty", "a policy") }
            return nil
        }
        return policy(fields)
    }

    private func isShallow(_ text: String) -> Bool {
        var depth = 0
        var column = 0
        var atStart = true
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                atStart = false
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth = max(0, depth - 1)
                atStart = false
            case UInt8(ascii: "\n"):
                column = 0
                atStart = true
                continue
            case UInt8(ascii: " "):
                break
            case UInt8(ascii: "-"), UInt8(ascii: "?"):
                // `- - - -` nests in one line.
                break
            default:
                atStart = false
            }
            if atStart { column += 1 }
            if depth > Self.maximumDepth || column > 8 * Self.maximumDepth { return false }
        }
        return true
    }

    // MARK: problems

    private mutating func note(_ node: Node?, _ field: String, _ message: String, _ expected: String?) {
        problems.append(
            PolicyError.Problem(
                file: file, line: node?.mark?.line ?? 0, column: node?.mark?.column ?? 0, field: field,
                message: message,
                expected: expected
            )
        )
    }

    private mutating func note(_ error: YamlError) {
        var line = 0
        var column = 0
        var message = "\(error)"
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            (line, column, message) = (mark.line, mark.column, problem)
        case .duplicatedKeysInMapping(let duplicates, let context):
            (line, column) = (context.mark.line, context.mark.column)
            message = "the key \(duplicates.first ?? "?") stands twice in one mapping"
        default:
            break
        }
        problems.append(
            PolicyError.Problem(file: file, line: line, column: column, field: "", message: message, expected: "YAML")
        )
    }

    private mutating func notSupported(_ node: Node, _ field: String) {
        note(node, field, "not supported yet: \(field)", nil)
    }

    // MARK: kinds of nodes

    private mutating func mapping(_ node: Node, _ field: String) -> Fields? {
        guard case .mapping(let mapping) = node else {
            note(node, field, "is \(kind(node))", "a mapping")
            return nil
        }
        var fields: Fields = []
        for (key, value) in mapping {
            guard case .scalar(let scalar) = key else {
                note(key, field, "a key is \(kind(key))", "a word")
                continue
            }
            fields.append((scalar.string, value))
        }
        return fields
    }

    private mutating func sequence(_ node: Node, _ field: String) -> [Node]? {
        guard case .sequence(let sequence) = node else {
            note(node, field, "is \(kind(node))", "a list")
            return nil
        }
        return Array(sequence)
    }

    private mutating func string(_ node: Node, _ field: String, _ expected: String) -> String? {
        guard case .scalar(let scalar) = node, !isNull(node) else {
            note(node, field, "is \(kind(node))", expected)
            return nil
        }
        return scalar.string
    }

    private func isNull(_ node: Node) -> Bool {
        guard case .scalar(let scalar) = node, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private func kind(_ node: Node) -> String {
        switch node {
        case .scalar(let scalar): isNull(node) ? "empty" : "\"\(scalar.string)\""
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }

    private mutating func unknown(_ key: String, _ node: Node, _ parent: String, _ known: [String]) {
        note(node, path(parent, key), "is no field of a policy", known.joined(separator: ", "))
    }

    private func path(_ parent: String, _ key: String) -> String { parent.isEmpty ? key : "\(parent).\(key)" }

    // MARK: the policy

    private mutating func policy(_ fields: Fields) -> Policy? {
        var policy = Policy(name: "", file: file)
        var hasVersion = false
        var hasName = false
        for (key, node) in fields {
            switch key {
            case "apiVersion":
                hasVersion = true
                if let text = string(node, key, "corral/v1"), text != "corral/v1" {
                    note(node, key, "\"\(text)\" is not a version of policies", "corral/v1")
                }
            case "name":
                hasName = true
                guard let text = string(node, key, "a name") else { break }
                if !isName(text) {
                    note(node, key, "\"\(text)\" is no name", "1 to 63 of [a-z0-9.-], the first a letter or digit")
                }
                policy.name = text
            case "mode":
                guard let text = string(node, key, "enforce or audit") else { break }
                if let mode = Policy.Mode(rawValue: text) {
                    policy.mode = mode
                } else {
                    note(node, key, "\"\(text)\" is no mode", "enforce or audit")
                }
            case "egress": egress(node, &policy)
            case "syscalls": syscalls(node)
            case "trace": trace(node)
            case "limits": limits(node, &policy)
            case "files": files(node, &policy)
            case "env": env(node, &policy)
            default:
                unknown(
                    key, node, "",
                    ["apiVersion", "name", "mode", "egress", "syscalls", "trace", "limits", "files", "env"]
                )
            }
        }
        if !hasVersion { note(nil, "apiVersion", "is missing", "corral/v1") }
        if !hasName { note(nil, "name", "is missing", "a name") }
        return policy
    }

    private func isName(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e
            } && text.utf8.first != 0x2d && text.utf8.first != 0x2e
    }

    private mutating func egress(_ node: Node, _ policy: inout Policy) {
        for (key, value) in mapping(node, "egress") ?? [] {
            switch key {
            case "allow": policy.allow = rules(value, "egress.allow", byDefault: [.tcp, .udp])
            case "deny": policy.deny = rules(value, "egress.deny", byDefault: Set(IPProtocol.allCases))
            case "limits":
                for (limit, limitNode) in mapping(value, "egress.limits") ?? [] {
                    if ["bytes", "connections", "rate", "dnsQueries"].contains(limit) {
                        notSupported(limitNode, "egress.limits.\(limit)")
                    } else {
                        unknown(limit, limitNode, "egress.limits", ["bytes", "connections", "rate", "dnsQueries"])
                    }
                }
            default: unknown(key, value, "egress", ["allow", "deny", "limits"])
            }
        }
    }

    private mutating func rules(_ node: Node, _ field: String, byDefault: Set<IPProtocol>) -> [EgressRule] {
        var rules: [EgressRule] = []
        for (index, entry) in (sequence(node, field) ?? []).enumerated() {
            if let rule = rule(entry, "\(field)[\(index)]", byDefault) { rules.append(rule) }
        }
        return rules
    }

    private mutating func rule(_ node: Node, _ field: String, _ byDefault: Set<IPProtocol>) -> EgressRule? {
        guard let fields = mapping(node, field) else { return nil }
        var target: EgressRule.Target?
        var targets: [String] = []
        var ports: [ClosedRange<UInt16>]?
        var protocols = byDefault
        for (key, value) in fields {
            switch key {
            case "cidr":
                targets.append(key)
                if let prefix = prefix(value, "\(field).cidr") { target = .prefix(prefix) }
            case "preset":
                targets.append(key)
                guard let text = string(value, "\(field).preset", "internet") else { break }
                if text == "internet" {
                    target = .internet
                } else {
                    note(value, "\(field).preset", "\"\(text)\" is no preset", "internet")
                }
            case "domain":
                targets.append(key)
                notSupported(value, "\(field).domain")
            case "ports": ports = portList(value, "\(field).ports")
            case "protocol": protocols = protocolList(value, "\(field).protocol") ?? protocols
            default: unknown(key, value, field, ["domain", "cidr", "preset", "ports", "protocol"])
            }
        }
        if targets.count != 1 {
            note(
                node, field, targets.isEmpty ? "names no destination" : "names \(targets.joined(separator: " and "))",
                "one of domain, cidr, preset"
            )
        }
        if ports != nil && protocols == [.icmp] {
            note(node, "\(field).ports", "icmp has no ports", "no ports, or tcp or udp beside it")
        }
        guard let target else { return nil }
        return EgressRule(target: target, ports: ports, protocols: protocols, line: node.mark?.line ?? 0)
    }

    private mutating func prefix(_ node: Node, _ field: String) -> IPPrefix? {
        let expected = "an address or a block, like 203.0.113.0/24 or 2001:db8::/32"
        guard let text = string(node, field, expected) else { return nil }
        guard let prefix = IPPrefix(text) else {
            let parts = text.split(separator: "/", maxSplits: 1)
            if parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]), length >= 0,
                length <= (parts[0].contains(":") ? 128 : 32)
            {
                let block = IPPrefix(address, length: parts[0].contains(":") ? length : length + 96)
                note(node, field, "\"\(text)\" has bits set past its length", "\(block), or \(address) alone")
            } else {
                note(node, field, "\"\(text)\" is no block of addresses", expected)
            }
            return nil
        }
        // Inside, IPv4 is ::ffff:0:0/96: a wider IPv6 block would cover it unsaid.
        if prefix.length < 96, prefix.contains(IPAddress(ipv4: 0)) {
            note(
                node, field, "\"\(text)\" covers IPv4 as well",
                "2000::/3 or another block of IPv6, and 0.0.0.0/0 beside it")
            return nil
        }
        // Packets to these are judged by the IPv4 address that they carry, so that a rule on them would never be asked.
        if prefix.address.judged != prefix.address || IPPrefix("2002::/16")?.contains(prefix) == true
            || IPPrefix("64:ff9b::/96")?.contains(prefix) == true
        {
            note(node, field, "\"\(text)\" carries IPv4 addresses, which are what is judged", "the IPv4 block itself")
            return nil
        }
        return prefix
    }

    private mutating func portList(_ node: Node, _ field: String) -> [ClosedRange<UInt16>]? {
        guard let entries = sequence(node, field) else { return nil }
        if entries.isEmpty {
            note(node, field, "is an empty list", "at least one port, or no ports at all for every port")
        }
        var ranges: [ClosedRange<UInt16>] = []
        for (index, entry) in entries.enumerated() {
            let expected = "1...65535 or a range \"8000-8010\""
            guard let text = string(entry, "\(field)[\(index)]", expected) else { continue }
            let parts = text.split(separator: "-", omittingEmptySubsequences: false)
            let numbers = parts.compactMap { part -> UInt16? in
                guard part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(part), number > 0 else {
                    return nil
                }
                return number
            }
            guard numbers.count == parts.count, (1...2).contains(numbers.count) else {
                note(entry, "\(field)[\(index)]", "\"\(text)\" is not a port", expected)
                continue
            }
            guard numbers[0] <= numbers[numbers.count - 1] else {
                note(
                    entry, "\(field)[\(index)]", "\"\(text)\" ends before it begins", "\"\(numbers[1])-\(numbers[0])\"")
                continue
            }
            ranges.append(numbers[0]...numbers[numbers.count - 1])
        }
        return ranges
    }

    private mutating func protocolList(_ node: Node, _ field: String) -> Set<IPProtocol>? {
        var entries = [node]
        if case .sequence(let sequence) = node {
            entries = Array(sequence)
            if entries.isEmpty { note(node, field, "is an empty list", "tcp, udp, icmp") }
        }
        var protocols: Set<IPProtocol> = []
        for entry in entries {
            guard let text = string(entry, field, "tcp, udp or icmp") else { continue }
            if let proto = IPProtocol(text) {
                protocols.insert(proto)
            } else {
                note(entry, field, "\"\(text)\" is not a protocol of policies", "tcp, udp or icmp")
            }
        }
        return protocols.isEmpty ? nil : protocols
    }

    private mutating func syscalls(_ node: Node) {
        for (key, value) in mapping(node, "syscalls") ?? [] {
            switch key {
            case "profile":
                guard let text = string(value, "syscalls.profile", "default") else { break }
                if ["strict", "unconfined"].contains(text) {
                    notSupported(value, "syscalls.profile")
                } else if text != "default" {
                    note(value, "syscalls.profile", "\"\(text)\" is no profile", "default, strict or unconfined")
                }
            case "allow", "deny": notSupported(value, "syscalls.\(key)")
            default: unknown(key, value, "syscalls", ["profile", "allow", "deny"])
            }
        }
    }

    private mutating func trace(_ node: Node) {
        for (key, value) in mapping(node, "trace") ?? [] {
            guard key == "syscalls" else {
                unknown(key, value, "trace", ["syscalls"])
                continue
            }
            if case .scalar(let scalar) = value, scalar.string == "none" { continue }
            notSupported(value, "trace.syscalls")
        }
    }

    private mutating func limits(_ node: Node, _ policy: inout Policy) {
        for (key, value) in mapping(node, "limits") ?? [] {
            let field = "limits.\(key)"
            switch key {
            case "cpu":
                let expected = "CPUs, like 0.5, from 0.01 to 1024"
                guard let text = string(value, field, expected) else { break }
                if let cpu = Double(text), (0.01...1024).contains(cpu) {
                    policy.limits.cpu = cpu
                } else {
                    note(value, field, "\"\(text)\" is no number of CPUs", expected)
                }
            case "memory", "disk":
                let expected = "a size, like 256MiB, of at least 1MiB"
                guard let text = string(value, field, expected) else { break }
                guard let bytes = ByteSize.parse(text), bytes >= 1 << 20, bytes <= UInt64(Int64.max) else {
                    note(value, field, "\"\(text)\" is no such size", expected)
                    break
                }
                if key == "memory" { policy.limits.memory = bytes } else { policy.limits.disk = bytes }
            case "pids":
                let expected = "a number of processes, 1...4194304"
                guard let text = string(value, field, expected) else { break }
                if let pids = UInt32(text), (1...4_194_304).contains(pids) {
                    policy.limits.pids = pids
                } else {
                    note(value, field, "\"\(text)\" is no number of processes", expected)
                }
            case "timeout":
                let expected = "a duration, like 30s, 5m or 1h30m"
                guard let text = string(value, field, expected) else { break }
                policy.limits.timeout = DurationText.parse(text)
                if policy.limits.timeout == nil { note(value, field, "\"\(text)\" is no duration", expected) }
            default: unknown(key, value, "limits", ["cpu", "memory", "pids", "disk", "timeout"])
            }
        }
    }

    private mutating func files(_ node: Node, _ policy: inout Policy) {
        for (key, value) in mapping(node, "files") ?? [] {
            switch key {
            case "image":
                guard let text = string(value, "files.image", "host") else { break }
                if text == "host" { policy.files.image = text } else { notSupported(value, "files.image") }
            case "mounts": notSupported(value, "files.mounts")
            default: unknown(key, value, "files", ["image", "mounts"])
            }
        }
    }

    private mutating func env(_ node: Node, _ policy: inout Policy) {
        for (key, value) in mapping(node, "env") ?? [] {
            guard !key.isEmpty, !key.contains("=") else {
                note(value, "env", "\"\(key)\" is no name of a variable", "a name without =")
                continue
            }
            guard case .scalar(let scalar) = value else {
                note(value, "env.\(key)", "is \(kind(value))", "text")
                continue
            }
            policy.env[key] = scalar.string
        }
    }
}
