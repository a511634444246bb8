extension Policy {
    /// Largest policy text, in bytes.
    public static let maximumBytes = 16 << 20

    /// Reads a policy; JSON is YAML too.
    /// - Parameter file: its name in messages; never opened.
    public init(yaml: String, file: String) throws(PolicyError) {
        var reader = FieldReader(file: file)
        var policy = Policy(name: "", file: file)
        if let root = reader.read(yaml, "a policy"), let fields = reader.mapping(root, "") {
            policy = reader.policy(fields)
        }
        try reader.finish()
        self = policy
    }
}

/// The fields of a policy; those under `egress` are in EgressFields.swift, those under `syscalls` in SyscallFields.swift, those under
/// `limits` in LimitFields.swift, the rules under `files` in FileRuleFields.swift.
extension FieldReader {
    mutating func policy(_ fields: Fields) -> Policy {
        var policy = Policy(name: "", file: file)
        var hasVersion = false
        var hasName = false
        for entry in fields {
            let (key, node) = (entry.key, entry.value)
            switch key {
            case "apiVersion":
                hasVersion = true
                if let text = string(node, key, "corral/v1"), text != "corral/v1" {
                    note(node, key, "\(quoted(text)) is not a version of policies", "corral/v1")
                }
            case "name":
                hasName = true
                guard let text = string(node, key, "a name") else { break }
                if !isName(text) {
                    note(node, key, "\(quoted(text)) is no name", "1 to 63 of [a-z0-9.-], the first a letter or digit")
                }
                policy.name = text
            case "mode":
                guard let text = string(node, key, "enforce or audit") else { break }
                if let mode = Policy.Mode(rawValue: text) {
                    policy.mode = mode
                } else {
                    note(node, key, "\(quoted(text)) is no mode", "enforce or audit")
                }
            case "egress": egress(node, &policy)
            case "syscalls": syscalls(node, &policy)
            case "trace": trace(node, &policy)
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
        checkPathRules(fields.first { $0.key == "files" }?.value, policy)
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

    mutating func trace(_ node: YamlNode, _ policy: inout Policy) {
        for entry in mapping(node, "trace") ?? [] {
            let (key, value) = (entry.key, entry.value)
            guard key == "syscalls" else {
                unknown(key, value, "trace", ["syscalls"])
                continue
            }
            switch value.value {
            case .scalar("none", _): policy.trace = .none
            case .scalar("counts", _): policy.trace = .counts
            case .scalar("first", _): policy.trace = .first
            case .scalar("all", _): policy.trace = .all
            case .sequence(let words):
                var names: Set<String> = []
                for (index, word) in words.enumerated() {
                    let field = "trace.syscalls[\(index)]"
                    guard let text = string(word, field, "a system call, or @ and a group") else { continue }
                    do throws(UnknownSyscall) {
                        names.formUnion(try TraceSelection.names(of: text))
                    } catch {
                        note(
                            word, field, "\(quoted(text)) is no system call and no group of them",
                            error.nearest ?? "a name such as openat, or a group such as @network")
                    }
                }
                policy.trace = names.isEmpty ? .none : .calls(names)
            default:
                note(
                    value, "trace.syscalls", "is \(kind(value))",
                    "none, counts, first, all, or a list of system calls and @groups")
            }
        }
    }

    mutating func files(_ node: YamlNode, _ policy: inout Policy) {
        for entry in mapping(node, "files") ?? [] {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "image":
                guard let text = string(value, "files.image", ImageName.expected) else { break }
                if !ImageName.isValid(text) {
                    note(value, "files.image", "\(quoted(text)) is no name of an image", ImageName.expected)
                }
                policy.files.image = text
            case "mounts": mounts(value, &policy)
            case "exec": pathRules(value, .exec, &policy)
            case "read": pathRules(value, .read, &policy)
            case "write": pathRules(value, .write, &policy)
            default: unknown(key, value, "files", ["image", "mounts", "exec", "read", "write"])
            }
        }
    }

    mutating func mounts(_ node: YamlNode, _ policy: inout Policy) {
        guard case .sequence(let entries) = node.value else {
            return note(node, "files.mounts", "is \(kind(node))", "a list of { source, target, readOnly }")
        }
        if entries.count > Policy.Files.Mount.maximum {
            note(node, "files.mounts", "has \(entries.count) entries", "at most \(Policy.Files.Mount.maximum)")
        }
        for (index, entry) in entries.enumerated() {
            let field = "files.mounts[\(index)]"
            guard let fields = mapping(entry, field) else { continue }
            var mount = Policy.Files.Mount(source: "", target: "")
            for pair in fields {
                let (key, value) = (pair.key, pair.value)
                switch key {
                case "source", "target":
                    let expected = "an absolute path without . and .., such as /srv/data"
                    guard let text = string(value, "\(field).\(key)", expected) else { break }
                    if !Policy.Files.Mount.isPath(text) {
                        note(value, "\(field).\(key)", "\(quoted(text)) is no such path", expected)
                    }
                    if key == "source" { mount.source = text } else { mount.target = text }
                case "readOnly":
                    switch string(value, "\(field).readOnly", "true or false") {
                    case "true"?: mount.readOnly = true
                    case "false"?: mount.readOnly = false
                    case let text?:
                        note(value, "\(field).readOnly", "\(quoted(text)) is neither", "true or false")
                    case nil: break
                    }
                default: unknown(key, value, field, ["source", "target", "readOnly"])
                }
            }
            for (key, text) in [("source", mount.source), ("target", mount.target)]
            where text.isEmpty && !fields.contains(where: { $0.key == key }) {
                note(entry, "\(field).\(key)", "is missing", "an absolute path")
            }
            policy.files.mounts.append(mount)
        }
    }

    /// What execve takes for one argument or variable (MAX_ARG_STRLEN), and together at the least.
    private static let maximumVariable = 128 << 10
    private static let maximumEnvironment = 1 << 20

    mutating func env(_ node: YamlNode, _ policy: inout Policy) {
        var total = 0
        for entry in mapping(node, "env") ?? [] {
            let (key, value) = (entry.key, entry.value)
            guard !key.isEmpty, !key.utf8.contains(where: { $0 == 0x3d || $0 < 0x20 || $0 == 0x7f }) else {
                note(value, "env", "\(quoted(key)) is no name of a variable", "a name without = and control characters")
                continue
            }
            guard case .scalar(let text, _) = value.value else {
                note(value, "env.\(key)", "is \(kind(value))", "text")
                continue
            }
            guard !text.utf8.contains(0) else {
                note(value, "env.\(key)", "holds a zero byte", "text without one")
                continue
            }
            // NAME=VALUE and the zero byte behind it.
            let size = key.utf8.count + text.utf8.count + 2
            guard size <= Self.maximumVariable else {
                note(value, "env.\(key)", "makes \(size) bytes", "at most \(Self.maximumVariable)")
                continue
            }
            total += size
            policy.env[key] = text
        }
        if total > Self.maximumEnvironment {
            note(node, "env", "makes \(total) bytes", "at most \(Self.maximumEnvironment)")
        }
    }
}
