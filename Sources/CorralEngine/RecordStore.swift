internal import CorralKernel
internal import FoundationEssentials
internal import Glibc
internal import Synchronization

/// Ends when the record of a sandbox is removed: what is written of it later does not count, however late it comes.
final class RecordLife: Sendable {
    fileprivate let hasEnded = Mutex(false)
}

/// The records of an instance's sandboxes, a file each, below its run directory. Each is replaced as a whole; that is enough for a
/// daemon that dies. The one before is kept beside it, for the case that somebody damages it. What they tell of ends with the host, so
/// that nothing here waits for a disk.
final class RecordStore: Sendable {
    fileprivate struct Entry {
        var picture: UInt64
        var policy: UInt32?
        /// Of the record before, whose policy is kept too.
        var earlier: UInt32?
    }

    fileprivate struct State {
        var entries: [String: Entry] = [:]
        /// By how many records it is named.
        var policies: [UInt32: Int] = [:]
        /// Sandboxes whose last record was damaged, so that the one before serves.
        var outdated: Set<String> = []
    }

    /// Numbers that are never used twice: all below these may have been.
    struct Numbers: Codable, Equatable {
        var epoch: UInt64
        var policy: UInt32
    }

    let directory: String
    private var policyDirectory: String { directory + "/policies" }
    private let state = Mutex(State())

    /// Makes the directory when it is missing; nobody but root gets in.
    init(directory: String) throws(FileError) {
        self.directory = directory
        try Files.makeDirectories(directory)
        for path in [directory, directory + "/policies"] {
            if try Files.status(path) == nil { try Files.makeDirectory(path, mode: 0o700) }
        }
        if chmod(directory, 0o700) != 0 { throw FileError(call: "chmod", path: directory, errno: errno) }
    }

    // MARK: at the start

    /// What an earlier daemon wrote. A file that cannot be understood is set aside under the name `*.damaged`, and `report` is
    /// told; the record before serves then, and where that is damaged too nothing is known of the sandbox. Throws when a record is of a
    /// later version: then nothing has changed.
    func load(report: (String) -> Void) throws -> [SandboxRecord] {
        var records: [SandboxRecord] = []
        var damaged: [(path: String, why: String)] = []
        var outdated: Set<String> = []
        for file in try Files.names(in: directory) where file.hasSuffix(".json") && file.hasPrefix("sb-") {
            let path = "\(directory)/\(file)"
            let id = String(file.dropLast(5))
            do {
                records.append(try Self.read(id, path))
            } catch let error as EngineError {
                throw error
            } catch {
                damaged.append((path, "\(error)"))
                guard let earlier = try? Self.read(id, Self.earlier(path)) else { continue }
                records.append(earlier)
                outdated.insert(id)
            }
        }
        for (path, why) in damaged {
            report("\(path) cannot be read and is set aside: \(why)")
            try Files.rename(path, to: path + ".damaged")
        }
        state.withLock { state in
            for record in records { state.note(record) }
            state.outdated = outdated
        }
        return records
    }

    /// Whether what was loaded of it is the record before its last.
    func isOutdated(_ id: String) -> Bool { state.withLock { $0.outdated.contains(id) } }

    private static func earlier(_ path: String) -> String { path + ".previous" }

    private static func read(_ id: String, _ path: String) throws -> SandboxRecord {
        let record = try read(SandboxRecord.self, version: SandboxRecord.version, path)
        guard record.id == id else { throw EngineError.Misplaced(id: record.id) }
        return record
    }

    /// Throws when there is none that can be read.
    func policy(_ number: UInt32) throws -> PolicyRecord {
        try Self.read(PolicyRecord.self, version: PolicyRecord.version, "\(policyDirectory)/\(number).json")
    }

    /// Nil when there are none.
    func numbers() -> Numbers? {
        guard let bytes = try? Files.content(directory + "/numbers.json") else { return nil }
        return try? JSONDecoder().decode(Numbers.self, from: Data(bytes))
    }

    func reserve(_ numbers: Numbers) throws { try replace(directory + "/numbers.json", with: numbers) }

    /// Removes what no record needs.
    func sweep() throws {
        let needed = state.withLock { Set($0.policies.keys.map { "\($0).json" }) }
        for file in try Files.names(in: policyDirectory) where !needed.contains(file) {
            _ = unlink("\(policyDirectory)/\(file)")
        }
        for file in try Files.names(in: directory) where file.hasSuffix(".new") { _ = unlink("\(directory)/\(file)") }
        let known = state.withLock { Set($0.entries.keys.map { Self.earlier("\($0).json") }) }
        for file in try Files.names(in: directory) where file.hasSuffix(".previous") && !known.contains(file) {
            _ = unlink("\(directory)/\(file)")
        }
    }

    private struct Header: Codable { var version: Int }

    private static func read<Value: Decodable>(_ type: Value.Type, version: Int, _ path: String) throws -> Value {
        let data = Data(try Files.content(path))
        let found = try JSONDecoder().decode(Header.self, from: data).version
        guard found <= version else {
            throw EngineError(
                .internal, "\(path) is of version \(found); this corrald reads \(version)",
                detail: ["a later corrald made it: start that one, or end its sandboxes with it"])
        }
        return try JSONDecoder().decode(type, from: data)
    }

    // MARK: while sandboxes live

    /// - Parameter picture: counts the pictures of this sandbox; an earlier one never replaces a later one.
    func write(_ record: SandboxRecord, _ policy: PolicyRecord?, picture: UInt64, of life: RecordLife) throws {
        try state.withLock { state in
            guard !life.hasEnded.withLock({ $0 }), picture > state.entries[record.id]?.picture ?? 0 else { return }
            if let policy, state.policies[policy.number] == nil {
                try replace("\(policyDirectory)/\(policy.number).json", with: policy)
                crashPoint("record.policy")
            }
            let path = "\(directory)/\(record.id).json"
            let before = state.entries[record.id]
            try replace(path, with: record) { Self.keep(path) }
            state.note(record, picture: picture, earlier: before?.policy)
            if let dropped = before?.earlier { forget(dropped, &state) }
        }
    }

    /// A second name, which the record keeps when another takes its first. Without it a damaged record is the end of its sandbox, no
    /// more.
    private static func keep(_ path: String) {
        _ = unlink(earlier(path))
        crashPoint("record.no-previous")
        _ = link(path, earlier(path))
    }

    /// - Parameter life: nil where nothing has been written of it since it was loaded.
    func remove(_ id: String, _ life: RecordLife? = nil) {
        state.withLock { state in
            life?.hasEnded.withLock { $0 = true }
            let path = "\(directory)/\(id).json"
            _ = unlink(Self.earlier(path))
            crashPoint("record.previous-removed")
            _ = unlink(path)
            crashPoint("record.removed")
            guard let entry = state.entries.removeValue(forKey: id) else { return }
            for policy in [entry.policy, entry.earlier].compactMap({ $0 }) { forget(policy, &state) }
        }
    }

    private func forget(_ policy: UInt32, _ state: inout State) {
        state.policies[policy]? -= 1
        guard state.policies[policy] ?? 0 <= 0 else { return }
        state.policies[policy] = nil
        _ = unlink("\(policyDirectory)/\(policy).json")
        crashPoint("record.policy-removed")
    }

    private func replace(_ path: String, with value: some Encodable, keeping keep: () -> Void = {}) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try Files.replace(path, with: Array(try encoder.encode(value)), mode: 0o600, before: keep)
    }
}

extension EngineError {
    /// A record under the name of another sandbox's.
    fileprivate struct Misplaced: Error, CustomStringConvertible {
        var id: String
        var description: String { "it is of sandbox \(id.prefix(32))" }
    }
}

extension RecordStore.State {
    /// - Parameter earlier: counted already.
    fileprivate mutating func note(_ record: SandboxRecord, picture: UInt64 = 0, earlier: UInt32? = nil) {
        if let policy = record.policy?.number { policies[policy, default: 0] += 1 }
        entries[record.id] = RecordStore.Entry(picture: picture, policy: record.policy?.number, earlier: earlier)
    }
}
