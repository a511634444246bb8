internal import CorralPolicy

extension Event {
    /// One JSON object and a line break.
    public var jsonLine: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(640)
        appendJSONLine(to: &bytes)
        return bytes
    }

    /// Appends what `jsonLine` returns.
    public func appendJSONLine(to bytes: inout [UInt8]) {
        // Moved out and back, not copied.
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        var json = JSONWriter(appendingTo: taken)
        taken = []
        write(to: &json)
        json.endLine()
        bytes = json.bytes
    }

    private func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("time")
        json.time(time)
        json.key("seq")
        json.number(seq)
        if let sandbox {
            json.key("sandbox")
            json.beginObject()
            json.key("id")
            json.string(sandbox.id)
            json.key("name")
            json.string(sandbox.name)
            json.endObject()
        }
        json.key("type")
        json.string(type.rawValue)
        switch body {
        case .sandbox(let lifecycle): lifecycle.write(to: &json)
        case .egress(let traffic), .ingress(let traffic):
            traffic.write(to: &json, remoteKey: type == .egress ? "dst" : "src")
        case .dns(let query): query.write(to: &json)
        case .limit(let reached):
            json.key("limit")
            json.string(reached.limit.rawValue)
            if let budget = reached.budget {
                json.key("budget")
                json.string(budget.rawValue)
            }
            if let value = reached.value {
                json.key("value")
                json.number(value)
            }
            if let count = reached.count {
                json.key("count")
                json.number(count)
            }
        case .process(let change): change.write(to: &json)
        case .operation(let refused): refused.write(to: &json)
        case .path(let refused): refused.write(to: &json)
        case .syscall(let call): call.write(to: &json)
        case .policy(let change): change.write(to: &json)
        case .lost(let loss):
            json.key("count")
            json.number(loss.count)
            json.key("place")
            json.string(loss.place.rawValue)
        case .audit(let record): record.write(to: &json)
        case .gap(let gap): gap.write(to: &json)
        }
        json.endObject()
    }
}

extension Lifecycle {
    fileprivate func write(to json: inout JSONWriter) {
        json.key("action")
        json.string(action)
        switch self {
        case .created, .claimed, .paused, .resumed, .destroyed: break
        case .started(let command):
            json.key("command")
            json.strings(command)
        case .exited(let exitCode):
            json.key("exit_code")
            json.number(exitCode)
        }
    }
}

extension Traffic {
    fileprivate func write(to json: inout JSONWriter, remoteKey: StaticString) {
        json.key("verdict")
        json.string(verdict.rawValue)
        json.key("reason")
        json.string(reason.rawValue)
        if let hook {
            json.key("hook")
            json.string(hook.rawValue)
        }
        if let process {
            json.key("process")
            process.write(to: &json)
        }
        if let remote {
            json.key(remoteKey)
            json.beginObject()
            json.key("ip")
            json.string(remote.ip.description)
            if let port = remote.port {
                json.key("port")
                json.number(port)
            }
            if let name = remote.name {
                json.key("name")
                json.string(name)
            }
            json.endObject()
        }
        if let localPort {
            json.key("local_port")
            json.number(localPort)
        }
        if let proto {
            json.key("protocol")
            json.string(proto.description)
        }
        policy?.write(to: &json)
        if let hint {
            json.key("hint")
            json.string(hint)
        }
    }
}

extension NameQuery {
    fileprivate func write(to json: inout JSONWriter) {
        json.key("verdict")
        json.string(verdict.rawValue)
        json.key("reason")
        json.string(reason.rawValue)
        json.key("query")
        json.beginObject()
        json.key("name")
        json.string(name)
        json.key("type")
        json.string(recordType.description)
        json.endObject()
        json.key("protocol")
        json.string(transport.rawValue)
        if let server {
            json.key("server")
            json.string(server.description)
        }
        json.key("rcode")
        json.string(responseCode.description)
        Self.write(answers, "answers", to: &json)
        Self.write(removed, "removed", to: &json)
        policy?.write(to: &json)
        if count != 1 {
            json.key("count")
            json.number(count)
        }
        if let hint {
            json.key("hint")
            json.string(hint)
        }
    }

    private static func write(_ addresses: [IPAddress], _ key: StaticString, to json: inout JSONWriter) {
        guard !addresses.isEmpty else { return }
        json.key(key)
        json.beginArray()
        for address in addresses {
            json.separate()
            json.string(address.description)
        }
        json.endArray()
    }
}

extension PolicyReference {
    /// With its key.
    func write(to json: inout JSONWriter) {
        json.key("policy")
        json.beginObject()
        json.key("name")
        json.string(name)
        json.key("generation")
        json.number(generation)
        json.key("rule")
        if let rule { json.string(rule.description) } else { json.null() }
        json.endObject()
    }
}

extension ProcessReference {
    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("pid")
        json.number(pid)
        json.key("host_pid")
        json.number(hostPid)
        json.key("ppid")
        json.number(ppid)
        json.key("uid")
        json.number(uid)
        json.key("comm")
        json.string(comm)
        if let exe {
            json.key("exe")
            json.string(exe)
        }
        json.key("exec_id")
        json.string(execID)
        json.endObject()
    }
}
