internal import Glibc

/// Signals as bytes that can be read (the self-pipe trick): each arrival becomes one byte, the signal's number.
///
/// The handlers interrupt blocking calls (no SA_RESTART), so that a program stuck in a write still forwards a signal.
/// One at most lives in a process.
struct SignalPipe {
    let reading: Int32

    init(_ signals: [Int32]) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(file: "pipe", errno: errno) }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            // A full pipe must not block the handler, nor an empty one its reader.
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        reading = ends[0]
        signalPipeWriting = ends[1]
        for number in signals {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = forwardSignal
            // What our parent ignores (nohup) stays ignored.
            var previous = sigaction()
            guard sigaction(number, nil, &previous) == 0 else { throw Failure(file: "sigaction", errno: errno) }
            if unsafeBitCast(previous.__sigaction_handler.sa_handler, to: Int.self)
                == unsafeBitCast(SIG_IGN, to: Int.self)
            {
                continue
            }
            guard sigaction(number, &action, nil) == 0 else { throw Failure(file: "sigaction", errno: errno) }
        }
    }
}

// Safety: written once, before the handlers that read it are installed.
nonisolated(unsafe) private var signalPipeWriting: Int32 = -1

/// Async-signal-safe: write(2) alone, errno restored.
private func forwardSignal(_ number: Int32) {
    let saved = errno
    var byte = UInt8(truncatingIfNeeded: number)
    _ = write(signalPipeWriting, &byte, 1)
    errno = saved
}
