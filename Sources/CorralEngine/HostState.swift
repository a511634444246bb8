public struct PoolState: Sendable, Equatable {
    /// Sandboxes made from one image.
    public struct Shape: Sendable, Equatable {
        public var image: String
        public var warm: Int
        /// Being made for the pool.
        public var filling: Int
        public var inUse: Int
        public var warmStarts: UInt64
        public var coldStarts: UInt64

        public init(image: String, warm: Int, filling: Int, inUse: Int, warmStarts: UInt64, coldStarts: UInt64) {
            self.image = image
            self.warm = warm
            self.filling = filling
            self.inUse = inUse
            self.warmStarts = warmStarts
            self.coldStarts = coldStarts
        }
    }

    /// Of each shape: how many it holds when it is full, and below how many it is refilled.
    public var target: Int
    public var low: Int
    /// By image.
    public var shapes: [Shape]
    public var inUse: Int
    /// On their way out.
    public var destroying: Int
    public var warmTimes: StartTimes?
    public var coldTimes: StartTimes?

    public init(
        target: Int, low: Int, shapes: [Shape], inUse: Int, destroying: Int = 0, warm: StartTimes? = nil,
        cold: StartTimes? = nil
    ) {
        self.target = target
        self.low = low
        self.shapes = shapes
        self.inUse = inUse
        self.destroying = destroying
        warmTimes = warm
        coldTimes = cold
    }

    /// With `host` alone.
    public init(target: Int, warm: Int, filling: Int, inUse: Int, coldStarts: UInt64, warmStarts: UInt64) {
        let host = Shape(
            image: "host", warm: warm, filling: filling, inUse: inUse, warmStarts: warmStarts, coldStarts: coldStarts)
        self.init(target: target, low: target, shapes: [host], inUse: inUse)
    }

    // Of all shapes together.
    public var warm: Int { shapes.reduce(0) { $0 + $1.warm } }
    public var filling: Int { shapes.reduce(0) { $0 + $1.filling } }
    public var warmStarts: UInt64 { shapes.reduce(0) { $0 + $1.warmStarts } }
    public var coldStarts: UInt64 { shapes.reduce(0) { $0 + $1.coldStarts } }
}

/// From the claim to the command's first instruction, in microseconds that so many starts did not exceed.
public struct StartTimes: Sendable, Equatable {
    public var p50: UInt64
    public var p90: UInt64
    public var p99: UInt64

    public init(p50: UInt64, p90: UInt64, p99: UInt64) {
        self.p50 = p50
        self.p90 = p90
        self.p99 = p99
    }

    /// Nil when there were none.
    init?(_ latencies: Latencies) {
        guard let p50 = latencies.quantile(0.5), let p90 = latencies.quantile(0.9), let p99 = latencies.quantile(0.99)
        else { return nil }
        self.init(p50: p50, p90: p90, p99: p99)
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
