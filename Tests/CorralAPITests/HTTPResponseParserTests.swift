import Testing

@testable import CorralAPI

@Suite struct HTTPResponseParserTests {
    private struct Outcome: Equatable {
        var status: Int?
        var body: [UInt8] = []
        var isWhole = false
        var keepsAlive = false
    }

    /// Feeds `text` in pieces of `size` bytes, then the end of the connection.
    private func parse(_ text: String, by size: Int, closing: Bool = false) throws(HTTPError) -> Outcome {
        var parser = HTTPResponseParser()
        var outcome = Outcome()
        func take(_ part: HTTPResponseParser.Part, _ outcome: inout Outcome) {
            switch part {
            case .head(let head): (outcome.status, outcome.keepsAlive) = (head.status, head.keepsAlive)
            case .body(let bytes): outcome.body += bytes
            case .end: outcome.isWhole = true
            }
        }
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            parser.append(bytes[start..<min(start + size, bytes.count)])
            while !outcome.isWhole, let part = try parser.next() { take(part, &outcome) }
        }
        if closing, let part = try parser.close() { take(part, &outcome) }
        return outcome
    }

    @Test(arguments: [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true),
        (
            "HTTP/1.1 200 OK\r\ncontent-length:\t5 \r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello", 200,
            "hello", false
        ),
        ("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "", false),
        (
            "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n", 200, "hello!",
            true
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\nB: y\r\n\r\n",
            200, "0123456789", true
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
            201, "x", true
        ),
    ])
    func aResponseIsTheSameHoweverItIsCut(text: String, status: Int, body: String, keepsAlive: Bool) throws {
        for size in 1...text.utf8.count {
            #expect(
                try parse(text, by: size)
                    == Outcome(status: status, body: Array(body.utf8), isWhole: true, keepsAlive: keepsAlive)
            )
        }
    }

    @Test func aBodyWithoutLengthEndsWithTheConnection() throws {
        let text = "HTTP/1.1 200 OK\r\n\r\nabc"
        #expect(try parse(text, by: 1, closing: true) == Outcome(status: 200, body: Array("abc".utf8), isWhole: true))
        #expect(try parse(text, by: 1).isWhole == false)
    }

    @Test(arguments: [
        "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", "\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "HTTP/1.1 200 OK\r\nA b: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: x\r\n folded: y\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: x\ry\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ])
    func whatIsAmbiguousOrBrokenIsAnError(text: String) {
        for size in [1, 7, text.utf8.count] {
            #expect(throws: HTTPError.self) { try parse(text, by: size) }
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ])
    func anEndInTheMiddleIsAnError(text: String) {
        #expect(throws: HTTPError.self) { try parse(text, by: 3, closing: true) }
    }

    @Test func headsAreBounded() throws {
        let filler = String(repeating: "x", count: HTTPResponseParser.largestHead)
        #expect(throws: HTTPError.self) { try parse("HTTP/1.1 200 OK\r\nA: \(filler)", by: 4096) }
        #expect(throws: HTTPError.self) { try parse("HTTP/1.1 200 OK\r\nA: \(filler)\r\n\r\n", by: 1 << 20) }
        let fields = { (count: Int) in String(repeating: "A: b\r\n", count: count) }
        #expect(throws: HTTPError.self) {
            try parse("HTTP/1.1 200 OK\r\n\(fields(HTTPResponseParser.mostFields + 1))\r\n", by: 4096)
        }
        let most = "HTTP/1.1 204 OK\r\n\(fields(HTTPResponseParser.mostFields))\r\n"
        #expect(try parse(most, by: 4096).isWhole)
    }

    @Test func chunkLinesAndTrailersAreBounded() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(throws: HTTPError.self) { try parse(head + "1;" + String(repeating: "x", count: 2000), by: 100) }
        #expect(throws: HTTPError.self) {
            try parse(head + "0\r\n" + String(repeating: "A: b\r\n", count: 10_000), by: 4096)
        }
    }

    @Test func responsesFollowEachOther() throws {
        var parser = HTTPResponseParser()
        parser.append(Array("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 No\r\n\r\n".utf8))
        var statuses: [Int] = []
        while let part = try parser.next() {
            if case .head(let head) = part { statuses.append(head.status) }
        }
        #expect(statuses == [200, 204])
        #expect(!parser.hasBufferedBytes)
    }

    @Test func randomBytesNeverTrap() {
        let seeds = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ]
        var refused = 0
        var random = SystemRandomNumberGenerator()
        for _ in 0..<3000 {
            var bytes = Array(seeds[Int.random(in: 0..<2, using: &random)].utf8)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            do {
                _ = try parse(
                    String(decoding: bytes, as: UTF8.self), by: Int.random(in: 1...20, using: &random), closing: true)
            } catch {
                refused += 1
            }
        }
        #expect(refused > 100)
    }
}
