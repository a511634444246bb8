import CorralKernel
import CorralPolicy
import Glibc
import Testing

@testable import CorralEngine

/// What the next daemon finds written down.
struct RecordStoreTests {
    private let place: TemporaryDirectory
    private let life = RecordLife()
    private var directory: String { place.path }

    init() throws {
        place = try TemporaryDirectory()
    }

    private static func record(_ id: String, policy: UInt32? = nil) -> SandboxRecord {
        SandboxRecord(
            id: id, name: "n-" + id, createdAt: 5,
            state: .exited(
                startedAt: 6, exitedAt: 7, result: CommandResult(exitCode: 3, cause: .exited)),
            slot: 2, epoch: 9, ipv4: "10.0.0.3", ipv6: "fd00::3", process: ProcessIdentity(pid: 44, startTime: 55),
            interface: "crl2", image: "host", digest: "", snapshots: [], mounts: [],
            policy: policy.map { SandboxRecord.AppliedPolicy(number: $0, generation: 1) },
            limits: SandboxSpec.Limits(cpu: 0.5, timeout: .seconds(3)), deadline: 77, autoRemove: false,
            published: [], command: CommandSpec(arguments: ["true"], environment: ["A": "b"]),
            commands: [
                SandboxRecord.Command(
                    tag: 1, id: "main", arguments: ["true"], hasTerminal: false, detached: true, pid: 2,
                    state: .running(startedAt: 6))
            ], nextTag: 2, lostReported: 0)
    }

    private static func policy(_ number: UInt32) -> PolicyRecord {
        PolicyRecord(
            number: number, text: PolicyText(file: "p.yaml", yaml: "text"), namePorts: [0: 4], host: HostContext())
    }

    private func load() throws -> (records: [SandboxRecord], reports: [String]) {
        var reports: [String] = []
        let records = try RecordStore(directory: directory).load { reports.append($0) }
        return (records, reports)
    }

    @Test func theNextDaemonReadsWhatWasWritten() throws {
        let store = try RecordStore(directory: directory)
        try store.write(Self.record("sb-one", policy: 7), Self.policy(7), picture: 1, of: life)
        let found = try load().records
        #expect(found.count == 1)
        let record = try #require(found.first)
        #expect(record.id == "sb-one" && record.name == "n-sb-one" && record.state == Self.record("").state)
        #expect(record.process == ProcessIdentity(pid: 44, startTime: 55) && record.deadline == 77)
        #expect(record.limits == SandboxSpec.Limits(cpu: 0.5, timeout: .seconds(3)))
        #expect(record.command.environment == ["A": "b"] && record.commands == Self.record("").commands)
        #expect(try RecordStore(directory: directory).policy(7) == Self.policy(7))
        #expect(throws: (any Error).self) { try RecordStore(directory: directory).policy(8) }
    }

    @Test func anEarlierPictureNeverReplacesALaterOne() throws {
        let store = try RecordStore(directory: directory)
        var record = Self.record("sb-one")
        record.nextTag = 20
        try store.write(record, nil, picture: 2, of: life)
        try store.write(Self.record("sb-one"), nil, picture: 1, of: life)
        #expect(try load().records.first?.nextTag == 20)
        record.nextTag = 30
        try store.write(record, nil, picture: 3, of: life)
        #expect(try load().records.first?.nextTag == 30)
    }

    @Test func whatIsRemovedStaysRemoved() throws {
        let store = try RecordStore(directory: directory)
        try store.write(Self.record("sb-one"), nil, picture: 1, of: life)
        try store.write(Self.record("sb-two"), nil, picture: 1, of: RecordLife())
        store.remove("sb-one", life)
        try store.write(Self.record("sb-one"), nil, picture: 2, of: life)
        #expect(try load().records.map(\.id) == ["sb-two"])
    }

    @Test func aPolicyIsKeptWhileARecordNamesIt() throws {
        let store = try RecordStore(directory: directory)
        try store.write(Self.record("sb-one", policy: 7), Self.policy(7), picture: 1, of: life)
        try store.write(Self.record("sb-two", policy: 7), Self.policy(7), picture: 1, of: life)
        store.remove("sb-one")
        #expect(try store.policy(7).number == 7)
        try store.write(Self.record("sb-two", policy: 8), Self.policy(8), picture: 2, of: life)
        // The record before still names it.
        #expect(try store.policy(7).number == 7)
        try store.write(Self.record("sb-two", policy: 8), Self.policy(8), picture: 3, of: life)
        #expect(throws: (any Error).self) { try store.policy(7) }
        #expect(try store.policy(8).number == 8)
        store.remove("sb-two")
        #expect(try Files.names(in: directory + "/policies").isEmpty)
        #expect(try Files.names(in: directory) == ["policies"])
    }

    @Test(arguments: ["", "{", "{\"version\":1}"])
    func theRecordBeforeServesWhereTheLastIsDamaged(content: String) throws {
        let store = try RecordStore(directory: directory)
        var record = Self.record("sb-one", policy: 7)
        try store.write(record, Self.policy(7), picture: 1, of: life)
        record.nextTag = 20
        try store.write(record, Self.policy(7), picture: 2, of: life)
        let path = "\(directory)/sb-one.json"
        try Files.replace(path, with: Array(content.utf8), mode: 0o600)
        var reports: [String] = []
        var next = try RecordStore(directory: directory)
        #expect(try next.load { reports.append($0) }.map(\.nextTag) == [2])
        #expect(reports.count == 1 && next.isOutdated("sb-one"))
        #expect(try next.policy(7).number == 7)
        // Once the sandbox is written down again nothing is outdated, and both files are sound.
        try next.write(record, Self.policy(7), picture: 1, of: life)
        next = try RecordStore(directory: directory)
        #expect(try next.load { reports.append($0) }.map(\.nextTag) == [20])
        #expect(reports.count == 1 && !next.isOutdated("sb-one"))
        // Both damaged: nothing is known of it.
        for path in [path, path + ".previous"] { try Files.replace(path, with: [], mode: 0o600) }
        #expect(try RecordStore(directory: directory).load { _ in }.isEmpty)
    }

    @Test(arguments: ["", "{", "{\"version\":1}", "{\"version\":1,\"id\":\"sb-one\"}", "null", "[]"])
    func aDamagedRecordIsSetAside(content: String) throws {
        let store = try RecordStore(directory: directory)
        try store.write(Self.record("sb-two"), nil, picture: 1, of: life)
        try Files.write("\(directory)/sb-one.json", Array(content.utf8), mode: 0o600)
        let (records, reports) = try load()
        #expect(records.map(\.id) == ["sb-two"])
        #expect(reports.count == 1 && reports[0].contains("sb-one.json cannot be read and is set aside"))
        #expect(try Files.status("\(directory)/sb-one.json.damaged") != nil)
        #expect(try load().reports.isEmpty)
    }

    @Test func aRecordOfAnotherSandboxIsDamaged() throws {
        let store = try RecordStore(directory: directory)
        try store.write(Self.record("sb-two"), nil, picture: 1, of: life)
        try Files.rename("\(directory)/sb-two.json", to: "\(directory)/sb-one.json")
        #expect(try load().records.isEmpty)
    }

    @Test func aRecordOfALaterVersionIsLeftAlone() throws {
        let store = try RecordStore(directory: directory)
        var record = Self.record("sb-one")
        record.version = SandboxRecord.version + 1
        try store.write(record, nil, picture: 1, of: life)
        let error = #expect(throws: EngineError.self) { try load() }
        #expect(error?.message.contains("is of version 2; this corrald reads 1") == true)
        #expect(try Files.status("\(directory)/sb-one.json") != nil)
    }

    @Test func numbersAreFoundAgain() throws {
        let store = try RecordStore(directory: directory)
        #expect(store.numbers() == nil)
        try store.reserve(RecordStore.Numbers(epoch: 5000, policy: 4000))
        #expect(try RecordStore(directory: directory).numbers() == RecordStore.Numbers(epoch: 5000, policy: 4000))
    }
}
