@testable import CorralAPI

enum ClientTargets {
    /// The bytes of a connection to a server: the same responses however they are cut.
    static let response: Fuzz.Target = { bytes in
        let (whole, pieces) = Fuzz.pieces(bytes)
        let once = responses([whole])
        let cut = responses(pieces)
        Fuzz.require(once == cut, "cuts mean nothing: \(once) \(cut)")
    }

    private static func responses(_ pieces: [[UInt8]]) -> [String] {
        var parser = HTTPResponseParser()
        var told: [String] = []
        var body: [UInt8] = []
        func take(_ part: HTTPResponseParser.Part) {
            if case .body(let bytes) = part {
                Fuzz.require(!bytes.isEmpty, "a piece of a body holds something")
                body += bytes
                return
            }
            if !body.isEmpty { told.append("body \(body)") }
            body = []
            told.append("\(part)")
        }
        do throws(HTTPError) {
            for piece in pieces {
                parser.append(piece)
                while let part = try parser.next() { take(part) }
            }
            if let part = try parser.close() { take(part) }
            if !body.isEmpty { told.append("body \(body)") }
        } catch {
            if !body.isEmpty { told.append("body \(body)") }
            told.append("\(error)")
        }
        return told
    }

    /// The frames of an attach response: the same however they are cut.
    static let frames: Fuzz.Target = { bytes in
        let (whole, pieces) = Fuzz.pieces(bytes)
        Fuzz.require(elements([whole]) == elements(pieces), "cuts mean nothing")
    }

    private static func elements(_ pieces: [[UInt8]]) -> [String] {
        var reader = StreamFrameReader()
        var told: [String] = []
        var output: (isError: Bool, bytes: [UInt8])?
        func end() {
            if let output { told.append("\(output)") }
            output = nil
        }
        do throws(StreamFrameError) {
            for piece in pieces {
                reader.append(piece)
                while let element = try reader.next() {
                    switch element {
                    case .output(let isError, let bytes):
                        Fuzz.require(!bytes.isEmpty, "a piece of output holds something")
                        if output?.isError != isError { end() }
                        output = (isError, (output?.bytes ?? []) + bytes)
                    case .exit(let exit):
                        end()
                        told.append("\(exit)")
                    case .skipped(let bytes):
                        end()
                        told.append("skipped \(bytes)")
                    }
                }
            }
            end()
        } catch {
            end()
            told.append("\(error)")
        }
        return told
    }
}
