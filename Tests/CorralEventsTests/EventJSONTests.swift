import CorralEvents
import CorralPolicy
import FoundationEssentials
import Testing

@Suite struct EventJSONTests {
    private let denied = Event(
        time: 1_795_497_121_123_456_789, seq: 42, sandbox: SandboxReference(id: "sb-7k2m9x", name: "a1"),
        body: .egress(
            Traffic(
                verdict: .deny, reason: .noMatchingRule, hook: .connect4,
                process: ProcessReference(
                    pid: 7, hostPid: 4711, ppid: 1, uid: 0, comm: "curl", exe: "/usr/bin/curl", execID: "4711-10-2"
                ),
                remote: Remote(ip: IPAddress(ipv4: 0xcb00_7109), port: 443, name: "evil.example"), localPort: 40001,
                proto: .tcp,
                policy: PolicyReference(name: "web-agent", generation: 3), hint: "add it"
            )
        )
    )

    @Test func aDenialReadsAsDocumented() {
        #expect(
            String(decoding: denied.jsonLine, as: UTF8.self) == """
                {"time":"2026-11-24T05:12:01.123456789Z","seq":42,"sandbox":{"id":"sb-7k2m9x","name":"a1"},"type":"egress",\
                "verdict":"deny","reason":"no_matching_rule","hook":"connect4","process":{"pid":7,"host_pid":4711,"ppid":1,\
                "uid":0,"comm":"curl","exe":"/usr/bin/curl","exec_id":"4711-10-2"},"dst":{"ip":"203.0.113.9","port":443,\
                "name":"evil.example"},"local_port":40001,"protocol":"tcp","policy":{"name":"web-agent","generation":3,\
                "rule":null},"hint":"add it"}

                """
        )
    }

    @Test(arguments: [
        (
            Event.Body.sandbox(.started(command: ["sh", "-c", "a\"b\n\u{1b}[2J\u{9b}2J"])),
            #""type":"sandbox","action":"started","command":["sh","-c","a\"b\n\u001b[2J\u009b2J"]}"#
        ),
        (.sandbox(.started(command: [])), #""type":"sandbox","action":"started","command":[]}"#),
        (.sandbox(.exited(exitCode: -1)), #""type":"sandbox","action":"exited","exit_code":-1}"#),
        (
            .limit(LimitReached(.budget, budget: .connections, value: 10)),
            #""type":"limit","limit":"budget","budget":"connections","value":10}"#
        ),
        (.limit(LimitReached(.timeout, value: 5000)), #""type":"limit","limit":"timeout","value":5000}"#),
        (.lost(Loss(count: .max, place: .kernel)), #""type":"lost","count":18446744073709551615,"place":"kernel"}"#),
        (
            .dns(
                NameQuery(
                    verdict: .allow, reason: .allowedByRule, name: "api.example.com", recordType: .aaaa,
                    transport: .udp,
                    responseCode: .noError,
                    answers: [IPAddress(ipv4: 0xcb00_7107), IPAddress(high: 0x2001_0db8_0000_0000, low: 7)],
                    removed: [IPAddress(ipv4: 0x0a00_0001)], server: IPAddress(ipv4: 0x0808_0808),
                    policy: PolicyReference(name: "p", generation: 1, rule: .allow(0)))
            ),
            #""type":"dns","verdict":"allow","reason":"allowed_by_rule","query":{"name":"api.example.com","type":"AAAA"},"protocol":"udp","server":"8.8.8.8","rcode":"NOERROR","answers":["203.0.113.7","2001:db8::7"],"removed":["10.0.0.1"],"policy":{"name":"p","generation":1,"rule":"egress.allow[0]"}}"#
        ),
        (
            .dns(
                NameQuery(
                    verdict: .deny, reason: .limitExhausted, name: "x\\.\\027",
                    recordType: DNSRecordType(rawValue: 65280),
                    transport: .tcp, responseCode: .refused, count: 99, hint: "less")
            ),
            #""type":"dns","verdict":"deny","reason":"limit_exhausted","query":{"name":"x\\.\\027","type":"TYPE65280"},"protocol":"tcp","rcode":"REFUSED","count":99,"hint":"less"}"#
        ),
        (
            .ingress(
                Traffic(
                    verdict: .deny, reason: .unsolicitedInbound,
                    remote: Remote(ip: IPAddress(high: 0x2001_0db8_0000_0000, low: 9), port: 80),
                    policy: PolicyReference(name: "p", generation: 1, rule: .deny(2)))
            ),
            #""type":"ingress","verdict":"deny","reason":"unsolicited_inbound","src":{"ip":"2001:db8::9","port":80},"policy":{"name":"p","generation":1,"rule":"egress.deny[2]"}}"#
        ),
    ])
    func eachTypeHasItsOwnFields(body: Event.Body, tail: String) throws {
        let event = Event(time: 0, seq: 1, sandbox: SandboxReference(id: "i", name: "n"), body: body)
        let text = String(decoding: event.jsonLine, as: UTF8.self)
        #expect(
            text == #"{"time":"1970-01-01T00:00:00.000000000Z","seq":1,"sandbox":{"id":"i","name":"n"},"# + tail + "\n")
        #expect(try Event(json: event.jsonLine) == event)
    }

    @Test func whatIsWrittenIsReadBackEqual() throws {
        var samples = SampleEvents(seed: 1)
        for _ in 0..<5000 {
            let event = samples.next()
            #expect(try Event(json: event.jsonLine) == event)
        }
    }

    @Test func anotherParserAcceptsEveryLine() throws {
        struct Anything: Decodable {
            var time: String
            var type: String
        }
        var samples = SampleEvents(seed: 2)
        for _ in 0..<500 {
            let event = samples.next()
            #expect(try JSONDecoder().decode(Anything.self, from: Data(event.jsonLine)).type == event.type.rawValue)
        }
    }

    @Test func aLineHoldsNoBareControlCharacter() {
        var samples = SampleEvents(seed: 3)
        for _ in 0..<2000 {
            let line = samples.next().jsonLine
            #expect(line.last == UInt8(ascii: "\n"))
            #expect(!line.dropLast().contains { $0 < 0x20 || $0 == 0x7f })
            #expect(
                !String(decoding: line.dropLast(), as: UTF8.self).unicodeScalars.contains {
                    (0x80...0x9f).contains($0.value)
                })
        }
    }

    @Test func linesAreAppendedToWhatIsThere() {
        var bytes = Array("x".utf8)
        denied.appendJSONLine(to: &bytes)
        denied.appendJSONLine(to: &bytes)
        #expect(bytes == Array("x".utf8) + denied.jsonLine + denied.jsonLine)
    }

    @Test(arguments: [
        ("", EventParseError.syntax(offset: 0, expected: "a value")),
        ("[]", .syntax(offset: 0, expected: "an object")),
        ("{", .syntax(offset: 1, expected: "a key")),
        ("{}", .field("time", expected: "a string")),
        (#"{"time":"2026-13-01T00:00:00Z"}"#, .field("time", expected: "RFC 3339 in UTC")),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"lost","count":-1,"place":"reader","seq":0}"#,
            .field("count", expected: "a whole number of 0 to 18446744073709551615")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"lost","count":1.5,"place":"reader","seq":0}"#,
            .field("count", expected: "a whole number of 0 to 18446744073709551615")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"lost","count":1,"place":"moon","seq":0}"#,
            .field("place", expected: "one of kernel, reader, journal, journal_share")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"egress","verdict":"deny","reason":"fragment","seq":0,"dst":{"ip":"1.2.3"}}"#,
            .field("dst.ip", expected: "an IPv4 or IPv6 address")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"egress","verdict":"deny","reason":"fragment","seq":0,"dst":{"ip":"1.2.3.4","port":65536}}"#,
            .field("dst.port", expected: "a whole number of 0 to 65535")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"egress","verdict":"deny","reason":"fragment","seq":0,"policy":{"name":"p","generation":1,"rule":"ingress[0]"}}"#,
            .field("policy.rule", expected: "a rule such as egress.allow[0]")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"file","seq":0}"#,
            .field(
                "action", expected: "one of mount, ptrace, bpf, module, io_uring, user_namespace, receive")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"file","seq":0,"action":"mount","verdict":"deny","reason":"no_policy","hint":""}"#,
            .field("action", expected: "an operation that makes events of type file")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"dns","seq":0}"#, .field("query", expected: "an object")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"dns","seq":0,"query":{"name":"a","type":"NONE"}}"#,
            .field("query.type", expected: "a record type such as AAAA or TYPE65280")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"dns","seq":0,"query":{"name":"a","type":"A"},"rcode":"FINE"}"#,
            .field("rcode", expected: "a response code such as NXDOMAIN or RCODE9")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"dns","verdict":"allow","reason":"allowed_by_rule","seq":0,"query":{"name":"a","type":"A"},"protocol":"icmp","rcode":"NOERROR"}"#,
            .field("protocol", expected: "one of udp, tcp")
        ),
        (
            #"{"time":"2026-12-01T00:00:00Z","type":"dns","verdict":"allow","reason":"allowed_by_rule","seq":0,"query":{"name":"a","type":"A"},"protocol":"udp","rcode":"NOERROR","answers":["1.2.3.4",""]}"#,
            .field("answers", expected: "an IPv4 or IPv6 address")
        ),
    ])
    func whatIsNoEventIsRefusedWithTheReason(text: String, error: EventParseError) {
        #expect(throws: error) { try Event(json: Array(text.utf8)) }
    }

    @Test func unknownKeysAndNullsArePassedOver() throws {
        let text =
            #"{"later":[1,{"x":null}],"time":"2026-12-01T00:00:00.5Z","type":"lost","count":1,"place":"reader","seq":0,"sandbox":null}"#
        let event = try Event(json: Array(text.utf8))
        #expect(event.body == .lost(Loss(count: 1, place: .reader)))
        #expect(event.sandbox == nil)
    }

    @Test func brokenLinesNeverTrap() {
        var random = SplitMix(seed: 4)
        var samples = SampleEvents(seed: 5)
        var refused = 0
        for _ in 0..<3000 {
            var line = samples.next().jsonLine
            switch random.next() % 3 {
            case 0: line.removeLast(Int(random.next() % UInt64(line.count)))
            case 1: line[Int(random.next() % UInt64(line.count))] = UInt8(truncatingIfNeeded: random.next())
            default: line.insert(UInt8(truncatingIfNeeded: random.next()), at: Int(random.next() % UInt64(line.count)))
            }
            if (try? Event(json: line)) == nil { refused += 1 }
        }
        #expect(refused > 1000)
    }
}
