internal import CLinux

/// How the kernel deals out processors among the threads of this process.
public enum Scheduling {
    /// The calling thread works in the background from now on (SCHED_BATCH): it has its share of the processors as before, but
    /// does not push aside what runs where it is woken. A start in progress is not interrupted by what is written about it.
    public static func becomeBackground() {
        corral_schedule_as_batch()
    }
}
