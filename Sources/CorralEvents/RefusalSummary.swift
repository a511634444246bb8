public import CorralPolicy

/// What a sandbox was refused, however often: denials that differ in nothing a person acts on.
public struct RefusalSummary: Codable, Sendable, Hashable {
    /// What was asked for: `tcp 203.0.113.9:443`, `tcp 203.0.113.9:443 (evil.example)`.
    public var what: String
    public var reason: Reason
    /// What to do about it.
    public var hint: String?
    public var count: UInt64

    public init(what: String, reason: Reason, hint: String?, count: UInt64) {
        self.what = what
        self.reason = reason
        self.hint = hint
        self.count = count
    }
}

extension Event {
    /// Nil for everything but a denial.
    public var refusal: RefusalSummary? {
        if case .dns(let query) = body, query.verdict == .deny {
            return RefusalSummary(
                what: "name \(query.name)", reason: query.reason, hint: query.hint, count: query.count)
        }
        if let refused = refusedOperation, refused.verdict == .deny {
            return RefusalSummary(
                what: refused.operation.rawValue, reason: refused.reason, hint: refused.hint, count: 1)
        }
        if let refused = refusedPath, refused.verdict == .deny {
            return RefusalSummary(
                what: refused.summary, reason: refused.reason, hint: refused.hint, count: 1)
        }
        guard let traffic, traffic.verdict == .deny else { return nil }
        var what = traffic.proto?.description ?? "?"
        if case .ingress = body { what += " from" }
        if let remote = traffic.remote {
            let ip = remote.ip.ipv4 == nil && remote.port != nil ? "[\(remote.ip)]" : "\(remote.ip)"
            what += " " + ip + (remote.port.map { ":\($0)" } ?? "")
            if let name = remote.name { what += " (\(name))" }
        }
        return RefusalSummary(what: what, reason: traffic.reason, hint: traffic.hint, count: 1)
    }
}
