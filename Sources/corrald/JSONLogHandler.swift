internal import Glibc
internal import Logging

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Log lines as JSON objects on standard error: `time`, `level`, `logger`, `message` and the metadata.
struct JSONLogHandler: LogHandler {
    let label: String
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String) {
        self.label = label
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields: [String: String] = [:]
        for part in [metadata, metadataProvider?.get() ?? [:], event.metadata ?? [:]] {
            for (key, value) in part { fields[key] = "\(value)" }
        }
        if let error = event.error { fields["error"] = "\(error)" }
        fields["time"] = Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        fields["level"] = event.level.rawValue
        fields["logger"] = label
        fields["message"] = "\(event.message)"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard var line = try? Array(encoder.encode(fields)) else { return }
        line.append(UInt8(ascii: "\n"))
        // One write, so that lines of several threads do not mix.
        _ = write(STDERR_FILENO, line, line.count)
    }
}
