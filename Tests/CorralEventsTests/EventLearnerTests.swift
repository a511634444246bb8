import CorralPolicy
import Testing

@testable import CorralEvents

@Suite struct EventLearnerTests {
    private let sandbox = SandboxReference(id: "sb-1", name: "a")

    private func process(_ exe: String?) -> ProcessReference {
        ProcessReference(pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "c", exe: exe, execID: "70-1")
    }

    private func event(_ seq: UInt64, _ body: Event.Body) -> Event {
        Event(time: Int64(seq) * 1_000_000_000, seq: seq, sandbox: sandbox, body: body)
    }

    private func rules(_ learner: EventLearner) throws -> [String] {
        let text = learner.learner.policy(named: "l", source: "s", time: { "\($0 / 1_000_000_000)" })
        _ = try Policy(yaml: text, file: "l.yaml")
        return text.split(separator: "\n").filter { $0.hasPrefix("    - ") || $0.hasPrefix("#   ") }.map(String.init)
    }

    @Test func eventsBecomeRules() throws {
        var learner = EventLearner()
        let ip = try #require(IPAddress("203.0.113.9"))
        let meta = try #require(IPAddress("169.254.169.254"))
        let query = NameQuery(
            verdict: .wouldDeny, reason: .nameNotAllowed, name: "api.example", recordType: .a, transport: .udp,
            responseCode: .noError, answers: [ip], removed: [])
        learner.learn(event(1, .dns(query)))
        let wanted = Traffic(
            verdict: .wouldDeny, reason: .noMatchingRule, hook: .connect4, process: process("/bin/x"),
            remote: Remote(ip: ip, port: 443), proto: .tcp)
        learner.learn(event(2, .egress(wanted)))
        var allowed = wanted
        allowed.verdict = .allow
        allowed.reason = .allowedByRule
        allowed.remote?.port = 53
        allowed.proto = .udp
        learner.learn(event(3, .egress(allowed)))
        learner.learn(
            event(
                4,
                .egress(
                    Traffic(
                        verdict: .wouldDeny, reason: .reservedAddress, remote: Remote(ip: meta, port: 80), proto: .tcp,
                        hint: "never"))))
        learner.learn(
            event(5, .egress(Traffic(verdict: .deny, reason: .notIP, proto: .ethertype(0x0806), hint: "no ARP"))))
        // A socket without a destination, and what came from outside, is nothing that a policy permits.
        learner.learn(event(6, .egress(Traffic(verdict: .wouldDeny, reason: .protocolNotAllowed, proto: .icmp))))
        learner.learn(event(7, .ingress(Traffic(verdict: .deny, reason: .unsolicitedInbound))))
        #expect(
            try rules(learner) == [
                "    - { domain: api.example, ports: [443], protocol: tcp }  # once, 2, by /bin/x",
                "#   169.254.169.254:80/tcp: reserved_address; never (once, 4)",
                "#   arp: not_ip; no ARP (once, 5)",
            ])
        #expect(learner.seen["sb-1"] == Set(1...7))
        #expect(learner.lost == 0)
    }

    @Test func whatIsMissingIsCounted() {
        var learner = EventLearner()
        learner.learn(Event(time: 1, seq: 0, sandbox: sandbox, body: .lost(Loss(count: 7, place: .share))))
        learner.learn(Event(time: 1, seq: 0, sandbox: nil, body: .gap(Gap(.uncleanStop))))
        #expect(learner.lost == 8)
    }

    @Test func hostileEventsMakeAValidPolicy() throws {
        var learner = EventLearner()
        var samples = SampleEvents(seed: 9)
        for _ in 0..<3000 { learner.learn(samples.next()) }
        _ = try rules(learner)
        let text = learner.learner.policy(named: "l", source: "a\nb", calls: .none, time: RFC3339.text)
        #expect(!text.utf8.contains { $0 < 0x20 && $0 != 10 || $0 == 0x7f })
    }
}
