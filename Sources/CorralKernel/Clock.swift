internal import CLinux
internal import Glibc

/// The two clocks events live by, and the one durations are measured with.
public enum Clock {
    /// Nanoseconds since 1970, UTC.
    public static func realtime() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// CLOCK_BOOTTIME, nanoseconds: what the programs in the kernel read.
    public static func boottime() -> UInt64 { corral_boottime_ns() }

    /// CLOCK_MONOTONIC, nanoseconds: the same for every process of the host.
    public static func monotonic() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_nsec)
    }

    /// Nanoseconds since 1970 at which CLOCK_BOOTTIME was 0, as the clocks stand now.
    public static func realtimeAtBoot() -> Int64 {
        realtime() - Int64(clamping: corral_boottime_ns())
    }
}
