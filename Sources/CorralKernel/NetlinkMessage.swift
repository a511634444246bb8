internal import CLinux

/// One netlink request under construction: header, a fixed structure, attributes, each padded to 4 bytes.
struct NetlinkMessage {
    /// What an error is reported under: `RTM_NEWLINK`.
    let name: StaticString
    /// What the request is about: `crl12`.
    let subject: String
    private(set) var bytes: [UInt8]

    /// `flags` beside NLM_F_REQUEST.
    init(
        _ name: StaticString, type: some BinaryInteger, flags: some BinaryInteger, subject: String,
        fixed: (inout NetlinkMessage) -> Void
    ) {
        self.name = name
        self.subject = subject
        bytes = []
        bytes.reserveCapacity(256)
        append(0 as UInt32)
        append(UInt16(truncatingIfNeeded: type))
        append(UInt16(truncatingIfNeeded: flags) | UInt16(NLM_F_REQUEST))
        append(0 as UInt32)
        append(0 as UInt32)
        fixed(&self)
        pad()
    }

    /// Host byte order.
    mutating func append(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ more: some Sequence<UInt8>) {
        bytes.append(contentsOf: more)
    }

    private mutating func pad() {
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    mutating func attribute(_ type: some BinaryInteger, _ value: some Collection<UInt8>) {
        append(UInt16(truncatingIfNeeded: value.count + 4))
        append(UInt16(truncatingIfNeeded: type))
        append(value)
        pad()
    }

    /// Host byte order.
    mutating func attribute(_ type: some BinaryInteger, number value: some FixedWidthInteger) {
        withUnsafeBytes(of: value) { attribute(type, $0) }
    }

    /// Zero-terminated.
    mutating func attribute(_ type: some BinaryInteger, text: String) {
        attribute(type, Array(text.utf8) + [0])
    }

    mutating func nest(_ type: some BinaryInteger, _ build: (inout NetlinkMessage) -> Void) {
        let start = bytes.count
        append(0 as UInt16)
        append(UInt16(truncatingIfNeeded: type))
        build(&self)
        patch(UInt16(truncatingIfNeeded: bytes.count - start), at: start)
        pad()
    }

    private mutating func patch(_ value: some FixedWidthInteger, at offset: Int) {
        withUnsafeBytes(of: value) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }

    /// The finished request.
    func encoded(sequence: UInt32, acknowledge: Bool) -> [UInt8] {
        var copy = self
        copy.patch(UInt32(truncatingIfNeeded: bytes.count), at: 0)
        copy.patch(sequence, at: 8)
        if acknowledge {
            copy.bytes[6] |= UInt8(truncatingIfNeeded: NLM_F_ACK)
        }
        return copy.bytes
    }
}

/// One message as the kernel sent it.
struct NetlinkReply {
    let type: UInt16
    let flags: UInt16
    let sequence: UInt32
    /// Fixed structure and attributes.
    let payload: ArraySlice<UInt8>

    /// Splits what one receive returned. Nil when the lengths in it contradict each other.
    static func parse(_ bytes: [UInt8]) -> [NetlinkReply]? {
        var replies: [NetlinkReply] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let length = rest.number(at: 0, as: UInt32.self), let type = rest.number(at: 4, as: UInt16.self),
                let flags = rest.number(at: 6, as: UInt16.self), let sequence = rest.number(at: 8, as: UInt32.self),
                length >= 16, Int(length) <= rest.count
            else { return nil }
            let end = rest.startIndex + Int(length)
            replies.append(
                NetlinkReply(
                    type: type, flags: flags, sequence: sequence, payload: rest[(rest.startIndex + 16)..<end]
                )
            )
            rest = rest[min(rest.startIndex + (Int(length) + 3) / 4 * 4, rest.endIndex)...]
        }
        return replies
    }

    /// Attributes that follow `offset` bytes of fixed structure; a later one of the same type wins. Flag bits of the type
    /// are cleared. Damage ends the list.
    func attributes(after offset: Int) -> [UInt16: ArraySlice<UInt8>] {
        guard payload.count >= offset else { return [:] }
        var found: [UInt16: ArraySlice<UInt8>] = [:]
        var rest = payload.dropFirst(offset)
        while let length = rest.number(at: 0, as: UInt16.self), let type = rest.number(at: 2, as: UInt16.self),
            length >= 4, Int(length) <= rest.count
        {
            found[type & 0x3fff] = rest[(rest.startIndex + 4)..<(rest.startIndex + Int(length))]
            rest = rest.dropFirst((Int(length) + 3) / 4 * 4)
        }
        return found
    }
}

extension ArraySlice<UInt8> {
    /// Host byte order; nil past the end.
    func number<Number: FixedWidthInteger>(at offset: Int, as type: Number.Type) -> Number? {
        guard offset >= 0, count - offset >= MemoryLayout<Number>.size else { return nil }
        return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Number.self) }
    }

    /// Up to the first zero byte.
    var terminatedText: String {
        String(decoding: prefix { $0 != 0 }, as: UTF8.self)
    }
}
