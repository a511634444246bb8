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

    /// What came in by a published port from `port` of `peer` is over; the sandbox has no more answer to it.
    public func endPublished(
        _ proto: IPProtocol, at sandboxPort: UInt16, from peer: IPAddress, _ port: UInt16, of identity: SandboxIdentity
    ) {
        remove("flows", identity.flowKey(proto, remote: peer, localPort: sandboxPort, remotePort: port))
    }
}
