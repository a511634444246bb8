/// One value of a YAML text.
struct YamlNode: Sendable, Equatable {
    enum Value: Sendable, Equatable {
        /// Plain: written without quotes, so that it may mean "nothing" or a number.
        case scalar(String, isPlain: Bool)
        case sequence([YamlNode])
        /// In the order of the text; no key stands twice.
        case mapping([Entry])
    }

    struct Entry: Sendable, Equatable {
        var key: String
        var value: YamlNode
    }

    /// Where something begins.
    struct Place: Sendable, Equatable {
        /// From 1.
        var line: Int
        /// In the bytes that were read.
        var offset: Int
    }

    var value: Value
    var place: Place
}

/// Why a text cannot be read.
struct YamlError: Error, Equatable {
    var place: YamlNode.Place
    var message: String
    /// What would have been right.
    var expected: String
}
