import CorralEvents
import CorralPolicy
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// docs/EVENTS.md, held to the code.
@Suite struct DocumentationTests {
    private func page(_ file: String = #filePath) throws -> String {
        let root = file.split(separator: "/").dropLast(3).joined(separator: "/")
        return try String(contentsOfFile: "/\(root)/docs/EVENTS.md", encoding: .utf8)
    }

    @Test func everyExampleIsAnEventAsTheCodeWritesIt() throws {
        let lines = try page().split(separator: "\n").filter { $0.hasPrefix("{\"time\"") }
        #expect(lines.count >= 5)
        for line in lines {
            #expect(String(decoding: try Event(json: Array(line.utf8)).jsonLine, as: UTF8.self) == line + "\n")
        }
    }

    @Test func everyWordOfAClosedListIsNamed() throws {
        let page = try page()
        let words =
            EventType.allCases.map(\.rawValue) + Reason.allCases.map(\.rawValue) + Verdict.allCases.map(\.rawValue)
            + Hook.allCases.map(\.rawValue) + LimitReached.Kind.allCases.map(\.rawValue)
            + Loss.Place.allCases.map(\.rawValue) + NameQuery.Transport.allCases.map(\.rawValue)
        for word in words { #expect(page.contains("`\(word)`"), "\(word)") }
    }
}
