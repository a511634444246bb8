@testable import CorralEvents
@testable import CorralPolicy

enum EventTargets {
    private static let context = DecisionContext(
        sandbox: SandboxReference(id: "sb-1", name: "a"), bootTime: 1_700_000_000_000_000_000, uidBase: 1_000_000,
        uidCount: 65_536, policy: PolicyReference(name: "web", generation: 1, rule: nil), remoteName: "api.example.com")

    /// One `struct corral_event`.
    static let decision: Fuzz.Target = { bytes in
        guard let decision = try? WireDecision(bytes: bytes) else { return }
        check(decision.event(in: context))
    }

    /// One record of the ring `trace`.
    static let trace: Fuzz.Target = { bytes in
        bytes.withUnsafeBytes { raw in
            guard let record = try? WireTrace(bytes: raw) else { return }
            check(record.event(in: context))
        }
    }

    /// One line of `corral tail --input`.
    static let event: Fuzz.Target = { bytes in
        do throws(EventParseError) {
            check(try Event(json: bytes))
        } catch {
            Fuzz.require(!error.description.isEmpty, "a refusal can be told")
        }
    }

    /// What is written is read again as the same, and shown without harm.
    static func check(_ event: Event) {
        let line = event.jsonLine
        Fuzz.require(line.last == 0x0a && !line.dropLast().contains(0x0a), "an event is one line")
        Fuzz.require(
            (try? Event(json: line)) == event, "what is written is read: \(String(decoding: line, as: UTF8.self))")
        Fuzz.require(Event.time(ofLine: line[...]) == event.time, "the time is where it belongs")
        for layout in [EventRenderer.Layout.compact, .table] {
            let text = EventRenderer(layout: layout, color: false).line(event)
            Fuzz.require(
                text.hasSuffix("\n")
                    && !text.unicodeScalars.dropLast().contains { $0.value < 0x20 || TerminalText.isUnsafe($0) },
                "a line for people is harmless: \(text.debugDescription)")
        }
        _ = EventFilter().matches(event)
    }
}
