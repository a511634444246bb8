internal import ArgumentParser
internal import CorralEvents
internal import FoundationEssentials
internal import Glibc

/// Standard output.
enum Output {
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    /// All of `bytes`, unbuffered, to standard output or another descriptor. Ends the program when nobody reads them any more.
    static func write(_ bytes: [UInt8], to descriptor: Int32 = STDOUT_FILENO) throws {
        try bytes.withUnsafeBytes { try write($0, to: descriptor) }
    }

    static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32 = STDOUT_FILENO) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
            if count >= 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } else if errno == EPIPE {
                throw ExitCode(128 + SIGPIPE)
            } else if errno != EINTR {
                throw Failure(file: descriptor == STDOUT_FILENO ? "stdout" : "stderr", errno: errno)
            }
        }
    }

    static func write(_ text: String) throws {
        try write(Array(text.utf8))
    }

    /// Indented JSON with sorted keys and a line break.
    static func write(json value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try write(TerminalJSON.escaped(Array(try encoder.encode(value))) + [UInt8(ascii: "\n")])
    }

    /// Rows in columns under a heading on a terminal; elsewhere separated by tabs and without the heading.
    static func write(table heading: [String], _ rows: [[String]]) throws {
        guard isTerminal else {
            return try write(rows.map { $0.joined(separator: "\t") + "\n" }.joined())
        }
        try write(columns([heading] + rows))
    }

    /// Each column as wide as its widest cell; the last is not padded.
    static func columns(_ rows: [[String]]) -> String {
        var widths: [Int] = []
        for row in rows {
            for (index, cell) in row.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.count)
            }
        }
        return rows.map { row in
            row.enumerated().map { index, cell in
                index == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
            }.joined(separator: "  ") + "\n"
        }.joined()
    }
}

/// JSON from elsewhere, made harmless for a terminal without changing what it says.
enum TerminalJSON {
    /// Characters that a terminal might obey or that reorder others become `\u` escapes. Line breaks between values stay.
    static func escaped(_ json: [UInt8]) -> [UInt8] {
        if json.allSatisfy({ (0x20...0x7e).contains($0) || $0 == UInt8(ascii: "\n") }) { return json }
        var result: [UInt8] = []
        for scalar in String(decoding: json, as: UTF8.self).unicodeScalars {
            // Outside ASCII, valid JSON has characters within strings alone.
            if scalar == "\n" || !TerminalText.isUnsafe(scalar) {
                result.append(contentsOf: String(scalar).utf8)
            } else {
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    result.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8)
                }
            }
        }
        return result
    }
}
