internal import FoundationEssentials
internal import Glibc
internal import Synchronization

/// The records of an instance's sandboxes, a file each, below its run directory. Each is replaced as a whole; that is enough for a
/// daemon that dies. What they tell of ends with the host, so that nothing here waits for a disk.
final class RecordStore: Sendable {
    fileprivate struct Entry {
        var picture: UInt64
        var policy: UInt32?
    }

    fileprivate struct State {
        var entries: [String: Entry] = [:]
        /// Their pictures may still be on the way here.
        var removed: Set<String> = []
        /// By how many records it is named.
        var policies: [UInt32: Int] = [:]
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
    /// told; nothing is known then of its sandbox. Throws when a record is of a later version: then nothing has changed.
    func load(report: (String) -> Void) throws -> [SandboxRecord] {
        var records: [SandboxRecord] = []
        var damaged: [(path: String, why: String)] = []
        for file in try Files.names(in: directory) where file.hasSuffix(".json") && file.hasPrefix("sb-") {
            let path = "\(directory)/\(file)"
            do {
                let record = try Self.read(SandboxRecord.self, version: SandboxRecord.version, path)
                guard "\(record.id).json" == file else {
                    damaged.append((path, "it is of sandbox \(record.id.prefix(32))"))
                    continue
                }
                records.append(record)
            } catch let error as EngineError {
                throw error
            } catch {
                damaged.append((path, "\(error)"))
            }
        }
        for (path, why) in damaged {
            report("\(path) cannot be read and is set aside: \(why)")
            try Files.rename(path, to: path + ".damaged")
        }
        state.withLock { state in
            for record in records { state.note(record) }
        }
        return records
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
    func write(_ record: SandboxRecord, _ policy: PolicyRecord?, picture: UInt64) throws {
        try state.withLock { state in
            guard !state.removed.contains(record.id), picture > state.entries[record.id]?.picture ?? 0 else { return }
            if let policy, state.policies[policy.number] == nil {
                try replace("\(policyDirectory)/\(policy.number).json", with: policy)
            }
            try replace("\(directory)/\(record.id).json", with: record)
            let before = state.entries[record.id]?.policy
            state.note(record, picture: picture)
            if let before { forget(before, &state) }
        }
    }

    /// Nothing that is written of it later counts, until `settle`.
    func remove(_ id: String) {
        state.withLock { state in
            state.removed.insert(id)
            _ = unlink("\(directory)/\(id).json")
            if let policy = state.entries.removeValue(forKey: id)?.policy { forget(policy, &state) }
        }
    }

    /// No picture of it is on the way any more.
    func settle(_ id: String) {
        state.withLock { _ = $0.removed.remove(id) }
    }

    private func forget(_ policy: UInt32, _ state: inout State) {
        state.policies[policy]? -= 1
        guard state.policies[policy] ?? 0 <= 0 else { return }
        state.policies[policy] = nil
        _ = unlink("\(policyDirectory)/\(policy).json")
    }

    private func replace(_ path: String, with value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try Files.replace(path, with: Array(try encoder.encode(value)), mode: 0o600)
    }
}

extension RecordStore.State {
    fileprivate mutating func note(_ record: SandboxRecord, picture: UInt64 = 0) {
        if let policy = record.policy?.number { policies[policy, default: 0] += 1 }
        entries[record.id] = RecordStore.Entry(picture: picture, policy: record.policy?.number)
    }
}
