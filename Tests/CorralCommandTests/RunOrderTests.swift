import ArgumentParser
import CorralAPI
import Foundation
import Testing

@testable import corral

@Suite struct RunOrderTests {
    /// A policy file that exists as long as `body` runs.
    private func withPolicyFile(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.path + "/corral-run-\(UUID().uuidString).yaml"
        try "apiVersion: corral/v1\nname: tried\n".write(toFile: path, atomically: false, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test(arguments: [
        ["true"],
        ["--", "true"],
        ["--", "-v"],
        ["--", "--"],
        ["echo", "--name", "x", "--", "-q"],
        ["-q", "true"],
        ["--quiet", "-i", "cat"],
        ["--interactive", "--", "cat", "-"],
        ["--name", "a", "--image", "base", "sh", "-c", "exit 3"],
        ["-i", "-q", "--name", "a", "--", "sh", "-c", "exit 3"],
        ["", "x"],
        ["--", ""],
    ])
    func plainFormsMeanWhatTheParserReads(_ words: [String]) throws {
        let plain = try #require(RunOrder(plain: words))
        #expect(try plain == Run.parse(words).order())
    }

    @Test func policyFilesAreReadAlike() throws {
        try withPolicyFile { file in
            let words = ["--policy", file, "-q", "--", "true"]
            let plain = try #require(RunOrder(plain: words))
            #expect(plain.request.policy?.yaml.isEmpty == false)
            #expect(try plain == Run.parse(words).order())
        }
    }

    @Test(arguments: [
        [],
        ["--"],
        ["-h"],
        ["--help"],
        ["--policy"],
        ["--policy", "/nonexistent/policy.yaml", "true"],
        ["--name", "-q", "true"],
        ["--name", "a", "--name", "b", "true"],
        ["--name=a", "true"],
        ["-iq", "true"],
        ["-it", "sh"],
        ["--rm", "false", "true"],
        ["--host", "unix:///x", "true"],
        ["--memory", "64MiB", "true"],
        ["--timing", "true"],
        ["-d", "true"],
        ["--nme", "a", "true"],
    ])
    func theRestIsLeftToTheParser(_ words: [String]) {
        #expect(RunOrder(plain: words) == nil)
    }
}
