public import CorralPolicy

extension SandboxHooks {
    /// Lets connections to one port of a sandbox in, whoever opens them. Only tcp and udp have ports.
    public func publish(_ port: UInt16, _ proto: IPProtocol, of identity: SandboxIdentity) throws(KernelError) {
        try put("published", Self.portKey(port, proto, identity), [1])
    }

    /// Flows that came in by it end as well.
    public func unpublish(_ port: UInt16, _ proto: IPProtocol, of identity: SandboxIdentity) {
        remove("published", Self.portKey(port, proto, identity))
    }
}
