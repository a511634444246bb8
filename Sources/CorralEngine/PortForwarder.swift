/// Leads what reaches a port of the host to a port of a sandbox, and the answers back. The sandbox sees the host as its peer.
protocol PortForwarder: Sendable {
    /// The port it is bound to.
    var hostPort: UInt16 { get }

    /// Gives the port of the host free.
    func stop() async
}
