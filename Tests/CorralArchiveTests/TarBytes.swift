/// Builds tar archives byte by byte, wrong ones too.
struct TarBytes {
    private(set) var bytes: [UInt8] = []

    /// A header and its content. `edit` changes the block before the checksum is put in.
    mutating func add(
        _ name: String, type: Character = "0", content: [UInt8] = [], link: String = "", mode: Int = 0o644,
        uid: Int = 0,
        gid: Int = 0, size: Int? = nil, edit: (inout [UInt8]) -> Void = { _ in }
    ) {
        var block = [UInt8](repeating: 0, count: 512)
        func set(_ offset: Int, _ text: String) {
            for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
        }
        func octal(_ value: Int, _ digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
        }
        set(0, String(name.prefix(100)))
        set(100, octal(mode, 7))
        set(108, octal(uid, 7))
        set(116, octal(gid, 7))
        set(124, octal(size ?? content.count, 11))
        set(136, octal(1_700_000_000, 11))
        set(156, String(type))
        set(157, String(link.prefix(100)))
        set(257, "ustar\0" + "00")
        edit(&block)
        set(148, "        ")
        set(148, octal(block.reduce(0) { $0 + Int($1) }, 6) + "\0")
        bytes += block + content
        pad()
    }

    /// An extended header for the next entry.
    mutating func pax(_ records: [(String, String)], type: Character = "x") {
        var body: [UInt8] = []
        for (key, value) in records {
            let rest = " \(key)=\(value)\n"
            var count = rest.utf8.count
            while count != rest.utf8.count + String(count).count { count = rest.utf8.count + String(count).count }
            body += Array("\(count)\(rest)".utf8)
        }
        add("PaxHeaders/x", type: type, content: body)
    }

    mutating func raw(_ more: [UInt8]) {
        bytes += more
        pad()
    }

    private mutating func pad() {
        while bytes.count % 512 != 0 { bytes.append(0) }
    }

    var finished: [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }
}
