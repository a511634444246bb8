internal import CorralPolicy

/// Numbers of the resolver. The defaults are those of docs/EVENTS.md and the operator's manual.
struct ResolverConfiguration: Sendable, Equatable {
    /// Seconds that an answer lives in a sandbox at least, whatever its TTL: names that change at every query (TTL 0) would
    /// otherwise open a new address at every query, and a program that resolves once and connects later would come too late.
    var ttlFloor: UInt32 = 30
    /// Seconds at most: how long a sandbox may go on with addresses that the name has left.
    var ttlCeiling: UInt32 = 3600
    /// Seconds at most for the answer that a name or its records do not exist.
    var negativeCeiling: UInt32 = 300
    /// Seconds that an address stays open past the TTL given to the sandbox: for the time between a program's last use of its
    /// cached answer and the arrival of its packet.
    var grace: UInt32 = 60

    /// Addresses of one answer; the rest is left out, so that one answer cannot fill the table of pins.
    var mostAddresses = 64
    /// Records of one answer.
    var mostRecords = 128
    /// CNAME records on the way from the name asked.
    var longestChain = 12

    /// Queries being forwarded at a time, for one sandbox and for all together; SERVFAIL beyond.
    var mostOutstanding = 64
    var mostOutstandingTotal = 512

    /// Octets of a UDP answer at most, whatever the sandbox says it takes: what passes every link without fragments, which
    /// sandboxes do not get (DNS flag day 2020).
    var payloadSize: UInt16 = 1232

    var budget = QueryBudget.Limits()
    var cache = AnswerCache.Limits()
}
