import CorralAPI
import CorralPolicy
import FoundationEssentials
import Testing
import Yams

@testable import CorralServer

/// docs/openapi.yaml against the code, so that neither can move alone.
@Suite struct OpenAPITests {
    private static func document() throws -> Node {
        let path = #filePath.replacing("Tests/CorralServerTests/OpenAPITests.swift", with: "docs/openapi.yaml")
        return try #require(try Yams.compose(yaml: try String(contentsOfFile: path, encoding: .utf8)))
    }

    private static func keys(_ node: Node?) -> Set<String> {
        Set(node?.mapping?.keys.compactMap(\.string) ?? [])
    }

    @Test func everyDescribedRouteExists() async throws {
        let paths = try #require(try Self.document()["paths"]?.mapping)
        var described: [String: String] = [:]
        for (path, methods) in paths {
            let names = Self.keys(methods).subtracting(["parameters"]).map { $0.uppercased() }.sorted()
            described[try #require(path.string).replacing("{ref}", with: "sb-none")] = names.joined(separator: ", ")
        }
        #expect(described.count == 29)
        try await TestServer.run { [described] server in
            for (target, methods) in described {
                let answer = try await server.client().request("PATCH", target)
                #expect(answer.status == 405, "\(target)")
                // In the server's order, which says nothing.
                let allowed = answer.fields["allow"]?.split(separator: ", ").sorted().joined(separator: ", ")
                #expect(allowed == methods, "\(target)")
            }
        }
    }

    @Test func requestBodiesHaveTheDescribedFields() throws {
        let schemas = try Self.document()["components"]?["schemas"]
        func check(_ keys: KnownKeys, _ schema: Node?, _ path: String) {
            if case .list(let entry) = keys { return check(entry, schema?["items"], path + "[]") }
            guard case .object(let known) = keys else { return }
            let name = schema?["$ref"]?.string?.split(separator: "/").last.map(String.init)
            let schema = name.map { schemas?[$0] } ?? schema
            #expect(Self.keys(schema?["properties"]) == Set(known.keys), "\(path)")
            #expect(schema?["additionalProperties"]?.bool == false, "\(path)")
            for (key, below) in known { check(below, schema?["properties"]?[key], path + "." + key) }
        }
        check(CreateSandboxRequest.keys, schemas?["CreateSandboxRequest"], "CreateSandboxRequest")
        check(KillRequest.keys, schemas?["KillRequest"], "KillRequest")
        check(SnapshotRequest.keys, schemas?["SnapshotRequest"], "SnapshotRequest")
        check(ExecRequest.keys, schemas?["ExecRequest"], "ExecRequest")
        check(EnforceRequest.keys, schemas?["EnforceRequest"], "EnforceRequest")
        check(PolicySource.keys, schemas?["PolicySource"], "PolicySource")
    }

    /// The keys that a body may have are exactly the properties of its type.
    @Test func knownKeysAreThePropertiesOfTheTypes() {
        func check(_ keys: KnownKeys, _ value: Any) {
            if case .list(let entry) = keys, let first = Mirror(reflecting: value).children.first?.value {
                return check(entry, first)
            }
            guard case .object(let known) = keys else { return }
            let properties = Mirror(reflecting: value).children
            #expect(Set(known.keys) == Set(properties.compactMap(\.label)))
            for case (let label?, let property) in properties {
                guard let below = known[label] else { continue }
                // A nested type sits in an optional.
                if let inner = Mirror(reflecting: property).children.first?.value { check(below, inner) }
            }
        }
        let full = CreateSandboxRequest(
            policy: PolicySource(file: "", yaml: ""), command: [], limits: LimitOverrides(),
            user: CommandUser(uid: 1), terminal: TerminalSize(rows: 1, columns: 1), testSwitches: .init(),
            publish: [PublishedPort(sandboxPort: 80)], mounts: [MountRequest(source: "/a", target: "/b")]
        )
        check(CreateSandboxRequest.keys, full)
        check(KillRequest.keys, KillRequest())
        check(
            ExecRequest.keys,
            ExecRequest(
                command: [], user: CommandUser(uid: 1), terminal: TerminalSize(rows: 1, columns: 1)))
    }

    @Test func reasonsAreTheClosedList() throws {
        let reasons = try Self.document()["components"]?["schemas"]?["Reason"]?["enum"]?.array().compactMap(\.string)
        #expect(reasons == Reason.allCases.map(\.rawValue))
    }

    @Test func errorCodesAreTheClosedList() throws {
        let codes = try #require(
            try Self.document()["components"]?["schemas"]?["Error"]?["properties"]?["code"]?["enum"])
        #expect(
            Set(codes.array().compactMap(\.string)) == [
                "invalid_request", "invalid_policy", "not_found", "conflict", "forbidden", "exhausted",
                "command_not_found",
                "command_not_executable", "internal",
            ]
        )
    }
}
