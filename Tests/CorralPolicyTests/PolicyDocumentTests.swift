import CorralPolicy
import Foundation
import Testing

/// docs/POLICY.md, held to the code.
@Suite struct PolicyDocumentTests {
    /// What stands between ```yaml and ```.
    private func examples() throws -> [String] {
        let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/POLICY.md")
        return try String(contentsOf: path, encoding: .utf8).components(separatedBy: "```yaml\n").dropFirst().compactMap
        {
            $0.components(separatedBy: "```\n").first
        }
    }

    @Test func itsPolicyIsOneAndItsCasesHold() throws {
        let examples = try examples()
        try #require(examples.count == 2)
        let policy = try Policy(yaml: examples[0], file: "POLICY.md")
        _ = try policy.compile(host: HostContext())
        let outcomes = try PolicyCases(yaml: examples[1], file: "POLICY.md").run(on: policy, host: HostContext())
        #expect(outcomes.count == 4)
        for outcome in outcomes { #expect(outcome.passes, "\(outcome)") }
    }
}
