@testable import CorralEngine
@testable import CorralEvents
internal import Glibc

enum JournalTargets {
    private static func event(_ number: UInt64) -> Event {
        Event(
            time: Int64(number) * 1_000_000_000, seq: number, sandbox: SandboxReference(id: "sb-1", name: "a1"),
            body: .sandbox(.started(command: ["echo", "\"},\n{\"record\":7,\"prev\":\"\(number)"])))
    }

    private static func lines(_ count: UInt64) -> [[UInt8]] {
        var chain = JournalChain()
        return (0..<count).map { _ in
            var bytes: [UInt8] = []
            chain.append(event(chain.number + 1), to: &bytes)
            return Array(bytes.dropLast())
        }
    }

    private static let sound = lines(12)
    private static let head = JournalRecord(line: (sound.last ?? [])[...])?.hash

    /// First byte 0: the lines of a journal as they are. Else a list of changes to a sound one, which must all be seen by one
    /// who knows its head.
    static let journal: Fuzz.Target = { bytes in
        guard let mode = bytes.first else { return }
        guard mode != 0 else {
            _ = verify(bytes.dropFirst().split(separator: 0x0a, omittingEmptySubsequences: false).map(Array.init))
            return
        }
        var changed = sound
        var rest = bytes.dropFirst()
        while let operation = rest.popFirst(), let a = rest.popFirst(), let b = rest.popFirst(), !changed.isEmpty {
            let place = Int(a) % changed.count
            let other = Int(b) % changed.count
            switch operation % 7 {
            case 0: changed.remove(at: place)
            case 1: changed.swapAt(place, other)
            case 2: changed.insert(changed[other], at: place)
            case 3:
                // One byte of a line.
                guard let value = rest.popFirst(), !changed[place].isEmpty else { break }
                changed[place][Int(b) % changed[place].count] = value
            case 4: changed[place] = rehashed(changed[place])
            case 5: changed.insert(Array(rest.prefix(Int(b))), at: place)
            default:
                // Another record in its place, sound in itself and citing what its line cited.
                guard let record = JournalRecord(line: changed[place][...]) else { break }
                var chain = JournalChain(number: record.number &- 1, hash: record.previous)
                var line: [UInt8] = []
                chain.append(event(UInt64(b)), to: &line)
                changed[place] = Array(line.dropLast())
            }
        }
        let report = verify(changed)
        let unchanged = changed.starts(with: sound)
        Fuzz.require(
            unchanged || !report.problems.isEmpty,
            "a change is seen: \(changed.map { String(decoding: $0, as: UTF8.self) })")
        Fuzz.require(changed != sound || report.problems.isEmpty, "a sound journal has no problem")
    }

    private static func verify(_ lines: [[UInt8]]) -> JournalVerifier.Report {
        var verifier = JournalVerifier(head: head)
        verifier.begin(file: "a")
        for (index, line) in lines.enumerated() {
            if index == 5 { verifier.begin(file: "b") }
            verifier.add(line[...])
            if let record = JournalRecord(line: line[...]) { _ = try? Event(json: record.eventLine) }
        }
        let report = verifier.finish()
        for problem in report.problems { _ = "\(problem.place): \(problem.finding)" }
        return report
    }

    /// The line with the hash that its bytes have.
    private static func rehashed(_ line: [UInt8]) -> [UInt8] {
        guard let record = JournalRecord(line: line[...]) else { return line }
        var result = Array(line.dropLast(SHA256.digits + 2))
        record.actualHash.append(to: &result)
        return result + Array("\"}".utf8)
    }

    private static let directory = JournalDirectory(path: StateTargets.scratch + "/journal")
    private static let separator: UInt8 = 0x1e

    /// The files of a journal as a daemon finds them: up to three, the newest last, divided by 0x1e. What recovery leaves is
    /// whole, and nothing is lost.
    static let recovery: Fuzz.Target = { bytes in
        do {
            try Files.removeTree(directory.path)
            try directory.make()
            var found = 0
            for (index, content) in bytes.split(separator: separator, maxSplits: 2, omittingEmptySubsequences: false)
                .enumerated()
            {
                found += content.count
                let name = JournalDirectory.name(first: UInt64(index * 5 + 1))
                try Files.write(directory.path(of: name), Array(content), mode: 0o600)
            }
            let first = try JournalRecovery(directory)
            let kept = try Files.names(in: directory.path).reduce(0) {
                $0 + (try Files.content(directory.path(of: $1)).count)
            }
            Fuzz.require(kept == found, "nothing is thrown away")
            if let current = first.current {
                let last = try Files.content(directory.path(of: current.name))
                Fuzz.require(last.last == 0x0a && last.count == Int(current.bytes), "the last line is whole")
            }
            let second = try JournalRecovery(directory)
            Fuzz.require(
                second.chain == first.chain && second.current?.name == first.current?.name
                    && second.current?.bytes == first.current?.bytes && second.closed == first.closed,
                "recovery is done once")
            Fuzz.require(second.gaps.allSatisfy { $0.cause == .uncleanStop }, "what is set aside is told once")
        } catch {
            fatalError("broken: recovery of what can be read: \(error)")
        }
    }
}
