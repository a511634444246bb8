public struct PoolState: Sendable, Equatable {
    public var target: Int
    public var warm: Int
    public var filling: Int
    public var inUse: Int
    public var coldStarts: UInt64
    public var warmStarts: UInt64

    public init(target: Int, warm: Int, filling: Int, inUse: Int, coldStarts: UInt64, warmStarts: UInt64) {
        self.target = target
        self.warm = warm
        self.filling = filling
        self.inUse = inUse
        self.coldStarts = coldStarts
        self.warmStarts = warmStarts
    }
}

/// One line of `corral doctor`.
public struct HostCheck: Sendable, Equatable {
    public enum Answer: Sendable {
        case yes
        case no
        case couldNotTell
    }

    public var feature: String
    public var answer: Answer
    public var detail: String
    public var without: String?

    public init(feature: String, answer: Answer, detail: String, without: String?) {
        self.feature = feature
        self.answer = answer
        self.detail = detail
        self.without = without
    }
}
