internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// What is written down of a request that changes something.
struct AuditEntry: Sendable {
    var record: AuditRecord
    var sandbox: SandboxReference?

    mutating func found(_ info: SandboxInfo) {
        sandbox = SandboxReference(id: info.id, name: info.name)
        record.target = nil
    }

    mutating func apply(_ info: SandboxInfo) {
        found(info)
        record.policy = PolicyReference(name: info.policyName, generation: info.policyGeneration)
    }
}

extension RoutedRequest {
    /// Runs `body` and records who asked for it and how it ended, before the answer leaves.
    func audited(
        _ action: AuditRecord.Action, by engine: any SandboxEngine,
        _ body: (inout AuditEntry) async throws -> Response
    ) async throws -> Response {
        var entry = AuditEntry(record: AuditRecord(action, target: reference.isEmpty ? nil : reference))
        let result: Result<Response, any Error>
        do {
            result = .success(try await body(&entry))
        } catch {
            let failure = Failure(error)
            entry.record.outcome = .refused(code: failure.body.code, message: failure.body.message)
            result = .failure(error)
        }
        entry.record.by = context.caller.requester
        engine.record(entry.record, sandbox: entry.sandbox)
        return try result.get()
    }
}
