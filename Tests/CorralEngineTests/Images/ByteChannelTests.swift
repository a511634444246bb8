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
        async let sum = Self.onThread { try Self.readAll(inlet.source) }
        for _ in 0..<500 { #expect(await inlet.write([UInt8](repeating: 1, count: 9_999))) }
        inlet.finish()
        #expect(try await sum == 500 * 9_999)
    }

    @Test func aWriterIsHeldBackAndLetGoOfWhenNobodyReads() async throws {
        let inlet = ByteInlet()
        async let refused = {
            var count = 0
            while await inlet.write([UInt8](repeating: 1, count: 100_000)) { count += 1 }
            return count
        }()
        try await Task.sleep(for: .milliseconds(50))
        inlet.close()
        #expect(await refused <= 11)
    }

    @Test func aClientThatLeavesIsAnErrorForTheReader() async throws {
        struct Gone: Error {}
        let inlet = ByteInlet()
        #expect(await inlet.write([1, 2, 3]))
        inlet.finish(throwing: Gone())
        await #expect(throws: Gone.self) { try await Self.onThread { try Self.readAll(inlet.source) } }
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
        let made = Task {
            try await Self.onThread {
                let piece = [UInt8](repeating: 1, count: 100_000)
                while true { try piece.withUnsafeBytes { try outlet.write($0) } }
            }
        }
        _ = try await outlet.next()
        outlet.close()
        await #expect(throws: ByteOutlet.Closed.self) { try await made.value }
    }
}
