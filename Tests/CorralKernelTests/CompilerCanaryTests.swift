import Testing

/// Swift 6.3 with -O drops the stores to a local tuple that is then read through `withUnsafeBytes(of:)`. C's fixed-size
/// arrays are such tuples. The Makefile turns the faulty pass off; these tests notice when that is lost.
@Suite struct CompilerCanaryTests {
    @Test func storesToALocalTupleAreKept() {
        #expect(firstByteOfLocalTuple() == 7)
    }

    @Test func storesToATupleInAStructureAreKept() {
        #expect(firstByteOfTupleField() == 9)
    }
}

private struct Record {
    var length: UInt32 = 0
    var name: (UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0)
}

@inline(never)
private func firstByteOfLocalTuple() -> Int32 {
    var bytes: (UInt8, UInt8) = (7, 1)
    return withUnsafeBytes(of: &bytes) { Int32($0[0]) }
}

@inline(never)
private func firstByteOfTupleField() -> Int32 {
    var record = Record()
    record.name = (9, 8, 7, 6)
    return withUnsafeBytes(of: &record.name) { Int32($0[0]) }
}
