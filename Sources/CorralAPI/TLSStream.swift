/// TLS between a connection's bytes and its socket's. What implements it is linked by programs that need it.
public protocol TLSStream: AnyObject {
    /// Bytes from the socket. Throws `TLSFailure`.
    func receive(_ bytes: ArraySlice<UInt8>) throws(TLSFailure)
    /// The socket's other side sends nothing more.
    func receiveEnd() throws(TLSFailure)
    /// Bytes for the other side. Throws `TLSFailure`.
    func send(_ bytes: ArraySlice<UInt8>) throws(TLSFailure)
    /// What was received and is deciphered; taken out.
    func takePlain() -> [UInt8]
    /// What is to be written to the socket; taken out.
    func takeCipher() -> [UInt8]
    /// The other side has said that nothing more comes.
    var isEnded: Bool { get }
}

/// Why a connection is not trusted, or has stopped making sense.
public struct TLSFailure: Error, Sendable, Equatable {
    public var what: String

    public init(_ what: String) {
        self.what = what
    }
}

/// Begins TLS with the server called `name`.
public typealias TLSMaker = @Sendable (_ name: String) throws(TLSFailure) -> any TLSStream
