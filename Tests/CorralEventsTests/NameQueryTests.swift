import CorralEvents
import Testing

@Suite struct NameQueryTests {
    @Test func recordTypesAreReadBackFromTheirText() {
        for number in 0...UInt16.max {
            let type = DNSRecordType(rawValue: number)
            #expect(DNSRecordType(type.description) == type)
        }
        #expect(DNSRecordType.https.description == "HTTPS")
        #expect(DNSRecordType(rawValue: 65280).description == "TYPE65280")
        for text in ["", "a", "TYPE", "TYPE65536", "TYPE-1", "65"] { #expect(DNSRecordType(text) == nil) }
    }

    @Test func responseCodesAreReadBackFromTheirText() {
        for number in 0...4095 as ClosedRange<UInt16> {
            let code = DNSResponseCode(rawValue: number)
            #expect(DNSResponseCode(code.description) == code)
        }
        #expect(DNSResponseCode.nameError.description == "NXDOMAIN")
        #expect(DNSResponseCode(rawValue: 9).description == "RCODE9")
        for text in ["", "noerror", "RCODE", "RCODE65536"] { #expect(DNSResponseCode(text) == nil) }
    }
}
