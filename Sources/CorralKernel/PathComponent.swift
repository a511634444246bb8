extension String {
    /// Whether it is one component of a path of at most `most` bytes: letters, digits, `-`, `_` and `.`, the first no `.`.
    func isPathComponent(most: Int) -> Bool {
        (1...most).contains(utf8.count) && utf8.first != UInt8(ascii: ".")
            && utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}
