import CorralEvents
import CorralPolicy
import FoundationEssentials
import Testing

@testable import CorralEvents

/// docs/events.schema.json against the code: whatever the code writes is valid, and what is not an event is not.
@Suite struct EventSchemaTests {
    private static func schema(_ file: String = #filePath) throws -> JSONSchema {
        let root = file.split(separator: "/").dropLast(3).joined(separator: "/")
        return try JSONSchema(Array(Data(contentsOf: URL(fileURLWithPath: "/\(root)/docs/events.schema.json"))))
    }

    private static func page(_ name: String, _ file: String = #filePath) throws -> String {
        let root = file.split(separator: "/").dropLast(3).joined(separator: "/")
        return try String(contentsOfFile: "/\(root)/docs/\(name)", encoding: .utf8)
    }

    /// Most types are about a sandbox always.
    private static func sample(_ samples: inout SampleEvents) -> Event {
        var event = samples.next()
        if ![.lost, .audit, .gap].contains(event.type), event.sandbox == nil {
            event.sandbox = SandboxReference(id: "sb-1", name: "a1")
        }
        return event
    }

    @Test func everySampleEventIsValid() throws {
        let schema = try Self.schema()
        var samples = SampleEvents(seed: 4)
        var types: Set<EventType> = []
        for _ in 0..<5000 {
            let event = Self.sample(&samples)
            types.insert(event.type)
            let problems = schema.problems(of: try JSONReader.value(of: event.jsonLine))
            #expect(problems.isEmpty, "\(String(decoding: event.jsonLine, as: UTF8.self)): \(problems)")
            if !problems.isEmpty { break }
        }
        #expect(types == Set(EventType.allCases))
    }

    @Test func everyTypeHasASchemaExactlyWhenTheCodeMakesIt() throws {
        let described = Set(try Self.schema().constants(of: "type"))
        for type in EventType.allCases {
            let line = "{\"time\":\"2026-11-24T05:12:01.000000000Z\",\"seq\":0,\"type\":\"\(type.rawValue)\"}"
            var isKnown = true
            do {
                _ = try Event(json: Array(line.utf8))
            } catch {
                let unknown = "a type of event that this version knows, not \(type.rawValue)"
                isKnown = error != .field("type", expected: unknown)
            }
            #expect(described.contains(type.rawValue) == isKnown, "\(type)")
        }
    }

    @Test func everyExampleOfTheDocumentationIsValid() throws {
        let schema = try Self.schema()
        var count = 0
        for name in ["EVENTS.md", "AUDIT.md"] {
            for line in try Self.page(name).split(separator: "\n") where line.hasPrefix("{\"time\"") {
                count += 1
                #expect(schema.problems(of: try JSONReader.value(of: Array(line.utf8))) == [], "\(line)")
            }
        }
        #expect(count > 8)
    }

    @Test func recordsOfTheJournalAreValid() throws {
        let schema = try Self.schema()
        var samples = SampleEvents(seed: 5)
        var chain = JournalChain()
        for _ in 0..<200 {
            let event = Self.sample(&samples)
            // Calls are not kept.
            guard event.type != .syscall else { continue }
            var bytes: [UInt8] = []
            chain.append(event, to: &bytes)
            #expect(schema.problems(of: try JSONReader.value(of: bytes)) == [])
        }
    }

    @Test(arguments: [
        ("\"seq\":42", "\"seq\":-1"), ("\"seq\":42", "\"seq\":\"42\""), ("\"seq\":42,", ""),
        ("\"type\":\"limit\"", "\"type\":\"limits\""), ("\"limit\":\"oom\"", "\"limit\":\"heat\""),
        ("\"limit\":\"oom\"", "\"limit\":null"), ("01.000000000Z", "01Z"), ("\"id\":\"sb-1\",", ""),
        ("\"value\":7", "\"value\":7.5"), ("\"value\":7", "\"value\":7,\"colour\":1"),
        ("\"type\":\"limit\"", "\"type\":\"dns\""),
    ])
    func whatIsNoEventIsNotValid(part: String, wrong: String) throws {
        let good =
            "{\"time\":\"2026-11-24T05:12:01.000000000Z\",\"seq\":42,\"sandbox\":{\"id\":\"sb-1\",\"name\":\"a\"},"
            + "\"type\":\"limit\",\"limit\":\"oom\",\"value\":7}"
        let schema = try Self.schema()
        #expect(schema.problems(of: try JSONReader.value(of: Array(good.utf8))) == [])
        let bad = good.replacing(part, with: wrong)
        #expect(bad != good)
        #expect(schema.problems(of: try JSONReader.value(of: Array(bad.utf8))) != [])
    }

    @Test func theListsAreThoseOfTheCode() throws {
        let schema = try Self.schema()
        #expect(schema.constants(of: "reason") == Reason.allCases.map(\.rawValue).sorted())
        #expect(schema.constants(of: "hook") == Hook.allCases.map(\.rawValue).sorted())
        #expect(schema.constants(of: "cause") == Gap.Cause.allCases.map(\.rawValue).sorted())
        #expect(schema.constants(of: "place") == Loss.Place.allCases.map(\.rawValue).sorted())
        let actions =
            AuditRecord.Action.allCases.map(\.rawValue)
            + ["created", "claimed", "started", "paused", "resumed", "exited", "destroyed", "fork", "exit"]
            + ["applied", "refused"] + KernelOperation.allCases.map(\.rawValue) + FileAction.allCases.map(\.rawValue)
        // `exec` is what a person, a process and a file's user may do.
        #expect(schema.constants(of: "action") == Set(actions).sorted())
        let page = try Self.page("AUDIT.md")
        for word in AuditRecord.Action.allCases.map(\.rawValue) + Gap.Cause.allCases.map(\.rawValue) {
            #expect(page.contains("`\(word)`"), "\(word)")
        }
    }
}
