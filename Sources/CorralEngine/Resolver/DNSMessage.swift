internal import CorralEvents

/// The 16 bits after a message's id (RFC 1035, section 4.1.1; AD and CD: RFC 4035).
struct DNSFlags: Sendable, Equatable {
    var rawValue: UInt16

    init(rawValue: UInt16 = 0) {
        self.rawValue = rawValue
    }

    var isResponse: Bool {
        get { self[0x8000] }
        set { self[0x8000] = newValue }
    }
    /// 0...15; 0 is a standard query.
    var opcode: UInt8 {
        get { UInt8(truncatingIfNeeded: rawValue >> 11 & 0xf) }
        set { rawValue = rawValue & ~0x7800 | UInt16(newValue & 0xf) << 11 }
    }
    var isTruncated: Bool {
        get { self[0x0200] }
        set { self[0x0200] = newValue }
    }
    var recursionDesired: Bool {
        get { self[0x0100] }
        set { self[0x0100] = newValue }
    }
    var recursionAvailable: Bool {
        get { self[0x0080] }
        set { self[0x0080] = newValue }
    }
    var checkingDisabled: Bool {
        get { self[0x0010] }
        set { self[0x0010] = newValue }
    }
    /// The lower four bits of the response code.
    var responseCode: UInt8 {
        get { UInt8(truncatingIfNeeded: rawValue & 0xf) }
        set { rawValue = rawValue & ~0xf | UInt16(newValue & 0xf) }
    }

    private subscript(bit: UInt16) -> Bool {
        get { rawValue & bit != 0 }
        set { rawValue = newValue ? rawValue | bit : rawValue & ~bit }
    }
}

/// What is asked.
struct DNSQuestion: Sendable, Hashable {
    var name: DNSName
    var type: DNSRecordType
    var questionClass: UInt16 = DNSRecord.internet
}

/// What an OPT record says (RFC 6891, section 6.1). Its options are read for their shape alone and never written.
struct EDNS: Sendable, Equatable {
    /// Octets of a UDP message that its sender takes.
    var payloadSize: UInt16
    var version: UInt8 = 0
    /// Upper eight bits of the response code.
    var extendedCode: UInt8 = 0
}

/// One DNS message, whole.
struct DNSMessage: Sendable, Equatable {
    /// Octets; TCP's length field has no room for more.
    static let longest = 65_535

    var id: UInt16
    var flags: DNSFlags
    var questions: [DNSQuestion] = []
    var answers: [DNSRecord] = []
    var authorities: [DNSRecord] = []
    /// Without OPT.
    var additionals: [DNSRecord] = []
    var edns: EDNS?

    /// With EDNS's extension.
    var responseCode: DNSResponseCode {
        get { DNSResponseCode(rawValue: UInt16(edns?.extendedCode ?? 0) << 4 | UInt16(flags.responseCode)) }
        set {
            flags.responseCode = UInt8(truncatingIfNeeded: newValue.rawValue & 0xf)
            edns?.extendedCode = UInt8(truncatingIfNeeded: newValue.rawValue >> 4)
        }
    }
}

extension DNSMessage {
    /// From one datagram or one TCP frame. Strict: every name, length and count must hold, and nothing may follow.
    init(decoding bytes: [UInt8]) throws(DNSError) {
        guard bytes.count <= Self.longest else { throw .tooLong }
        var reader = DNSReader(bytes)
        id = try reader.uint16()
        flags = DNSFlags(rawValue: try reader.uint16())
        let counts = (
            questions: try reader.uint16(), answers: try reader.uint16(), authorities: try reader.uint16(),
            additionals: try reader.uint16()
        )
        for _ in 0..<counts.questions {
            questions.append(
                DNSQuestion(
                    name: try reader.name(), type: DNSRecordType(rawValue: try reader.uint16()),
                    questionClass: try reader.uint16()
                ))
        }
        for _ in 0..<counts.answers { answers.append(try DNSRecord(&reader)) }
        for _ in 0..<counts.authorities { authorities.append(try DNSRecord(&reader)) }
        for _ in 0..<counts.additionals {
            // An OPT record has fields of its own where others have class and TTL.
            let ahead = reader
            let name = try reader.name()
            guard DNSRecordType(rawValue: try reader.uint16()) == .opt else {
                reader = ahead
                additionals.append(try DNSRecord(&reader))
                continue
            }
            guard name.isRoot, edns == nil else { throw .edns }
            edns = try EDNS(&reader)
        }
        guard reader.isAtEnd else { throw .trailing }
    }

    /// At most `limit` octets, 512 or more: what does not fit loses all its records and is marked as truncated.
    func encoded(limit: Int = Self.longest) -> [UInt8] {
        let whole = encodedWhole()
        guard whole.count > limit else { return whole }
        var cut = self
        cut.flags.isTruncated = true
        cut.answers = []
        cut.authorities = []
        cut.additionals = []
        return cut.encodedWhole()
    }

    private func encodedWhole() -> [UInt8] {
        var writer = DNSWriter()
        writer.uint16(id)
        writer.uint16(flags.rawValue)
        writer.uint16(UInt16(clamping: questions.count))
        writer.uint16(UInt16(clamping: answers.count))
        writer.uint16(UInt16(clamping: authorities.count))
        writer.uint16(UInt16(clamping: additionals.count + (edns == nil ? 0 : 1)))
        for question in questions {
            writer.name(question.name, compressed: true)
            writer.uint16(question.type.rawValue)
            writer.uint16(question.questionClass)
        }
        for record in answers + authorities + additionals { record.write(to: &writer) }
        edns?.write(to: &writer)
        return writer.bytes
    }
}

extension EDNS {
    /// What follows the type field of an OPT record.
    fileprivate init(_ reader: inout DNSReader) throws(DNSError) {
        payloadSize = try reader.uint16()
        extendedCode = try reader.uint8()
        version = try reader.uint8()
        // DO and reserved bits: DNSSEC is not for sandboxes.
        _ = try reader.uint16()
        try reader.within(Int(try reader.uint16())) { reader throws(DNSError) in
            while !reader.isAtEnd {
                _ = try reader.uint16()
                _ = try reader.octets(Int(try reader.uint16()))
            }
        }
    }

    fileprivate func write(to writer: inout DNSWriter) {
        writer.name(.root, compressed: false)
        writer.uint16(DNSRecordType.opt.rawValue)
        writer.uint16(payloadSize)
        writer.uint8(extendedCode)
        writer.uint8(version)
        writer.uint16(0)
        writer.uint16(0)
    }
}
