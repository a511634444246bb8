/// Labels beyond ASCII. Takes what IDNA 2008 (RFC 5892) and UTS 46 read alike: letters, marks and digits that normalisation
/// leaves as they are. The rest is refused, not mapped: a name in a policy should not depend on whose table is used.
enum InternationalLabel {
    struct Failure: Error {
        /// Reads on from "the label ... which".
        var reason: String
    }

    /// `xn--...`, of text in lower case that is not all ASCII.
    static func aLabel(_ label: String) throws(Failure) -> String {
        let scalars = try composed(label)
        for scalar in scalars where !scalar.isASCII { try check(scalar) }
        if let first = scalars.first, isMark(first) { throw Failure(reason: "begins with a mark") }
        return "xn--" + Punycode.encode(scalars)
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: true
        default: false
        }
    }

    private static func check(_ scalar: Unicode.Scalar) throws(Failure) {
        let name = "U+" + String(scalar.value, radix: 16, uppercase: true)
        let properties = scalar.properties
        // UTS 46 once mapped these, and IDNA 2008 does not: two readers, two names.
        if scalar == "ß" || scalar == "ς" { throw Failure(reason: "holds \(scalar), which is read in two ways") }
        // Conjoining jamo (RFC 5892, section 2.9).
        let isOldHangul =
            0x1100...0x11ff ~= scalar.value || 0xa960...0xa97f ~= scalar.value || 0xd7b0...0xd7ff ~= scalar.value
        guard !properties.changesWhenNFKCCaseFolded, !properties.isDefaultIgnorableCodePoint, !isOldHangul else {
            throw Failure(reason: "holds \(name), which has another form in names")
        }
        switch properties.generalCategory {
        case .lowercaseLetter, .otherLetter, .modifierLetter, .nonspacingMark, .spacingMark, .decimalNumber: return
        default: throw Failure(reason: "holds \(name), which is no letter, mark or digit")
        }
    }

    /// Normalisation form C of what is nearly in it: each letter is joined with the mark behind it where one character stands
    /// for both.
    private static func composed(_ label: String) throws(Failure) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        for scalar in label.unicodeScalars {
            guard let last = result.last, !scalar.isASCII, isMark(scalar) else {
                result.append(scalar)
                continue
            }
            var pair = String.UnicodeScalarView()
            pair.append(last)
            pair.append(scalar)
            if let single = Self.composites[String(pair)] {
                result[result.count - 1] = single
            } else if isMark(last), scalar.properties.canonicalCombiningClass.rawValue > 0,
                scalar.properties.canonicalCombiningClass < last.properties.canonicalCombiningClass
            {
                // Whether it reaches past the mark before it is more than is known here.
                throw Failure(reason: "has marks out of order")
            } else {
                result.append(scalar)
            }
        }
        return result
    }

    /// Characters that stand for a letter and a mark, by any way of writing them: strings are equal when they are
    /// canonically equivalent. Hangul syllables need none, as jamo are refused.
    private static let composites: [String: Unicode.Scalar] = {
        var composites: [String: Unicode.Scalar] = [:]
        for range in [0xc0...0x33ff, 0x1_1000...0x1_1fff] as [ClosedRange<UInt32>] {
            for value in range {
                guard let scalar = Unicode.Scalar(value), !scalar.properties.isFullCompositionExclusion else {
                    continue
                }
                let text = String(scalar)
                // Of two equal ones the other is the one that normalisation replaces.
                if composites[text] == nil { composites[text] = scalar }
            }
        }
        return composites
    }()
}

/// RFC 3492.
enum Punycode {
    private static let base: UInt32 = 36
    private static let minimum: UInt32 = 1
    private static let maximum: UInt32 = 26
    private static let skew: UInt32 = 38
    private static let damp: UInt32 = 700
    private static let firstBias: UInt32 = 72
    private static let firstCode: UInt32 = 0x80

    private static func adapt(_ delta: UInt32, _ count: UInt32, isFirst: Bool) -> UInt32 {
        var delta = isFirst ? delta / damp : delta / 2
        delta += delta / count
        var k: UInt32 = 0
        while delta > (base - minimum) * maximum / 2 {
            delta /= base - minimum
            k += base
        }
        return k + (base - minimum + 1) * delta / (delta + skew)
    }

    private static func threshold(_ k: UInt32, _ bias: UInt32) -> UInt32 {
        k <= bias ? minimum : min(max(k - bias, minimum), maximum)
    }

    private static func digit(_ value: UInt32) -> Character {
        // a...z, then 0...9; value is below 36.
        Character(Unicode.Scalar(UInt8(truncatingIfNeeded: value < 26 ? value + 0x61 : value - 26 + 0x30)))
    }

    /// - Parameter scalars: of one label, at most a few hundred.
    static func encode(_ scalars: [Unicode.Scalar]) -> String {
        let basic = scalars.filter(\.isASCII)
        var output = String(String.UnicodeScalarView(basic))
        if !basic.isEmpty { output += "-" }
        var (code, delta, bias) = (firstCode, UInt32(0), firstBias)
        var handled = UInt32(truncatingIfNeeded: basic.count)
        while handled < scalars.count {
            guard let next = scalars.lazy.map(\.value).filter({ $0 >= code }).min() else { break }
            delta &+= (next - code) &* (handled + 1)
            code = next
            for scalar in scalars {
                if scalar.value < code { delta &+= 1 }
                guard scalar.value == code else { continue }
                var (rest, k) = (delta, base)
                while true {
                    let t = threshold(k, bias)
                    if rest < t { break }
                    output.append(digit(t + (rest - t) % (base - t)))
                    rest = (rest - t) / (base - t)
                    k += base
                }
                output.append(digit(rest))
                bias = adapt(delta, handled + 1, isFirst: handled == basic.count)
                delta = 0
                handled += 1
            }
            delta &+= 1
            code += 1
        }
        return output
    }

    /// What follows `xn--`, in lower case; nil when it is no Punycode, or encodes nothing beyond ASCII.
    static func decode(_ text: some Collection<UInt8>) -> [Unicode.Scalar]? {
        let bytes = Array(text)
        let split = bytes.lastIndex(of: UInt8(ascii: "-"))
        var output = bytes[..<(split ?? 0)].map { Unicode.Scalar($0) }
        guard output.allSatisfy(\.isASCII) else { return nil }
        var rest = bytes[(split.map { $0 + 1 } ?? 0)...]
        guard !rest.isEmpty else { return nil }
        var (code, index, bias) = (firstCode, UInt32(0), firstBias)
        while !rest.isEmpty {
            let before = index
            var (weight, k) = (UInt32(1), base)
            while true {
                guard let byte = rest.popFirst() else { return nil }
                let value: UInt32
                switch byte {
                case 0x61...0x7a: value = UInt32(byte - 0x61)
                case 0x30...0x39: value = UInt32(byte - 0x30) + 26
                default: return nil
                }
                let (product, tooLarge) = value.multipliedReportingOverflow(by: weight)
                let (sum, overflow) = index.addingReportingOverflow(product)
                guard !tooLarge, !overflow else { return nil }
                index = sum
                let t = threshold(k, bias)
                if value < t { break }
                let (heavier, isTooHeavy) = weight.multipliedReportingOverflow(by: base - t)
                guard !isTooHeavy else { return nil }
                weight = heavier
                k += base
            }
            let count = UInt32(truncatingIfNeeded: output.count + 1)
            bias = adapt(index - before, count, isFirst: before == 0)
            let (next, overflow) = code.addingReportingOverflow(index / count)
            guard !overflow, let scalar = Unicode.Scalar(next), !scalar.isASCII else { return nil }
            code = next
            index %= count
            output.insert(scalar, at: Int(index))
            index += 1
        }
        return output
    }
}
