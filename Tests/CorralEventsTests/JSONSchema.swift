@testable import CorralEvents

/// The part of JSON Schema (draft 2020-12) that docs/events.schema.json is written in. Keys that the schema does not name are
/// problems here, although it permits them to readers: the code is to write nothing that is not described.
struct JSONSchema {
    private let root: JSONValue

    private static let known: Set<String> = [
        "$schema", "$defs", "$ref", "title", "description", "oneOf", "type", "const", "enum", "pattern", "minimum",
        "maximum", "required", "properties", "items", "minItems", "not",
    ]

    struct Unsupported: Error {
        var keyword: String
    }

    init(_ text: [UInt8]) throws {
        root = try JSONReader.value(of: text)
        try Self.check(root)
    }

    /// A keyword that is not looked at would make everything valid.
    private static func check(_ schema: JSONValue) throws {
        guard case .object(let members) = schema else { throw Unsupported(keyword: "\(schema)") }
        for (key, value) in members {
            guard known.contains(key) else { throw Unsupported(keyword: key) }
            switch (key, value) {
            case ("$defs", .object(let schemas)), ("properties", .object(let schemas)):
                for (_, schema) in schemas { try check(schema) }
            case ("items", let schema): try check(schema)
            // Of `not` nothing but that keys stand together.
            case ("not", .object(let members)) where members.map(\.key) == ["required"]: break
            case ("not", _): throw Unsupported(keyword: "not \(value)")
            case ("oneOf", .array(let schemas)): for schema in schemas { try check(schema) }
            default: break
            }
        }
    }

    func problems(of value: JSONValue) -> [String] { problems(of: value, root, "") }

    private func problems(of value: JSONValue, _ schema: JSONValue, _ path: String) -> [String] {
        if case .string(let reference)? = schema["$ref"] {
            let name = reference.split(separator: "/").last.map(String.init) ?? ""
            guard let target = root["$defs"]?[name] else { return ["\(path): no \(reference)"] }
            return self.problems(of: value, target, path)
        }
        if case .array(let choices)? = schema["oneOf"] {
            let results = choices.map { self.problems(of: value, $0, path) }
            if results.count(where: \.isEmpty) == 1 { return [] }
            // The one that fits best tells most.
            return results.min { $0.count < $1.count } ?? ["\(path): fits nothing"]
        }
        var problems: [String] = []
        if let type = schema["type"], !Self.isOf(type, value) { return ["\(path): is not of type \(type)"] }
        if let constant = schema["const"], constant != value { problems.append("\(path): is not \(constant)") }
        if case .array(let values)? = schema["enum"], !values.contains(value) {
            problems.append("\(path): \(value) is none of \(values)")
        }
        if case .string(let pattern)? = schema["pattern"], case .string(let text) = value {
            if (try? Regex(pattern).wholeMatch(in: text)) == nil { problems.append("\(path): does not fit \(pattern)") }
        }
        if let least = schema["minimum"].flatMap(Self.number), let number = Self.number(value), number < least {
            problems.append("\(path): is less than \(least)")
        }
        if let most = schema["maximum"].flatMap(Self.number), let number = Self.number(value), number > most {
            problems.append("\(path): is more than \(most)")
        }
        if case .array(let elements) = value {
            if case .unsigned(let least)? = schema["minItems"], elements.count < Int(clamping: least) {
                problems.append("\(path): holds less than \(least)")
            }
            if let items = schema["items"] {
                for (index, element) in elements.enumerated() {
                    problems += self.problems(of: element, items, "\(path)[\(index)]")
                }
            }
        }
        if case .object(let members) = value, case .object(let properties)? = schema["properties"] {
            if case .array(let required)? = schema["required"] {
                for case .string(let key) in required where value[key] == nil {
                    problems.append("\(path): lacks \(key)")
                }
            }
            if case .array(let refused)? = schema["not"]?["required"] {
                let keys = refused.compactMap { key in if case .string(let name) = key { name } else { nil } }
                if keys.allSatisfy({ value[$0] != nil }) { problems.append("\(path): has \(keys)") }
            }
            for (key, member) in members {
                guard let property = properties.first(where: { $0.key == key })?.value else {
                    problems.append("\(path): \(key) is not described")
                    continue
                }
                problems += self.problems(of: member, property, "\(path).\(key)")
            }
            if Set(members.map(\.key)).count != members.count { problems.append("\(path): a key stands twice") }
        }
        return problems
    }

    private static func isOf(_ type: JSONValue, _ value: JSONValue) -> Bool {
        if case .array(let types) = type { return types.contains { isOf($0, value) } }
        guard case .string(let name) = type else { return false }
        return switch (name, value) {
        case ("object", .object), ("array", .array), ("string", .string), ("null", .null), ("boolean", .bool): true
        case ("integer", .unsigned), ("integer", .negative): true
        default: false
        }
    }

    private static func number(_ value: JSONValue) -> Int128? {
        switch value {
        case .unsigned(let number): Int128(number)
        case .negative(let number): Int128(number)
        default: nil
        }
    }

    /// All words that the schemas of a property allow, sorted.
    func constants(of property: String) -> [String] {
        guard case .object(let schemas)? = root["$defs"] else { return [] }
        var words: Set<String> = []
        for (_, schema) in schemas {
            guard var found = schema["properties"]?[property] else { continue }
            if case .string(let reference)? = found["$ref"] {
                found = root["$defs"]?[reference.split(separator: "/").last.map(String.init) ?? ""] ?? found
            }
            if case .string(let word)? = found["const"] { words.insert(word) }
            if case .array(let values)? = found["enum"] {
                for case .string(let word) in values { words.insert(word) }
            }
        }
        return words.sorted()
    }
}
