import CorralEvents
import CorralPolicy
import Testing

@Suite struct EventRendererTests {
    private let sandbox = SandboxReference(id: "sb-7k2m9x", name: "a1")
    private let plain = EventRenderer(layout: .compact, color: false)

    private func egress(_ traffic: Traffic) -> Event {
        Event(time: 1_795_497_121_123_456_789, seq: 42, sandbox: sandbox, body: .egress(traffic))
    }

    private func event(_ body: Event.Body) -> Event {
        Event(time: 0, seq: 1, sandbox: sandbox, body: body)
    }

    private var denied: Traffic {
        Traffic(
            verdict: .deny, reason: .noMatchingRule, hook: .connect4,
            process: ProcessReference(pid: 7, hostPid: 1, ppid: 1, uid: 0, comm: "curl", exe: nil, execID: "x"),
            remote: Remote(ip: IPAddress(ipv4: 0xcb00_7109), port: 443), proto: .tcp, hint: "add it"
        )
    }

    @Test func aDenialIsOneLine() {
        #expect(
            plain.line(egress(denied))
                == "05:12:01.123 a1 DENY  egress tcp 203.0.113.9:443 curl[7] no_matching_rule  add it\n"
        )
    }

    @Test func anAllowedConnectionNamesItsRule() {
        var traffic = denied
        traffic.verdict = .allow
        traffic.reason = .allowedByRule
        traffic.hint = nil
        traffic.remote = Remote(ip: IPAddress(high: 0x2001_0db8_0000_0000, low: 9), port: 443, name: "api.example.com")
        traffic.policy = PolicyReference(name: "p", generation: 1, rule: .allow(0))
        #expect(
            plain.line(egress(traffic))
                == "05:12:01.123 a1 ALLOW egress tcp [2001:db8::9]:443 (api.example.com) curl[7] allowed_by_rule (egress.allow[0])\n"
        )
    }

    @Test func aFrameWithoutProcessNamesItsHook() {
        let traffic = Traffic(verdict: .deny, reason: .notIP, hook: .vethEgress, proto: .ethertype(0x88cc))
        #expect(plain.line(egress(traffic)) == "05:12:01.123 a1 DENY  egress ethertype-0x88cc (veth_egress) not_ip\n")
    }

    @Test func aQuestionIsOneLine() {
        var query = NameQuery(
            verdict: .allow, reason: .allowedByRule, name: "api.example.com", recordType: .a, transport: .udp,
            responseCode: .noError, answers: (7...8).map { IPAddress(ipv4: 0xcb00_7100 + $0) },
            policy: PolicyReference(name: "p", generation: 1, rule: .allow(0)))
        #expect(
            plain.line(event(.dns(query)))
                == "00:00:00.000 a1 ALLOW dns A api.example.com → 203.0.113.7, 203.0.113.8 allowed_by_rule (egress.allow[0])\n"
        )
        query.answers += query.answers
        #expect(
            plain.line(event(.dns(query)))
                == "00:00:00.000 a1 ALLOW dns A api.example.com → 203.0.113.7, 203.0.113.8, 203.0.113.7, … allowed_by_rule (egress.allow[0])\n"
        )
        let refused = NameQuery(
            verdict: .deny, reason: .limitExhausted, name: "x\u{1b}[2J.example", recordType: .https, transport: .tcp,
            responseCode: .refused, count: 99, hint: "wait\n")
        #expect(
            plain.line(event(.dns(refused)))
                == "00:00:00.000 a1 DENY  dns HTTPS x\\x1b[2J.example → REFUSED limit_exhausted (99 queries)  wait\\x0a\n"
        )
        let table = EventRenderer(layout: .table, color: false).line(event(.dns(refused)))
        #expect(table.contains("DENY       dns     tcp    x\\x1b[2J.example"))
        #expect(table.hasSuffix("HTTPS → REFUSED  wait\\x0a\n"))
    }

    @Test func otherTypesAreOneLineEach() {
        #expect(plain.line(event(.sandbox(.created))) == "00:00:00.000 a1 sandbox created\n")
        #expect(
            plain.line(event(.sandbox(.started(command: ["sh", "-c", "echo \"$HOME\"", ""]))))
                == "00:00:00.000 a1 sandbox started sh -c \"echo \\\"$HOME\\\"\" \"\"\n"
        )
        #expect(plain.line(event(.sandbox(.exited(exitCode: 137)))) == "00:00:00.000 a1 sandbox exited 137\n")
        #expect(
            plain.line(event(.limit(LimitReached(.timeout, value: 5000))))
                == "00:00:00.000 a1 limit timeout at 5000 ms\n")
        #expect(
            plain.line(Event(time: 0, seq: 0, sandbox: nil, body: .lost(Loss(count: 3, place: .reader))))
                == "00:00:00.000 - lost 3 events: this reader fell behind\n"
        )
    }

    @Test func terminalEscapesAreWrittenOut() {
        var traffic = denied
        traffic.process?.comm = "\u{1b}]0;x\u{7}\n\u{9b}2J"
        traffic.remote?.name = "\u{202e}moc.\\live"
        traffic.hint = "\r\u{8}"
        let line = plain.line(egress(traffic))
        #expect(
            line
                == "05:12:01.123 a1 DENY  egress tcp 203.0.113.9:443 (\\u{202e}moc.\\\\live) \\x1b]0;x\\x07\\x0a\\x9b2J[7] no_matching_rule  \\x0d\\x08\n"
        )
    }

    @Test func noEventEverEmitsAControlCharacter() {
        var samples = SampleEvents(seed: 11)
        let table = EventRenderer(layout: .table, color: false)
        for _ in 0..<3000 {
            let event = samples.next()
            for line in [plain.line(event), table.line(event)] {
                #expect(line.last == "\n")
                #expect(
                    !line.dropLast().unicodeScalars.contains {
                        $0.properties.generalCategory == .control || $0.properties.generalCategory == .format
                    })
            }
        }
    }

    @Test func verdictsAreColouredOnlyWhenAsked() {
        let color = EventRenderer(layout: .compact, color: true)
        #expect(color.line(egress(denied)).contains("\u{1b}[1;31mDENY \u{1b}[0m"))
        #expect(!plain.line(egress(denied)).contains("\u{1b}"))
    }

    @Test func aTableHasAHeadingAndColumnsUnderIt() throws {
        let table = EventRenderer(layout: .table, color: false)
        let heading = try #require(table.heading)
        let line = table.line(egress(denied))
        for (title, cell) in [
            ("VERDICT", "DENY"), ("TYPE", "egress"), ("REMOTE", "203.0.113.9:443"), ("PROCESS", "curl[7]"),
            ("DETAIL", "add it"),
        ] {
            let column = try #require(heading.range(of: title)).lowerBound
            #expect(
                line[line.index(line.startIndex, offsetBy: heading.distance(from: heading.startIndex, to: column))...]
                    .hasPrefix(cell))
        }
        #expect(plain.heading == nil)
    }
}

extension String {
    fileprivate func range(of text: String) -> Range<String.Index>? {
        self.ranges(of: text).first
    }
}
