import CorralEvents
import Testing

@Suite struct RFC3339Tests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_709_164_800_000_000_000, "2024-02-29T00:00:00.000000000Z"),
            (4_107_542_399_000_000_000, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (1_795_497_121_123_456_789, "2026-11-24T05:12:01.123456789Z"),
            (.max, "2262-04-11T23:47:16.854775807Z"),
            (.min, "1677-09-21T00:12:43.145224192Z"),
        ] as [(Int64, String)])
    func timesAreWrittenAndReadBack(nanoseconds: Int64, text: String) {
        #expect(RFC3339.text(nanoseconds) == text)
        #expect(RFC3339.nanoseconds(text) == nanoseconds)
    }

    @Test func everyDayOfFourCenturiesFollowsTheOneBefore() {
        var previous = ""
        var wrong: [String] = []
        for day in Int64(-106_000)...106_000 {
            let text = RFC3339.text(day * 86_400_000_000_000)
            if text <= previous || RFC3339.nanoseconds(text) != day * 86_400_000_000_000 { wrong.append(text) }
            previous = text
        }
        #expect(wrong == [])
        #expect(previous == "2260-03-21T00:00:00.000000000Z")
    }

    @Test func shortFractionsAreRead() {
        #expect(RFC3339.nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000)
        #expect(RFC3339.nanoseconds("1970-01-01T00:00:00.5Z") == 500_000_000)
    }

    @Test(arguments: [
        "", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z", "1970-01-01T00:00:00+00:00",
        "1970-00-01T00:00:00Z",
        "1970-02-29T00:00:00Z", "1970-04-31T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567890Z", "1970-01-01T00:00:00x5Z",
        "2262-04-11T23:47:16.854775808Z",
        "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "+970-01-01T00:00:00Z",
    ])
    func otherTextIsNoTime(text: String) {
        #expect(RFC3339.nanoseconds(text) == nil)
    }
}
