import CorralKernel
import CorralPolicy
import Glibc
import Testing

@testable import CorralEngine

@Suite struct PolicyTableTests {
    private static let canRun = geteuid() == 0 || getenv("CORRAL_REQUIRE_KERNEL") != nil

    private static func policy(_ name: String) throws -> Policy {
        try Policy(
            yaml: "apiVersion: corral/v1\nname: \(name)\negress: { allow: [{ cidr: 192.0.2.0/24 }] }", file: "p.yaml")
    }

    @Test(.enabled(if: canRun, "needs root"))
    func equalPoliciesShareOneMapForAsLongAsOneIsInForce() throws {
        let host = HostContext()
        var table = PolicyTable(host: host)
        let policy = try Self.policy("a")
        var first: PolicyMap? = try PolicyMap(policy.compile(host: host), number: table.takeNumber())
        let again = try PolicyMap(policy.compile(host: host), number: table.takeNumber())
        #expect(table.add(try #require(first), for: policy, host: host) === first)
        #expect(table.add(again, for: policy, host: host) === first)
        #expect(table.map(for: try Self.policy("a")) === first)
        #expect(table.map(for: try Self.policy("b")) == nil)
        first = nil
        #expect(table.map(for: policy) == nil)
    }

    @Test(.enabled(if: canRun, "needs root"))
    func aMapOfAnotherHostIsNotKept() throws {
        let host = HostContext()
        var table = PolicyTable(host: host)
        let policy = try Self.policy("a")
        let map = try PolicyMap(policy.compile(host: host), number: table.takeNumber())
        #expect(table.add(map, for: policy, host: host) === map)
        let other = HostContext(hostAddresses: [try #require(IPPrefix("192.0.2.7/32"))])
        let changes = [table.change(host: other), table.change(host: other)]
        #expect(changes == [true, false])
        #expect(table.map(for: policy) == nil)
        #expect(table.add(map, for: policy, host: host) == nil)
    }
}
