internal import CorralEvents
internal import CorralPolicy

/// What name servers said to one question, reduced to what belongs to it. Names are in lower case.
struct ResolvedAnswer: Sendable, Equatable {
    /// `noError` or `nameError`.
    var code: DNSResponseCode
    /// CNAME records in the order in which they lead on, then records of the type asked.
    var records: [DNSRecord]
    /// For answers that something does not exist.
    var authority: DNSRecord?
    /// Seconds, before floor and ceiling: the shortest of all records.
    var ttl: UInt32
    /// Holds no record of the type asked.
    var isNegative: Bool
}

/// Decides which records of an upstream's answer may leave.
enum AnswerScreen {
    enum Failure: Error, Sendable, Equatable {
        /// The CNAME records lead in a circle, apart, or too far.
        case chain
        /// A response code other than NOERROR and NXDOMAIN.
        case code(DNSResponseCode)
    }

    /// Follows the question through `message`, whose question is `question`. Records that do not belong to the chain are left
    /// behind, and whole sections with them.
    static func follow(
        _ question: DNSQuestion, in message: DNSMessage, longestChain: Int, mostRecords: Int
    ) throws(Failure) -> ResolvedAnswer {
        guard message.responseCode == .noError || message.responseCode == .nameError else {
            throw .code(message.responseCode)
        }
        let answers = message.answers.filter { $0.recordClass == DNSRecord.internet }
        var name = question.name
        var visited: Set<DNSName> = [name]
        var records: [DNSRecord] = []
        while true {
            let here = answers.filter { $0.name == name }
            let wanted = here.filter { $0.type == question.type }
            if !wanted.isEmpty {
                records += wanted.prefix(max(0, mostRecords - records.count))
                break
            }
            let aliases = here.filter { $0.type == .cname }
            guard let alias = aliases.first, case .name(let target) = alias.data else { break }
            // Equal twins do no harm.
            guard aliases.allSatisfy({ $0.data == alias.data }), visited.insert(target).inserted,
                visited.count <= longestChain + 1
            else { throw .chain }
            records.append(alias)
            name = target
        }
        let isNegative = records.last.map { $0.type != question.type } ?? true
        let authority =
            isNegative
            ? message.authorities.first {
                $0.type == .soa && $0.recordClass == DNSRecord.internet && name.isWithin($0.name)
            } : nil
        var ttl = records.map(\.ttl).min() ?? .max
        if isNegative {
            // RFC 2308, section 5. Without an SOA record nothing says how long: not for long.
            var bound: UInt32 = 0
            if let authority, case .authority(let data) = authority.data { bound = min(authority.ttl, data.minimum) }
            ttl = min(ttl, bound)
        }
        return ResolvedAnswer(
            code: message.responseCode, records: records.map { $0.folded }, authority: authority?.folded, ttl: ttl,
            isNegative: isNegative)
    }

    /// What one sandbox may see of an answer.
    struct Screened: Sendable, Equatable {
        /// Empty when every record of the type asked had to go.
        var records: [DNSRecord]
        /// Those in `records`, each once.
        var addresses: [IPAddress]
        /// Those that had to go because the sandbox may not have them, each once.
        var removed: [IPAddress]
    }

    static func screen(
        _ records: [DNSRecord], for type: DNSRecordType, mostAddresses: Int, mayAnswer: (IPAddress) -> Bool
    ) -> Screened {
        var addresses: [IPAddress] = []
        var known: [IPAddress: Bool] = [:]
        var removed: [IPAddress] = []
        // An address stays when it is permitted and among the first `mostAddresses`.
        func stays(_ address: IPAddress) -> Bool {
            if let verdict = known[address] { return verdict }
            let isPermitted = mayAnswer(address)
            let verdict = isPermitted && addresses.count < mostAddresses
            known[address] = verdict
            if verdict { addresses.append(address) }
            if !isPermitted { removed.append(address) }
            return verdict
        }
        var kept: [DNSRecord] = []
        for var record in records {
            switch record.data {
            case .ipv4(let address), .ipv6(let address):
                guard stays(address) else { continue }
            case .service(let binding):
                guard let screened = binding.screened(stays) else { continue }
                record.data = .service(screened)
            case .name, .prefixedName, .authority, .opaque:
                break
            }
            kept.append(record)
        }
        // Without what was asked for, a chain of aliases is of no use to anybody.
        if records.contains(where: { $0.type == type }), !kept.contains(where: { $0.type == type }) { kept = [] }
        // A record that went as a whole has taken its hints with it.
        let given = Set(kept.flatMap(\.addresses))
        return Screened(records: kept, addresses: addresses.filter(given.contains), removed: removed)
    }
}

extension DNSRecord {
    /// With its names in lower case: upstream is asked in a random case, which its answer repeats.
    fileprivate var folded: DNSRecord {
        var record = self
        record.name = name.folded
        switch data {
        case .name(let name): record.data = .name(name.folded)
        case .prefixedName(let prefix, let name, let compressed):
            record.data = .prefixedName(prefix, name.folded, compressed: compressed)
        case .authority(var authority):
            authority.server = authority.server.folded
            authority.mailbox = authority.mailbox.folded
            record.data = .authority(authority)
        case .service(var binding):
            binding.target = binding.target.folded
            record.data = .service(binding)
        case .ipv4, .ipv6, .opaque: break
        }
        return record
    }
}
