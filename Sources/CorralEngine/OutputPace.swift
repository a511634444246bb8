/// When to let output gather. A command that writes fast and in small pieces would be read piece by piece, each with a
/// wake-up of every thread on the way; a pause far shorter than anybody notices makes large pieces of them.
struct OutputPace {
    /// Shorter than a pipe of 1 MiB takes to fill at 5 GB/s.
    private static let pause = Duration.microseconds(200)
    /// Nanoseconds between reads that follow on each other.
    private static let soon: UInt64 = 200_000
    private static let smallRead = 64 << 10
    /// What gathers in a pause at 40 MB/s: slower output gains nothing.
    private static let worthwhile = 8 << 10
    private static let patience = 8

    private var lastRead: UInt64 = 0
    private var smallReads = 0
    private var isFast = false

    /// How long to wait after a read of `count` bytes before the next one. `now`: CLOCK_MONOTONIC, nanoseconds.
    mutating func pause(after count: Int, at now: UInt64) -> Duration? {
        let isSoon = now &- lastRead < Self.soon
        lastRead = now
        if isFast {
            if count < Self.worthwhile {
                isFast = false
                smallReads = 0
            }
        } else {
            smallReads = count < Self.smallRead && isSoon ? smallReads + 1 : 0
            isFast = smallReads >= Self.patience
        }
        return isFast && count < Self.smallRead * 2 ? Self.pause : nil
    }
}
