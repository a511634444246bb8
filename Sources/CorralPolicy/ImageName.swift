/// `[a-z0-9][a-z0-9._/-]*`, then perhaps a colon and a tag: what an image or a snapshot may be called.
public enum ImageName {
    public static let maximumBytes = 128
    public static let expected = "a name such as python, team/python or python:3.12: [a-z0-9][a-z0-9._/-]* and :TAG"

    public static func isValid(_ text: String) -> Bool {
        guard (1...maximumBytes).contains(text.utf8.count) else { return false }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2 else { return false }
        for part in parts[0].split(separator: "/", omittingEmptySubsequences: false) {
            guard let first = part.utf8.first, isAlphanumeric(first), part.utf8.allSatisfy(isNameByte) else {
                return false
            }
        }
        guard parts.count == 2 else { return true }
        return parts[1].utf8.first.map { isAlphanumeric($0) || isUpper($0) || $0 == UInt8(ascii: "_") } == true
            && parts[1].utf8.allSatisfy { isNameByte($0) || isUpper($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private static func isUpper(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }

    private static func isNameByte(_ byte: UInt8) -> Bool { isAlphanumeric(byte) || "._-".utf8.contains(byte) }
}
