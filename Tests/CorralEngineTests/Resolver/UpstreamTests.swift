import CorralEvents
import CorralPolicy
import NIOPosix
import Synchronization
import Testing

@testable import CorralEngine

@Suite struct UpstreamTests {
    private let question = DNSQuestion(name: .literal("api.example.com"), type: .a)
    private let right = DNSRecord.a("api.example.com", "203.0.113.7")
    private let forged = DNSRecord.a("api.example.com", "203.0.113.66")

    private func upstream(
        _ endpoints: [DNSEndpoint], timeout: Duration = .seconds(60), total: Duration = .seconds(120)
    ) -> Upstream {
        var limits = Upstream.Limits()
        limits.timeout = timeout
        limits.total = total
        return Upstream(
            servers: UpstreamServers(endpoints), group: MultiThreadedEventLoopGroup.singleton, limits: limits)
    }

    /// The servers' answer to one question, and what each was asked.
    private func run(
        on host: String = "127.0.0.1", timeout: Duration = .seconds(60), _ servers: [TestNameServer.Answer]
    ) async throws -> (Result<DNSMessage, UpstreamError>, [[TestNameServer.Asked]]) {
        var running: [TestNameServer] = []
        for server in servers { running.append(try await TestNameServer.start(host, answer: server)) }
        let result: Result<DNSMessage, UpstreamError>
        do throws(UpstreamError) {
            result = .success(try await upstream(running.map(\.endpoint), timeout: timeout).resolve(question))
        } catch {
            result = .failure(error)
        }
        for server in running { await server.stop() }
        return (result, running.map(\.asked))
    }

    private static func reply(
        _ asked: TestNameServer.Asked, _ records: [DNSRecord], _ edit: (inout DNSMessage) -> Void = { _ in }
    ) -> TestNameServer.Reply {
        var message = answer(to: asked.message, records)
        edit(&message)
        return .bytes(message.encoded())
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func aQuestionIsAskedWithNothingOfTheSandboxInIt(host: String) async throws {
        let (result, asked) = try await run(on: host, [{ [right] in [Self.reply($0, [right])] }])
        #expect(try result.get().answers == [right])
        let message = try #require(asked.first?.first?.message)
        #expect(asked.first?.count == 1)
        // RD alone.
        #expect(message.flags.rawValue == 0x0100)
        #expect(message.edns == EDNS(payloadSize: 1232))
        #expect(message.questions == [question])
    }

    @Test func idPortAndCaseDifferEachTime() async throws {
        let server = try await TestNameServer.start { [right] in [Self.reply($0, [right])] }
        let upstream = upstream([server.endpoint])
        for _ in 0..<24 { _ = try await upstream.resolve(question) }
        await server.stop()
        let asked = server.asked
        #expect(asked.count == 24)
        #expect(Set(asked.map(\.message.id)).count > 20)
        #expect(Set(asked.map(\.port)).count > 20)
        #expect(Set(asked.compactMap { $0.message.questions.first?.name.wire }).count > 20)
    }

    @Test func forgedAnswersAreIgnoredAndTheRightOneIsTaken() async throws {
        let (result, asked) = try await run([
            { [right, forged] asked in
                [
                    Self.reply(asked, [forged]) { $0.id ^= 1 },
                    Self.reply(asked, [forged]) {
                        $0.questions = [DNSQuestion(name: .literal("other.example"), type: .a)]
                    },
                    Self.reply(asked, [forged]) { $0.questions[0].type = .aaaa },
                    Self.reply(asked, [forged]) { $0.flags.isResponse = false },
                    Self.reply(asked, [forged]) { $0.flags.opcode = 5 },
                    .fromElsewhere(answer(to: asked.message, [forged]).encoded()), .bytes([1, 2, 3]), .bytes([]),
                    Self.reply(asked, [right]),
                ]
            }
        ])
        #expect(try result.get().answers == [right])
        #expect(asked.first?.map(\.transport) == [.udp])
    }

    @Test func aFloodOfForgedAnswersLeadsToTCP() async throws {
        let (result, asked) = try await run([
            { [right, forged] asked in
                asked.transport == .tcp
                    ? [Self.reply(asked, [right])]
                    : (1...20).map { index in Self.reply(asked, [forged]) { $0.id = $0.id &+ UInt16(index) } }
            }
        ])
        #expect(try result.get().answers == [right])
        #expect(asked.first?.map(\.transport) == [.udp, .tcp])
    }

    /// A forger who guessed all but the case of the letters; or a server that changes it, which is no reason to wait.
    @Test func anAnswerInAnotherCaseLeadsToTCP() async throws {
        let (result, asked) = try await run([
            { [right, forged] asked in
                [
                    Self.reply(asked, [asked.transport == .udp ? forged : right]) {
                        $0.questions[0].name = $0.questions[0].name.folded
                    }
                ]
            }
        ])
        #expect(try result.get().answers == [right])
        #expect(asked.first?.map(\.transport) == [.udp, .tcp])
    }

    @Test func aCutAnswerIsAskedForByTCP() async throws {
        let many = (0..<100).map { DNSRecord.a("api.example.com", "203.0.113.\($0)") }
        let (result, asked) = try await run([
            { asked in
                let whole = answer(to: asked.message, many).encoded()
                guard asked.transport == .udp else { return [.bytes(whole)] }
                // In the middle of a record, as some do.
                var cut = Array(whole.prefix(500))
                cut[2] |= 0x02
                return [.bytes(cut)]
            }
        ])
        #expect(try result.get().answers == many)
        #expect(asked.first?.map(\.transport) == [.udp, .tcp])
    }

    @Test func theNextServerIsAskedWhenOneFails() async throws {
        let failures: [TestNameServer.Answer] = [
            { _ in [] },
            { [Self.reply($0, []) { $0.responseCode = .serverFailure }] },
            { [Self.reply($0, []) { $0.responseCode = .refused }] },
            // Garbled by UDP and by TCP.
            { asked in [.bytes(answer(to: asked.message, []).encoded() + [0])] },
        ]
        for failure in failures {
            let (result, asked) = try await run(
                timeout: .milliseconds(150), [failure, { [right] in [Self.reply($0, [right])] }])
            #expect(try result.get().answers == [right])
            #expect(asked.allSatisfy { !$0.isEmpty })
        }
    }

    @Test func aClosedPortIsPassedOverAtOnce() async throws {
        let closed = try await TestNameServer.start { _ in [] }
        await closed.stop()
        let server = try await TestNameServer.start { [right] in [Self.reply($0, [right])] }
        let upstream = upstream([closed.endpoint, server.endpoint], timeout: .seconds(60), total: .seconds(60))
        let started = ContinuousClock.now
        let answers = try await upstream.resolve(question).answers
        #expect(started.duration(to: .now) < .seconds(30))
        #expect(answers == [right])
        // From then on the one that works is asked first.
        _ = try await upstream.resolve(question)
        #expect(server.asked.count == 2)
        await server.stop()
    }

    @Test func aServerWithoutEDNSIsAskedWithout() async throws {
        let (result, asked) = try await run([
            { [right] asked in
                guard asked.message.edns != nil else { return [Self.reply(asked, [right])] }
                return [
                    Self.reply(asked, []) {
                        $0.responseCode = .formatError
                        $0.edns = nil
                        $0.questions = []
                    }
                ]
            }
        ])
        #expect(try result.get().answers == [right])
        #expect(asked.first?.map { $0.message.edns != nil } == [true, false])
    }

    @Test func aNameThatDoesNotExistIsAnAnswer() async throws {
        let (result, asked) = try await run([
            { [Self.reply($0, []) { $0.responseCode = .nameError }] }, { _ in [] },
        ])
        #expect(try result.get().responseCode == .nameError)
        #expect(asked[1].isEmpty)
    }

    @Test func silenceEndsInTime() async throws {
        let silent = try await TestNameServer.start { _ in [] }
        // After three attempts, or when the whole time is over.
        for (timeout, total, attempts) in [
            (Duration.milliseconds(50), Duration.seconds(60), 3), (.seconds(60), .milliseconds(200), 1),
        ] {
            let before = silent.asked.count
            let started = ContinuousClock.now
            await #expect(throws: UpstreamError.timeout) {
                try await upstream([silent.endpoint], timeout: timeout, total: total).resolve(question)
            }
            #expect(started.duration(to: .now) < .seconds(30))
            #expect(silent.asked.count - before == attempts)
        }
        await silent.stop()
    }

    @Test func withoutServersThereIsNoAnswer() async {
        await #expect(throws: UpstreamError.noServer) { try await upstream([]).resolve(question) }
    }
}
