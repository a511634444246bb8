internal import CorralEvents
internal import Glibc

/// Why a call of `Client` did not do what it was asked.
public enum ClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The host is not written as one that this client can reach.
    case badHost(String, expected: String)
    /// No connection. `remedy` says what may help, where that is known.
    case unreachable(path: String, errno: Int32, remedy: String?)
    /// A system call failed on an open connection or on one of the caller's streams.
    case system(call: String, subject: String, errno: Int32)
    /// No connection that can be trusted.
    case tls(String)
    /// The other side does not speak HTTP/1.1, or not this API.
    case badResponse(String)
    /// The other side closed the connection in the middle of an answer.
    case closed(during: String)
    /// Corral answered, and not with what was asked for. Status is HTTP's.
    case refused(status: Int, ErrorBody)
    /// Whoever read the output no longer does.
    case outputClosed

    public var description: String {
        switch self {
        case .badHost(let host, let expected):
            "\"\(TerminalText.neutralised(host))\" is not a host; expected \(expected)"
        case .unreachable(let path, let errno, let remedy):
            "cannot reach corrald at \(TerminalText.neutralised(path)): \(errorText(errno))"
                + (remedy.map { "; " + $0 } ?? "")
        case .system(let call, let subject, let errno): "\(call) \(subject): \(errorText(errno))"
        case .tls(let what): "no TLS with corrald: \(TerminalText.neutralised(what))"
        case .badResponse(let what): "corrald's answer makes no sense: \(TerminalText.neutralised(what))"
        case .closed(let activity): "corrald closed the connection during \(TerminalText.neutralised(activity))"
        case .refused(_, let body):
            ([body.message] + (body.detail ?? [])).map(TerminalText.neutralised).joined(separator: "\n")
        case .outputClosed: "the reader of the output is gone"
        }
    }
}

/// The C library's text for an errno.
func errorText(_ errno: Int32) -> String {
    guard let text = strerror(errno) else { return "errno \(errno)" }
    return String(cString: text)
}
