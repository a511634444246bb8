import CorralArchive
import Dispatch
import Testing

@testable import CorralEngine

@Suite struct ByteChannelTests {
    private static func onThread<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await WorkQueue("test").run(work)
    }

    private static func readAll(_ source: any ByteSource) throws -> Int {
        var buffer = [UInt8](repeating: 0, count: 10_000)
        var sum = 0
        while true {
            let count = try buffer.withUnsafeMutableBytes { try source.read(into: $0) }
            if count == 0 { return sum }
            sum += count
        }
    }

    @Test func allThatIsWrittenIsRead() async throws {
        let inlet = ByteInlet()
        let reader = Task { try await Self.onThread { try Self.readAll(inlet.source) } }
        for _ in 0..<500 {
            let isTaken = await inlet.write([UInt8](repeating: 1, count: 9_999))
            #expect(isTaken)
        }
        inlet.finish()
        let sum = try await reader.value
        #expect(sum == 500 * 9_999)
    }

    @Test func aWriterIsHeldBackAndLetGoOfWhenNobodyReads() async throws {
        let inlet = ByteInlet()
        let writer = Task {
            var count = 0
            while await inlet.write([UInt8](repeating: 1, count: 100_000)) { count += 1 }
            return count
        }
        try await Task.sleep(for: .milliseconds(50))
        inlet.close()
        let count = await writer.value
        #expect(count <= 11)
    }

    @Test func aClientThatLeavesIsAnErrorForTheReader() async throws {
        struct Gone: Error {}
        let inlet = ByteInlet()
        _ = await inlet.write([1, 2, 3])
        inlet.finish(throwing: Gone())
        let result = await Task { try await Self.onThread { try Self.readAll(inlet.source) } }.result
        #expect(throws: Gone.self) { try result.get() }
    }

    @Test func allThatIsMadeComesOut() async throws {
        let outlet = ByteOutlet()
        async let made: Void = Self.onThread {
            let piece = [UInt8](repeating: 1, count: 9_999)
            for _ in 0..<500 { try piece.withUnsafeBytes { try outlet.write($0) } }
            outlet.finish()
        }
        var sum = 0
        while let piece = try await outlet.next() { sum += piece.count }
        try await made
        #expect(sum == 500 * 9_999)
    }

    @Test func whoMakesIsToldThatNobodyReads() async throws {
        let outlet = ByteOutlet()
        let maker = Task {
            try await Self.onThread {
                let piece = [UInt8](repeating: 1, count: 100_000)
                while true { try piece.withUnsafeBytes { try outlet.write($0) } }
            }
        }
        _ = try await outlet.next()
        outlet.close()
        let result = await maker.result
        #expect(throws: ByteOutlet.Closed.self) { try result.get() }
    }
}
