import CorralAPI
import CorralEvents
import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import CorralServer

final class TestClock: Sendable {
    private let number: Mutex<Int64>

    init(_ number: Int64) { self.number = Mutex(number) }

    var value: Int64 {
        get { number.withLock { $0 } }
        set { number.withLock { $0 = newValue } }
    }
}

@Suite struct ApiKeysTests {
    private static func keys(
        _ directory: TemporaryDirectory, clock: TestClock = TestClock(1_000_000), log: EventLog = EventLog()
    ) -> ApiKeys {
        // The directory stays while something is to be written there.
        ApiKeys(file: ApiKeyFile(directory: directory.path), clock: { clock.value }) { [directory] text in
            withExtendedLifetime(directory) { log.add(text) }
        }
    }

    private static func content(_ directory: TemporaryDirectory) throws -> String {
        try String(contentsOfFile: directory.path + "/api-keys.json", encoding: .utf8)
    }

    @Test func theNextDaemonKnowsThem() async throws {
        let directory = try TemporaryDirectory()
        let clock = TestClock(1_000_000)
        let first = Self.keys(directory, clock: clock)
        let kept = try await first.create(.init(name: "kept", scope: .run, expiresIn: "90d"))
        let gone = try await first.create(.init(name: "gone", scope: .admin))
        try await first.revoke(gone.key.id)
        #expect(first.authenticate(kept.token)?.scope == .run)
        await first.settle()

        let log = EventLog()
        let second = Self.keys(directory, clock: clock, log: log)
        #expect(log.all.isEmpty)
        #expect(second.authenticate(kept.token)?.id == kept.key.id)
        #expect(second.authenticate(gone.token) == nil)
        #expect(
            second.list() == [
                ApiKey(
                    id: kept.key.id, name: "kept", scope: .run, createdAt: RFC3339.text(1_000_000_000_000_000),
                    expiresAt: RFC3339.text((1_000_000 + 90 * 86_400) * 1_000_000_000),
                    lastUsedAt: RFC3339.text(1_000_000_000_000_000))
            ])
    }

    @Test func theSecretIsNotKept() async throws {
        let directory = try TemporaryDirectory()
        let created = try await Self.keys(directory).create(.init(name: "t", scope: .read))
        let content = try Self.content(directory)
        #expect(!content.contains(created.token.split(separator: "_")[2]))
        #expect(content.contains(SHA256(of: created.token.utf8).description))
        let status = try #require(try FileStatus(path: directory.path + "/api-keys.json"))
        #expect(status.mode == 0o600)
        #expect(try FileStatus(path: directory.path + "/api-keys.json.new") == nil)
    }

    @Test func useIsWrittenDownOnceAMinute() async throws {
        let directory = try TemporaryDirectory()
        let clock = TestClock(1_000_000)
        let keys = Self.keys(directory, clock: clock)
        let token = try await keys.create(.init(name: "t", scope: .read)).token
        for (time, expected) in [(0, 1_000_000), (59, 1_000_000), (60, 1_000_060)] as [(Int64, Int64)] {
            clock.value = 1_000_000 + time
            _ = keys.authenticate(token)
            await keys.settle()
            #expect(try Self.content(directory).contains("\"lastUsedAt\" : \(expected)"))
        }
    }

    @Test(arguments: [
        "{", "[]", "{\"version\":2,\"keys\":[]}", "{\"version\":1}", "{\"version\":1,\"keys\":[{\"id\":\"a\"}]}",
        "\u{0}",
    ])
    func aFileThatMakesNoSenseOpensNothingAndIsKept(text: String) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/api-keys.json"
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        chmod(path, 0o600)
        let log = EventLog()
        let keys = Self.keys(directory, log: log)
        #expect(keys.list().isEmpty)
        #expect(log.all.count == 2)
        #expect(log.all.first?.hasPrefix("no API key is valid: ") == true)
        let aside = try #require(log.all.last?.split(separator: " ").last.map(String.init))
        #expect(try String(contentsOfFile: aside, encoding: .utf8) == text)
        unlink(aside)
        // And new ones can be made.
        let token = try await keys.create(.init(name: "t", scope: .read)).token
        #expect(Self.keys(directory).authenticate(token) != nil)
    }

    @Test func aFileThatOthersMayWriteOpensNothing() async throws {
        let directory = try TemporaryDirectory()
        let token = try await Self.keys(directory).create(.init(name: "t", scope: .read)).token
        let path = directory.path + "/api-keys.json"
        chmod(path, 0o640)
        #expect(Self.keys(directory).authenticate(token) != nil)
        chmod(path, 0o660)
        let log = EventLog()
        #expect(Self.keys(directory, log: log).authenticate(token) == nil)
        if let aside = log.all.last?.split(separator: " ").last { unlink(String(aside)) }
    }

    @Test func whatCannotBeWrittenIsNotValid() async throws {
        let log = EventLog()
        let keys = ApiKeys(file: ApiKeyFile(directory: "/nonexistent"), clock: { 0 }) { log.add($0) }
        await #expect(throws: SystemCallError.self) { try await keys.create(.init(name: "t", scope: .read)) }
        #expect(keys.list().isEmpty)
    }

    @Test func tokensAreLongAndEachIsAnother() async throws {
        let directory = try TemporaryDirectory()
        let keys = Self.keys(directory)
        var tokens: Set<String> = []
        for _ in 0..<20 { tokens.insert(try await keys.create(.init(name: "t", scope: .read)).token) }
        #expect(tokens.count == 20)
        for token in tokens { #expect(token.wholeMatch(of: /corral_[2-9b-z]{12}_[0-9a-f]{64}/) != nil) }
    }

    @Test func comparisonTellsEqualFromUnequal() {
        #expect(ApiKeys.isEqual("abc", "abc"))
        for other in ["abd", "Abc", "ab", "abcd", ""] { #expect(!ApiKeys.isEqual("abc", other)) }
    }
}
