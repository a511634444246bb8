/// Which system calls of a sandbox are told: `trace.syscalls` of a policy.
public enum TraceSelection: Sendable, Hashable {
    case none
    /// How often each was called, and no events.
    case counts
    /// An event when a thread makes a call for the first time since it has executed its program, and of each that is refused.
    case first
    /// Events of these; names of calls, of whatever ABI.
    case calls(Set<String>)
    /// Of these each, of the others as `first`.
    case firstAnd(Set<String>)
    case all

    public init() { self = .none }

    /// What both together ask for.
    public func union(_ other: TraceSelection) -> TraceSelection {
        switch (self, other) {
        case (.all, _), (_, .all): .all
        case (.calls(let a), .calls(let b)): .calls(a.union(b))
        case (.firstAnd(let a), .calls(let b)), (.calls(let a), .firstAnd(let b)), (.firstAnd(let a), .firstAnd(let b)):
            .firstAnd(a.union(b))
        case (.first, .calls(let names)), (.calls(let names), .first): .firstAnd(names)
        case (.firstAnd, _): self
        case (_, .firstAnd): other
        case (.calls, _): self
        case (_, .calls): other
        case (.first, _), (_, .first): .first
        case (.counts, _), (_, .counts): .counts
        case (.none, .none): .none
        }
    }

    /// Whether a call of this name is told. Operations of io_uring are told with the call that submits them.
    public func includes(_ name: String, _ abi: SyscallABI) -> Bool {
        let name = abi == .ioUring ? Self.submission : name
        return switch self {
        case .none, .counts: false
        case .calls(let names): names.contains(name)
        case .first, .firstAnd, .all: true
        }
    }

    /// What submits operations to a ring of io_uring.
    public static let submission = "io_uring_enter"

    /// `openat`, `@network`. Throws what is wrong with a word that is neither.
    public static func names(of word: String) throws(UnknownSyscall) -> Set<String> {
        if word.hasPrefix("@") {
            if let group = SyscallGroups.all.first(where: { "@" + $0.name == word }) { return Set(group.calls) }
            throw UnknownSyscall(word: word, nearest: nearest(to: word, SyscallGroups.all.map { "@" + $0.name }))
        }
        guard SyscallTable.isName(word) else {
            throw UnknownSyscall(word: word, nearest: nearest(to: word, SyscallTable.allNames))
        }
        return [word]
    }

    /// From words as `corral trace -e` and the API take them; none of them: all.
    public init(words: [String]) throws(UnknownSyscall) {
        guard !words.isEmpty, !words.contains("all") else {
            self = .all
            return
        }
        if words == ["counts"] || words == ["first"] {
            self = words == ["first"] ? .first : .counts
            return
        }
        var names: Set<String> = []
        for word in words { names.formUnion(try Self.names(of: word)) }
        self = .calls(names)
    }

    /// The candidate with the fewest letters to change, if that is few enough to be what was meant.
    private static func nearest(to word: String, _ candidates: [String]) -> String? {
        let letters = Array(word.utf8.prefix(64))
        let best = candidates.map { ($0, distance(letters, Array($0.utf8))) }.min { $0.1 < $1.1 }
        guard let best, best.1 <= max(1, letters.count / 2) else { return nil }
        return best.0
    }

    /// Letters to insert, delete or replace (Levenshtein).
    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, left) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, right) in b.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(diagonal + (left == right ? 0 : 1), above + 1, row[j] + 1)
                diagonal = above
            }
        }
        return row[b.count]
    }
}

/// A word that names no call and no group of calls.
public struct UnknownSyscall: Error, Sendable, Equatable, CustomStringConvertible {
    public var word: String
    /// What may have been meant.
    public var nearest: String?

    public var description: String {
        "\"\(word.prefix(64))\" is no system call and no group of them"
            + (nearest.map { "; did you mean \($0)?" } ?? "")
    }
}

extension TraceSelection: CustomStringConvertible {
    /// As a policy writes it, groups written out.
    public var description: String {
        switch self {
        case .none: "none"
        case .counts: "counts"
        case .first: "first"
        case .all: "all"
        case .calls(let names): "[" + names.sorted().joined(separator: ", ") + "]"
        // Of several who ask; no policy says so.
        case .firstAnd(let names): "first, and [" + names.sorted().joined(separator: ", ") + "]"
        }
    }
}
