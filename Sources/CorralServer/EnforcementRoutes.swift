internal import CorralAPI
internal import CorralEngine
internal import Hummingbird

/// `/v1/enforcements` and all below it.
struct EnforcementRoutes: Sendable {
    let engine: any SandboxEngine

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(await engine.enforcements().map(EnforcedCgroup.init))
    }

    func enforce(_ routed: RoutedRequest) async throws -> Response {
        let body = try await routed.request.body.collect(upTo: APIResponder.createLimit)
        let request = try EnforceRequest(json: body)
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
        return .json(EnforcedCgroup(try await engine.enforce(text, on: target)))
    }

    /// By id.
    func release(_ routed: RoutedRequest) async throws -> Response {
        try await engine.releaseEnforcement(routed.reference)
        return Response(status: .noContent)
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
