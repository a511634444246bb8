internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/enforcements` and all below it.
struct EnforcementRoutes: Sendable {
    let engine: any SandboxEngine

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(await engine.enforcements().map(EnforcedCgroup.init))
    }

    func enforce(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.enforce, by: engine) { try await enforce(routed, &$0) }
    }

    private func enforce(_ routed: RoutedRequest, _ entry: inout AuditEntry) async throws -> Response {
        let body = try await routed.request.body.collect(upTo: APIResponder.createLimit)
        let request = try EnforceRequest(json: body)
        entry.record.target = request.cgroup ?? request.pid.map { "pid \($0)" }
        entry.record.policyHash = SHA256(of: request.policy.yaml.utf8)
        let target: CgroupReference
        switch (request.cgroup, request.pid) {
        case (let path?, nil): target = .path(path)
        case (nil, let number?):
            guard let pid = Int32(exactly: number), pid > 0 else {
                throw Failure.invalidRequest("pid: expected the number of a process")
            }
            target = .pid(pid)
        default: throw Failure.invalidRequest("expected cgroup or pid, and not both")
        }
        let text = PolicyText(file: request.policy.file, yaml: request.policy.yaml)
        let enforcement = try await engine.enforce(text, on: target)
        entry.enforced(enforcement)
        return .json(EnforcedCgroup(enforcement))
    }

    /// By id.
    func release(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.release, by: engine) { entry in
            if let known = await engine.enforcements().first(where: { $0.id == routed.reference }) {
                entry.enforced(known)
            }
            try await engine.releaseEnforcement(routed.reference)
            return Response(status: .noContent)
        }
    }
}

extension AuditEntry {
    /// An enforced cgroup's events name it like a sandbox.
    fileprivate mutating func enforced(_ enforcement: Enforcement) {
        sandbox = SandboxReference(id: enforcement.id, name: enforcement.path)
        record.target = nil
        record.policy = PolicyReference(name: enforcement.policyName, generation: enforcement.policyGeneration)
    }
}

extension EnforcedCgroup {
    fileprivate init(_ enforcement: Enforcement) {
        self.init(
            id: enforcement.id, cgroup: enforcement.path,
            policy: Sandbox.AppliedPolicy(
                name: enforcement.policyName, generation: enforcement.policyGeneration,
                mode: enforcement.policyAudits ? "audit" : "enforce"
            ),
            counters: Sandbox.Counters(enforcement.counters)
        )
    }
}
