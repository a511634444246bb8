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
