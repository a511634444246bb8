/// The fields under `syscalls`.
extension FieldReader {
    /// What becomes of one entry of `syscalls.allow` or `syscalls.deny`.
    private struct Entry {
        var calls: Set<String>
        var action: SyscallPolicy.Action?
        var anyArguments = false
    }

    mutating func syscalls(_ node: YamlNode, _ policy: inout Policy) {
        var syscalls = SyscallPolicy()
        for entry in mapping(node, "syscalls") ?? [] {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "profile":
                let expected = "default, strict, none or unconfined"
                guard let text = string(value, "syscalls.profile", expected) else { break }
                if let profile = SyscallPolicy.Profile(rawValue: text) {
                    syscalls.profile = profile
                } else {
                    note(value, "syscalls.profile", "\(quoted(text)) is no profile", expected)
                }
            case "allow":
                for entry in entries(value, "syscalls.allow", keys: ["name", "arguments"]) {
                    if entry.anyArguments {
                        syscalls.allowAnyArguments.formUnion(entry.calls)
                    } else {
                        syscalls.allow.formUnion(entry.calls)
                    }
                }
            case "deny":
                for entry in entries(value, "syscalls.deny", keys: ["name", "action"]) {
                    for call in entry.calls { syscalls.deny(call, entry.action ?? .errno) }
                }
            default: unknown(key, value, "syscalls", ["profile", "allow", "deny"])
            }
        }
        policy.syscalls = syscalls
    }

    private mutating func entries(_ node: YamlNode, _ field: String, keys: [String]) -> [Entry] {
        var entries: [Entry] = []
        for (index, item) in (sequence(node, field) ?? []).enumerated() {
            if let entry = entry(item, "\(field)[\(index)]", keys: keys) { entries.append(entry) }
        }
        return entries
    }

    private mutating func entry(_ node: YamlNode, _ field: String, keys: [String]) -> Entry? {
        var result = Entry(calls: [])
        var hasName = false
        guard case .mapping(let fields) = node.value else {
            result.calls = calls(node, field) ?? []
            return keys.contains("action") ? startable(result, node, field) : result
        }
        for entry in fields {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "name":
                hasName = true
                result.calls = calls(value, "\(field).name") ?? []
            case "action" where keys.contains("action"):
                guard let text = string(value, "\(field).action", "errno, kill or log") else { break }
                result.action = SyscallPolicy.Action(rawValue: text)
                if result.action == nil {
                    note(value, "\(field).action", "\(quoted(text)) is no action", "errno, kill or log")
                }
            case "arguments" where keys.contains("arguments"):
                guard let text = string(value, "\(field).arguments", "any") else { break }
                result.anyArguments = true
                if text != "any" { note(value, "\(field).arguments", "\(quoted(text)) is not known", "any") }
            default: unknown(key, value, field, keys)
            }
        }
        if !hasName { note(node, "\(field).name", "is missing", "a system call, or @ and a group") }
        return keys.contains("action") ? startable(result, node, field) : result
    }

    private mutating func startable(_ entry: Entry, _ node: YamlNode, _ field: String) -> Entry? {
        guard entry.action != .log, entry.calls.contains("execve") else { return entry }
        note(node, field, "refuses execve, which starts every command", "calls other than execve")
        return nil
    }

    private mutating func calls(_ node: YamlNode, _ field: String) -> Set<String>? {
        guard let text = string(node, field, "a system call, or @ and a group") else { return nil }
        do throws(UnknownSyscall) {
            return try TraceSelection.names(of: text)
        } catch {
            note(
                node, field, "\(quoted(text)) is no system call and no group of them",
                error.nearest ?? "a name such as openat, or a group such as @network")
            return nil
        }
    }
}
