internal import Glibc
internal import NIOCore
internal import NIOSSL
internal import Synchronization

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// The certificate and the key of the listeners, read anew when their files change.
public final class TLSIdentity: Sendable {
    /// Seconds between two looks at the files.
    private static let interval = Duration.seconds(5)

    private struct State {
        var context: NIOSSLContext
        var changed: [Date]
        var looked: ContinuousClock.Instant
    }

    private let certificate: String
    private let key: String
    private let report: @Sendable (String) -> Void
    private let state: Mutex<State>

    /// Both are PEM files; `certificate` holds the chain, the server's own first. Throws when they cannot be read, do not fit
    /// each other, or the key can be read by everybody.
    public init(certificate: String, key: String, report: @escaping @Sendable (String) -> Void) throws {
        self.certificate = certificate
        self.key = key
        self.report = report
        state = Mutex(
            State(
                context: try Self.load(certificate, key), changed: Self.changes(certificate, key), looked: .now))
    }

    /// For a new connection. Files that cannot be used are complained of, and what was read last goes on.
    func context() -> NIOSSLContext {
        state.withLock { state in
            let now = ContinuousClock.now
            guard now - state.looked >= Self.interval else { return state.context }
            state.looked = now
            let changed = Self.changes(certificate, key)
            guard changed != state.changed else { return state.context }
            state.changed = changed
            do {
                state.context = try Self.load(certificate, key)
                report("the TLS certificate was read anew")
            } catch {
                report("the TLS certificate has changed and cannot be used; the one before goes on: \(error)")
            }
            return state.context
        }
    }

    private static func load(_ certificate: String, _ key: String) throws -> NIOSSLContext {
        guard let status = try FileStatus(path: key, followingLinks: true) else {
            throw ControlSocketError("\(key): there is no such file")
        }
        guard status.mode & 0o007 == 0 else {
            throw ControlSocketError("\(key): everybody may read it; expected mode 0600")
        }
        do {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            configuration.shutdownTimeout = .seconds(1)
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw ControlSocketError("\(certificate) and \(key): no certificate and key for TLS: \(error)")
        }
    }

    private static func changes(_ files: String...) -> [Date] {
        files.map { file in
            let attributes = try? FileManager.default.attributesOfItem(atPath: Path.resolved(file))
            return attributes?[.modificationDate] as? Date ?? .distantPast
        }
    }
}

enum Path {
    /// What the links in `path` lead to; `path` itself where they lead nowhere.
    static func resolved(_ path: String) -> String {
        guard let target = realpath(path, nil) else { return path }
        defer { free(target) }
        return String(cString: target)
    }
}
