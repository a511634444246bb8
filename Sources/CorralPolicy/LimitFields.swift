/// The fields under `limits`.
extension FieldReader {
    mutating func limits(_ node: YamlNode, _ policy: inout Policy) {
        for entry in mapping(node, "limits") ?? [] {
            let (key, value) = (entry.key, entry.value)
            let field = "limits.\(key)"
            switch key {
            case "cpu":
                let expected = "CPUs, like 0.5, from 0.01 to 1024"
                guard let text = string(value, field, expected) else { break }
                if let cpu = DecimalText.number(text), (0.01...1024).contains(cpu) {
                    policy.limits.cpu = cpu
                } else {
                    note(value, field, "\(quoted(text)) is no number of CPUs", expected)
                }
            case "memory", "disk":
                let expected = "a size, like 256MiB, of at least 1MiB"
                guard let text = string(value, field, expected) else { break }
                guard let bytes = ByteSize.parse(text), bytes >= 1 << 20, bytes <= UInt64(Int64.max) else {
                    note(value, field, "\(quoted(text)) is no such size", expected)
                    break
                }
                if key == "memory" { policy.limits.memory = bytes } else { policy.limits.disk = bytes }
            case "cpuWeight":
                let expected = "a weight, 1...10000, where 100 is as much as others have"
                guard let text = string(value, field, expected) else { break }
                if let weight = DecimalText.integer(text), (1...10_000).contains(weight) {
                    policy.limits.cpuWeight = UInt32(weight)
                } else {
                    note(value, field, "\(quoted(text)) is no weight", expected)
                }
            case "openFiles":
                let expected = "a number of open files, 16...1048576"
                guard let text = string(value, field, expected) else { break }
                if let count = DecimalText.integer(text), (16...1_048_576).contains(count) {
                    policy.limits.openFiles = count
                } else {
                    note(value, field, "\(quoted(text)) is no such number", expected)
                }
            case "io": io(value, &policy)
            case "pids":
                let expected = "a number of processes, 1...4194304"
                guard let text = string(value, field, expected) else { break }
                if let pids = DecimalText.integer(text), (1...4_194_304).contains(pids) {
                    policy.limits.pids = UInt32(pids)
                } else {
                    note(value, field, "\(quoted(text)) is no number of processes", expected)
                }
            case "timeout":
                let expected = "a duration, like 30s, 5m or 1h30m"
                guard let text = string(value, field, expected) else { break }
                policy.limits.timeout = DurationText.parse(text)
                if policy.limits.timeout == nil { note(value, field, "\(quoted(text)) is no duration", expected) }
            default:
                unknown(
                    key, value, "limits",
                    ["cpu", "cpuWeight", "memory", "pids", "disk", "openFiles", "io", "timeout"])
            }
        }
    }

    private mutating func io(_ node: YamlNode, _ policy: inout Policy) {
        for entry in mapping(node, "limits.io") ?? [] {
            let (key, value) = (entry.key, entry.value)
            let field = "limits.io.\(key)"
            guard key == "read" || key == "write" else {
                unknown(key, value, "limits.io", ["read", "write"])
                continue
            }
            let expected = "bytes a second, like 10MiB, of at least 64KiB"
            guard let text = string(value, field, expected) else { continue }
            guard let bytes = ByteSize.parse(text), bytes >= 64 << 10, bytes <= UInt64(Int64.max) else {
                note(value, field, "\(quoted(text)) is no such rate", expected)
                continue
            }
            if key == "read" { policy.limits.ioRead = bytes } else { policy.limits.ioWrite = bytes }
        }
    }
}
