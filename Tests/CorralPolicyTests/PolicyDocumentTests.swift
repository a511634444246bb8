import CorralPolicy
import Foundation
import Testing

/// Policies in documents, held to the code: what a reader copies works, and does what the cases beside it say.
@Suite struct PolicyDocumentTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")

    private enum Block {
        case policy(String)
        /// Cases for the policy before them.
        case cases(String)
        /// Fields of a policy that has no head.
        case fields(String)
    }

    /// What stands between ```yaml and ``` in a document.
    private static func blocks(_ document: String) throws -> [Block] {
        let text = try String(contentsOf: root.appending(path: document), encoding: .utf8)
        return text.components(separatedBy: "```yaml\n").dropFirst().compactMap {
            guard let block = $0.components(separatedBy: "```").first else { return nil }
            if block.hasPrefix("apiVersion: corral/") { return .policy(block) }
            return block.hasPrefix("- ") ? .cases(block) : .fields(block)
        }
    }

    private static func markdown() throws -> [String] {
        let docs = try FileManager.default.contentsOfDirectory(atPath: root.appending(path: "docs").path)
        return ["README.md"] + docs.filter { $0.hasSuffix(".md") }.map { "docs/\($0)" }.sorted()
    }

    @Test func everyWholePolicyInADocumentIsGood() throws {
        var found = 0
        for document in try Self.markdown() {
            for case .policy(let text) in try Self.blocks(document) {
                found += 1
                let policy = try Policy(yaml: text, file: document)
                _ = try policy.compile(host: HostContext())
            }
        }
        #expect(found > 10)
    }

    @Test func everyCaseInTheReferenceAndTheCookbookHolds() throws {
        for document in ["docs/POLICY.md", "docs/COOKBOOK.md"] {
            var policy: Policy?
            var held = 0
            for block in try Self.blocks(document) {
                switch block {
                case .policy(let text):
                    policy = try Policy(yaml: text, file: document)
                case .cases(let text):
                    let tested = try #require(policy, "\(document): cases without a policy before them")
                    for outcome in try PolicyCases(yaml: text, file: document).run(on: tested, host: HostContext()) {
                        #expect(outcome.passes, "\(document): \(tested.name): \(outcome)")
                        held += 1
                    }
                case .fields(let text):
                    // Indented ones are rules.
                    let above = text.hasPrefix("    - ") ? "egress:\n  allow:\n" : ""
                    _ = try Policy(yaml: "apiVersion: corral/v1\nname: part\n\(above)\(text)", file: document)
                }
            }
            #expect(held >= 4, "\(document)")
        }
    }

    @Test func everyPolicyOfTheCookbookHasCasesOfBothKinds() throws {
        var policy: Policy?
        var policies = 0
        var isTested = true
        for block in try Self.blocks("docs/COOKBOOK.md") {
            switch block {
            case .policy(let text):
                #expect(isTested, "\(policy?.name ?? ""): no cases")
                policy = try Policy(yaml: text, file: "COOKBOOK.md")
                policies += 1
                isTested = false
            case .cases(let text):
                let name = policy?.name ?? ""
                #expect(text.contains("expect: deny"), "\(name)")
                #expect(text.contains("expect: allow") || policy?.allow.isEmpty == true, "\(name)")
                isTested = true
            case .fields:
                Issue.record("The cookbook shows whole policies: \(block)")
            }
        }
        #expect(isTested)
        #expect(policies >= 10)
    }
}
