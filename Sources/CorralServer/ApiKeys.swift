internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import Dispatch
internal import Glibc
internal import HTTPTypes
internal import Synchronization

/// The API keys of an instance.
///
/// Only the SHA-256 of a key is kept. A slow hash such as those for passwords would gain nothing: a key's secret is 256 bits
/// from the kernel's generator, which nobody tries through, and each request would pay for it.
public final class ApiKeys: Sendable {
    /// As many as one instance takes.
    static let most = 1000
    /// Seconds; what was used is written down no more often.
    static let useResolution: Int64 = 60

    struct Entry: Codable, Sendable, Equatable {
        var id: String
        var name: String
        var scope: AccessRight
        /// Of the whole token; 64 hexadecimal digits.
        var sha256: String
        /// Seconds since 1970.
        var createdAt: Int64
        var expiresAt: Int64?
        var lastUsedAt: Int64?
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var isSaving = false
    }

    private let file: ApiKeyFile
    private let state: Mutex<State>
    private let clock: @Sendable () -> Int64
    /// Writes happen here, in order.
    private let queue = DispatchQueue(label: "corral.apikeys")
    private let report: @Sendable (String) -> Void

    /// Reads `STATE-DIR/api-keys.json`. A file that cannot be read is set aside, said so to `report`: no key is valid then.
    public convenience init(stateDirectory: String, report: @escaping @Sendable (String) -> Void) {
        self.init(file: ApiKeyFile(directory: stateDirectory), clock: { Int64(time(nil)) }, report: report)
    }

    init(file: ApiKeyFile, clock: @escaping @Sendable () -> Int64, report: @escaping @Sendable (String) -> Void) {
        self.file = file
        self.clock = clock
        self.report = report
        var state = State()
        do {
            for entry in try file.load() { state.entries[entry.id] = entry }
        } catch {
            report("no API key is valid: \(error)")
            do {
                report("the file was set aside as \(try file.setAside())")
            } catch {
                report("and the file could not be set aside: \(error)")
            }
        }
        self.state = Mutex(state)
    }

    // MARK: Use

    /// The key that `token` belongs to; nil for one that is unknown, wrong or expired. These take the same time.
    func authenticate(_ token: String) -> (id: String, scope: AccessRight)? {
        let hash = SHA256(of: token.utf8)
        let now = clock()
        let id = Self.id(in: token) ?? ""
        return state.withLock { state in
            let entry = state.entries[id]
            let isEqual = Self.isEqual(hash.description, entry?.sha256 ?? Self.nobody)
            guard var entry, isEqual, entry.expiresAt.map({ now < $0 }) ?? true else { return nil }
            if now - (entry.lastUsedAt ?? 0) >= Self.useResolution {
                entry.lastUsedAt = now
                state.entries[id] = entry
                saveSoon(&state)
            }
            return (entry.id, entry.scope)
        }
    }

    /// No key's hash: those are of texts that begin with `corral_`.
    private static let nobody = SHA256(of: []).description

    /// `corral_<id>_<secret>`
    private static func id(in token: String) -> String? {
        let parts = token.split(separator: "_", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "corral" else { return nil }
        return String(parts[1])
    }

    /// Looks at every byte, whichever differ.
    static func isEqual(_ a: String, _ b: String) -> Bool {
        let (a, b) = (Array(a.utf8), Array(b.utf8))
        guard a.count == b.count else { return false }
        var difference: UInt8 = 0
        for index in a.indices { difference |= a[index] ^ b[index] }
        return difference == 0
    }

    // MARK: Administration

    /// In order of creation.
    func list() -> [ApiKey] {
        state.withLock { $0.entries.values.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }.map(ApiKey.init) }
    }

    /// Valid once this returns. Throws `Failure`, and `SystemCallError` when it cannot be written; then it is not valid.
    func create(_ request: CreateApiKeyRequest) async throws -> CreatedApiKey {
        let expiry = try Self.expiry(request.expiresIn)
        guard (1...64).contains(request.name.unicodeScalars.count),
            !request.name.unicodeScalars.contains(where: TerminalText.isUnsafe)
        else { throw Failure.invalidRequest("name: expected 1 to 64 printable characters") }
        var random = SystemRandomNumberGenerator()
        let id = Self.text(Self.idAlphabet, 12, &random)
        // 64 hexadecimal digits: 256 bits.
        let token = "corral_\(id)_\(Self.text(Array("0123456789abcdef".utf8), 64, &random))"
        let now = clock()
        let entry = Entry(
            id: id, name: request.name, scope: request.scope, sha256: SHA256(of: token.utf8).description,
            createdAt: now, expiresAt: expiry.map { now + $0 }, lastUsedAt: nil)
        try await change { entries in
            guard entries.count < Self.most else {
                throw Failure(.serviceUnavailable, "exhausted", "there are \(Self.most) API keys, which is the most")
            }
            guard entries[id] == nil else { throw Failure(.internalServerError, "internal", "an id came twice") }
            entries[id] = entry
        }
        return CreatedApiKey(key: ApiKey(entry), token: token)
    }

    /// Throws `Failure`, and `SystemCallError` when it cannot be written; then the key is still valid.
    func revoke(_ id: String) async throws {
        try await change { entries in
            guard entries.removeValue(forKey: id) != nil else {
                throw Failure(.notFound, "not_found", "no API key \(TerminalText.neutralised(id))")
            }
        }
    }

    /// Consonants and digits that are not taken for each other, and form no words.
    private static let idAlphabet = Array("23456789bcdfghjkmnpqrstvwxz".utf8)

    private static func text(_ alphabet: [UInt8], _ count: Int, _ random: inout SystemRandomNumberGenerator) -> String {
        String(
            decoding: (0..<count).map { _ in alphabet[Int.random(in: alphabet.indices, using: &random)] }, as: UTF8.self
        )
    }

    /// Seconds.
    private static func expiry(_ text: String?) throws(Failure) -> Int64? {
        guard let text else { return nil }
        guard let duration = DurationText.parse(text), duration >= .seconds(1) else {
            throw .invalidRequest("expiresIn: expected a duration such as 12h or 90d")
        }
        return duration.components.seconds
    }

    // MARK: Writing

    /// Changes the keys on disk, and then here.
    private func change(_ body: @escaping @Sendable (inout [String: Entry]) throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            queue.async { [self] in
                continuation.resume(
                    with: Result {
                        // Nothing else adds or removes keys; uses that are noted meanwhile stay.
                        var entries = state.withLock { $0.entries }
                        try body(&entries)
                        try file.save(Self.sorted(entries))
                        state.withLock { state in
                            for (id, entry) in entries where state.entries[id] == nil { state.entries[id] = entry }
                            for id in state.entries.keys where entries[id] == nil { state.entries[id] = nil }
                        }
                    })
            }
        }
    }

    private func saveSoon(_ state: inout State) {
        guard !state.isSaving else { return }
        state.isSaving = true
        queue.async { [self] in
            let entries = self.state.withLock { state in
                state.isSaving = false
                return state.entries
            }
            do {
                try file.save(Self.sorted(entries))
            } catch {
                report("when API keys were used could not be written down: \(error)")
            }
        }
    }

    /// Returns once all that was noted is written.
    func settle() async {
        await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
    }

    private static func sorted(_ entries: [String: Entry]) -> [Entry] {
        entries.values.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }
    }
}

extension ApiKey {
    fileprivate init(_ entry: ApiKeys.Entry) {
        func text(_ seconds: Int64) -> String {
            let (nanoseconds, isOver) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
            return RFC3339.text(isOver ? .max : nanoseconds)
        }
        self.init(
            id: entry.id, name: entry.name, scope: entry.scope, createdAt: text(entry.createdAt),
            expiresAt: entry.expiresAt.map(text), lastUsedAt: entry.lastUsedAt.map(text))
    }
}
