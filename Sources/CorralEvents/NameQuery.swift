public import CorralPolicy

/// A question that the sandbox put to a name server, and what became of it.
public struct NameQuery: Sendable, Equatable {
    /// How the question came.
    public enum Transport: String, Sendable, CaseIterable, Codable {
        case udp
        case tcp
    }

    public var verdict: Verdict
    public var reason: Reason
    /// Lower case, no dot at the end, `.` for the root. What is no letter, digit, hyphen or underscore is written out as in
    /// a zone file (RFC 1035, section 5.1): `\.`, `\007`.
    public var name: String
    public var recordType: DNSRecordType
    public var transport: Transport
    /// What was answered.
    public var responseCode: DNSResponseCode
    /// Addresses in the answer, those of service hints too; each opened to the sandbox before the answer left.
    public var answers: [IPAddress]
    /// Addresses that name servers gave and the sandbox did not get, because they are reserved or private.
    public var removed: [IPAddress]
    /// The server that the program asked; nil where not known. Corral answers in its place.
    public var server: IPAddress?
    /// Nil where no policy was asked.
    public var policy: PolicyReference?
    /// Queries that this event stands for: more than 1 only for refusals that come too fast to be told one by one.
    public var count: UInt64
    /// One line for a person or a model. Nil when there is nothing to change.
    public var hint: String?

    public init(
        verdict: Verdict, reason: Reason, name: String, recordType: DNSRecordType, transport: Transport,
        responseCode: DNSResponseCode, answers: [IPAddress] = [], removed: [IPAddress] = [], server: IPAddress? = nil,
        policy: PolicyReference? = nil, count: UInt64 = 1, hint: String? = nil
    ) {
        self.verdict = verdict
        self.reason = reason
        self.name = name
        self.recordType = recordType
        self.transport = transport
        self.responseCode = responseCode
        self.answers = answers
        self.removed = removed
        self.server = server
        self.policy = policy
        self.count = count
        self.hint = hint
    }
}

/// A DNS record type (IANA, "Resource Record (RR) TYPEs").
public struct DNSRecordType: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    public static let a = DNSRecordType(rawValue: 1)
    public static let ns = DNSRecordType(rawValue: 2)
    public static let cname = DNSRecordType(rawValue: 5)
    public static let soa = DNSRecordType(rawValue: 6)
    public static let ptr = DNSRecordType(rawValue: 12)
    public static let mx = DNSRecordType(rawValue: 15)
    public static let txt = DNSRecordType(rawValue: 16)
    public static let aaaa = DNSRecordType(rawValue: 28)
    public static let srv = DNSRecordType(rawValue: 33)
    public static let naptr = DNSRecordType(rawValue: 35)
    public static let dname = DNSRecordType(rawValue: 39)
    public static let opt = DNSRecordType(rawValue: 41)
    public static let sshfp = DNSRecordType(rawValue: 44)
    public static let tlsa = DNSRecordType(rawValue: 52)
    public static let svcb = DNSRecordType(rawValue: 64)
    public static let https = DNSRecordType(rawValue: 65)
    public static let ixfr = DNSRecordType(rawValue: 251)
    public static let axfr = DNSRecordType(rawValue: 252)
    public static let any = DNSRecordType(rawValue: 255)
    public static let caa = DNSRecordType(rawValue: 257)

    private static let mnemonics: [(DNSRecordType, String)] = [
        (.a, "A"), (.ns, "NS"), (.cname, "CNAME"), (.soa, "SOA"), (.ptr, "PTR"), (.mx, "MX"), (.txt, "TXT"),
        (.aaaa, "AAAA"), (.srv, "SRV"), (.naptr, "NAPTR"), (.dname, "DNAME"), (.opt, "OPT"), (.sshfp, "SSHFP"),
        (.tlsa, "TLSA"), (.svcb, "SVCB"), (.https, "HTTPS"), (.ixfr, "IXFR"), (.axfr, "AXFR"), (.any, "ANY"),
        (.caa, "CAA"),
    ]
}

extension DNSRecordType: CustomStringConvertible, LosslessStringConvertible {
    /// A mnemonic such as `AAAA`, or `TYPE` and the number (RFC 3597).
    public init?(_ description: String) {
        if let known = Self.mnemonics.first(where: { $0.1 == description }) {
            self = known.0
        } else if description.hasPrefix("TYPE"), let number = UInt16(description.dropFirst(4)) {
            self.init(rawValue: number)
        } else {
            return nil
        }
    }

    public var description: String {
        Self.mnemonics.first { $0.0 == self }?.1 ?? "TYPE\(rawValue)"
    }
}

/// A DNS response code, with the extension of EDNS (RFC 6891): 12 bits.
public struct DNSResponseCode: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    public static let noError = DNSResponseCode(rawValue: 0)
    public static let formatError = DNSResponseCode(rawValue: 1)
    public static let serverFailure = DNSResponseCode(rawValue: 2)
    /// The name does not exist.
    public static let nameError = DNSResponseCode(rawValue: 3)
    public static let notImplemented = DNSResponseCode(rawValue: 4)
    public static let refused = DNSResponseCode(rawValue: 5)
    public static let badVersion = DNSResponseCode(rawValue: 16)

    private static let mnemonics: [(DNSResponseCode, String)] = [
        (.noError, "NOERROR"), (.formatError, "FORMERR"), (.serverFailure, "SERVFAIL"), (.nameError, "NXDOMAIN"),
        (.notImplemented, "NOTIMP"), (.refused, "REFUSED"), (.badVersion, "BADVERS"),
    ]
}

extension DNSResponseCode: CustomStringConvertible, LosslessStringConvertible {
    /// A mnemonic such as `NXDOMAIN`, or `RCODE` and the number.
    public init?(_ description: String) {
        if let known = Self.mnemonics.first(where: { $0.1 == description }) {
            self = known.0
        } else if description.hasPrefix("RCODE"), let number = UInt16(description.dropFirst(5)) {
            self.init(rawValue: number)
        } else {
            return nil
        }
    }

    public var description: String {
        Self.mnemonics.first { $0.0 == self }?.1 ?? "RCODE\(rawValue)"
    }
}
