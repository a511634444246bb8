import CorralEvents
import CorralPolicy
import Testing

@Suite struct EventFilterTests {
    private let event = Event(
        time: 0, seq: 1, sandbox: SandboxReference(id: "sb-7k2m9x", name: "a1"),
        body: .egress(
            Traffic(
                verdict: .deny, reason: .noMatchingRule,
                remote: Remote(ip: IPAddress(ipv4: 0xcb00_7109), port: 443, name: "Evil.example")
            )
        )
    )

    private func accepts(_ query: [(String, String)], _ event: Event? = nil) throws -> Bool {
        try EventFilter(query: query).matches(event ?? self.event)
    }

    @Test func anEmptyFilterAcceptsEverything() throws {
        var samples = SampleEvents(seed: 9)
        for _ in 0..<200 { #expect(EventFilter().matches(samples.next())) }
    }

    @Test(arguments: ["sb-7k2m9x", "sb-7", "a1"])
    func aSandboxIsNamedByIdBeginningOfIdOrName(reference: String) throws {
        #expect(try accepts([("sandbox", reference)]))
    }

    @Test(arguments: ["sb-", "sb", "sb-7k2m9y", "sb-7k2m9xx", "a", "a11", "A1", "7k2m9x"])
    func anotherSandboxIsRefused(reference: String) throws {
        #expect(try !accepts([("sandbox", reference)]))
    }

    @Test(arguments: [
        ("type", "egress", "dns"), ("verdict", "deny", "allow"), ("reason", "no_matching_rule", "fragment"),
    ])
    func eachKeyJudgesItsOwnField(key: String, right: String, wrong: String) throws {
        #expect(try accepts([(key, right)]))
        #expect(try !accepts([(key, wrong)]))
        // The same key twice is an alternative.
        #expect(try accepts([(key, wrong), (key, right)]))
    }

    @Test(arguments: [
        "203.0.113.9", "203.0.113.0/24", "0.0.0.0/0", "::/0", "evil.example", "EVIL.example", "*.example",
    ])
    func aDestinationIsNamedByAddressBlockOrName(text: String) throws {
        #expect(try accepts([("dst", text)]))
    }

    @Test(arguments: [
        "203.0.113.8", "203.0.114.0/24", "2001:db8::/32", "example", "*.evil.example", "*.xample", "vil.example",
    ])
    func anotherDestinationIsRefused(text: String) throws {
        #expect(try !accepts([("dst", text)]))
    }

    private let resolved = Event(
        time: 0, seq: 2, sandbox: SandboxReference(id: "sb-7k2m9x", name: "a1"),
        body: .dns(
            NameQuery(
                verdict: .allow, reason: .allowedByRule, name: "api.example.com", recordType: .a, transport: .udp,
                responseCode: .noError, answers: [IPAddress(ipv4: 0xcb00_7109), IPAddress(ipv4: 0xcb00_710a)],
                removed: [IPAddress(ipv4: 0x0a00_0001)])
        )
    )

    @Test(arguments: [
        ("type", "dns"), ("verdict", "allow"), ("reason", "allowed_by_rule"), ("dst", "api.example.com"),
        ("dst", "API.Example.com"), ("dst", "*.example.com"), ("dst", "203.0.113.10"), ("dst", "10.0.0.0/8"),
    ])
    func aQuestionIsNamedByItsNameOrByTheAddressesItStandsFor(key: String, value: String) throws {
        #expect(try accepts([(key, value)], resolved))
    }

    @Test(arguments: [
        ("type", "egress"), ("verdict", "deny"), ("reason", "name_not_allowed"), ("dst", "example.com"),
        ("dst", "*.api.example.com"), ("dst", "203.0.113.11"), ("dst", "2001:db8::/32"),
    ])
    func anotherQuestionIsRefused(key: String, value: String) throws {
        #expect(try !accepts([(key, value)], resolved))
    }

    @Test func differentKeysMustAllAgree() throws {
        #expect(try accepts([("sandbox", "a1"), ("verdict", "deny"), ("dst", "203.0.113.9")]))
        #expect(try !accepts([("sandbox", "a1"), ("verdict", "deny"), ("dst", "203.0.113.8")]))
        #expect(try !accepts([("sandbox", "a2"), ("verdict", "deny"), ("dst", "203.0.113.9")]))
    }

    @Test func eventsWithoutADecisionFailDecisionFilters() throws {
        let started = Event(time: 0, seq: 1, sandbox: event.sandbox, body: .sandbox(.created))
        #expect(try accepts([("type", "sandbox")], started))
        for query in [("verdict", "deny"), ("reason", "fragment"), ("dst", "::/0")] {
            #expect(try !accepts([query], started))
        }
    }

    @Test func noFilterButTheSandboxHidesALoss() throws {
        let lost = Event(time: 0, seq: 0, sandbox: event.sandbox, body: .lost(Loss(count: 1, place: .kernel)))
        #expect(try accepts([("type", "egress"), ("verdict", "allow"), ("dst", "192.0.2.1")], lost))
        #expect(try !accepts([("sandbox", "other")], lost))
        let everywhere = Event(time: 0, seq: 0, sandbox: nil, body: .lost(Loss(count: 1, place: .reader)))
        #expect(try accepts([("sandbox", "other")], everywhere))
    }

    @Test func aFilterSurvivesItsQueryString() throws {
        let query = [
            ("dst", "*.Example.org"), ("sandbox", "a1"), ("type", "egress"), ("type", "lost"),
            ("verdict", "would_deny"),
            ("reason", "ip_options"), ("dst", "10.0.0.0/8"), ("dst", "2001:db8::/32"), ("sandbox", "sb-1"),
        ]
        let filter = try EventFilter(query: query)
        #expect(try EventFilter(query: filter.query) == filter)
        #expect(filter.query.count == query.count)
        #expect(
            filter.destinations == [
                .name("*.example.org"), .prefix(try #require(IPPrefix("10.0.0.0/8"))),
                .prefix(try #require(IPPrefix("2001:db8::/32"))),
            ])
    }

    @Test(arguments: [
        ("colour", "red", "query: \"colour\" is not one of sandbox, type, verdict, reason, dst"),
        ("verdict", "no", "verdict: \"no\" is not one of allow, deny, would_deny"),
        (
            "type", "Egress",
            "type: \"Egress\" is not one of sandbox, process, egress, ingress, dns, syscall, file, limit, policy, lost, audit, gap"
        ),
        ("sandbox", "", "sandbox: \"\" is not a sandbox's id or name"),
        ("sandbox", "a/b", "sandbox: \"a/b\" is not a sandbox's id or name"),
        (
            "dst", "10.0.0.1/8",
            "dst: \"10.0.0.1/8\" is not an address, a CIDR block without bits past its length, or a DNS name"
        ),
        (
            "dst", "\u{1b}[2J",
            "dst: \"\\x1b[2J\" is not an address, a CIDR block without bits past its length, or a DNS name"
        ),
    ])
    func aBadValueIsRefusedWithWhatWasExpected(key: String, value: String, message: String) {
        let error = #expect(throws: EventFilterError.self) { try EventFilter(query: [(key, value)]) }
        #expect(error?.description == message)
    }

    @Test(arguments: [
        "", ".", "a..b", "1.2.3", "300.1.1.1", "*.", "**.a", "a.*", "a b", "ex ample", "é.example",
        String(repeating: "a", count: 64),
    ])
    func otherTextIsNoDestination(text: String) {
        #expect(EventFilter.Destination(text) == nil)
    }

    /// What is about no sandbox is not about one of those that were asked for; what is missing may be of any.
    @Test func eventsWithoutASandbox() {
        let one = EventFilter(sandboxes: ["a1"])
        let start = Event(time: 0, seq: 0, sandbox: nil, body: .audit(AuditRecord(.start)))
        let gap = Event(time: 0, seq: 0, sandbox: nil, body: .gap(Gap(.writeFailed)))
        #expect(!one.matches(start))
        #expect(one.matches(gap))
        #expect(EventFilter().matches(start))
        #expect(EventFilter(sandboxes: [], types: [.egress]).matches(gap))
        #expect(!EventFilter(sandboxes: [], types: [.egress]).matches(start))
    }
}
