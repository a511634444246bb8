internal import CorralKernel
internal import CorralPolicy
internal import Glibc

extension HostChecks {
    func state() -> [HostCheck] {
        var status = statvfs()
        let hasStatus = statvfs(configuration.stateDirectory, &status) == 0
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        let instance = configuration.instance
        let pins = (try? Files.names(in: PinDirectory.root)) ?? []
        let cgroups = try? host.provisioner.hierarchy.instances()
        return [
            Self.disk(
                configuration.stateDirectory, free: hasStatus ? free : nil,
                freeInodes: hasStatus ? UInt64(status.f_favail) : nil, inodes: UInt64(status.f_files)),
            Self.journal(statistics.journal),
            Self.fill(
                "places for sandboxes", statistics.slots, remedy: "remove sandboxes, or give corrald a larger --subnet"),
            Self.fill(
                "room for addresses of names", statistics.pins,
                remedy: "lower dns-ttl-ceiling, or run fewer sandboxes under policies with names"),
            Self.events(statistics.events),
            Self.files(HostFile.lines("/proc/self/limits"), open: (try? Files.names(in: "/proc/self/fd").count)),
            Self.otherInstances(instance, pins: pins, cgroups: cgroups),
            earlierDaemons(),
        ]
    }

    static func disk(_ directory: String, free: UInt64?, freeInodes: UInt64?, inodes: UInt64) -> HostCheck {
        let least: UInt64 = 256 << 20
        // Some file systems count no inodes.
        let hasInodes = inodes == 0 || (freeInodes ?? 0) > 1000
        return HostCheck(
            feature: "room in the state directory",
            answer: free.map { $0 >= least && hasInodes ? .yes : .no } ?? .couldNotTell,
            detail: free.map { "\($0 >> 20) MiB free in \(directory)" + (hasInodes ? "" : ", and hardly an inode") }
                ?? "\(directory) could not be looked at",
            without: "the audit journal stops, and policies on cgroups cannot be kept",
            remedy: "free 256 MiB, or lower audit-keep-size", isNeeded: true)
    }

    static func journal(_ journal: JournalStatistics) -> HostCheck {
        HostCheck(
            feature: "audit journal", answer: journal.isFailing ? .no : .yes,
            detail: journal.isFailing
                ? "cannot be written; \(journal.queued) events wait"
                : "record \(journal.headNumber)" + (journal.lost > 0 ? "; \(journal.lost) events were lost" : ""),
            without: "who did what is lost once the queue is full",
            remedy: "see corrald's log for the reason; it is tried again each second", isNeeded: true)
    }

    static func fill(_ what: String, _ fill: MapFill, remedy: String) -> HostCheck {
        HostCheck(
            feature: what, answer: fill.limit > 0 && fill.used >= fill.limit - fill.limit / 10 ? .no : .yes,
            detail: "\(fill.used) of \(fill.limit) in use", without: "what finds no place is refused", remedy: remedy)
    }

    static func events(_ events: EventStatistics) -> HostCheck {
        HostCheck(
            feature: "events without loss", answer: events.lostInKernel + events.lostByReaders == 0 ? .yes : .no,
            detail:
                "since corrald began, \(events.lostInKernel) lost in the kernel's ring, \(events.lostByReaders) by slow readers",
            without: "nothing that is enforced: verdicts do not depend on events",
            remedy: "trace fewer system calls, or read events faster")
    }

    static func files(_ limits: [Substring]?, open: Int?) -> HostCheck {
        // Max open files            1048576              1048576              files
        let line = limits?.first { $0.hasPrefix("Max open files") }
        let soft = line?.dropFirst("Max open files".count).split(separator: " ").first.flatMap { Int($0) }
        return HostCheck(
            feature: "room for open files",
            answer: soft.map { soft in soft >= 4096 && (open ?? 0) < soft - soft / 10 ? .yes : .no } ?? .couldNotTell,
            detail: "\(open.map(String.init) ?? "unknown") of \(soft.map(String.init) ?? "unknown")",
            without:
                "sandboxes and clients are refused when it is used up: a sandbox takes about 3, an attached client 4",
            remedy: "raise LimitNOFILE= of the unit")
    }

    /// Instances under other names that have pins or cgroups on this host.
    static func otherInstances(_ instance: String, pins: [String], cgroups: [String]?) -> HostCheck {
        let pinned = pins.map { $0.hasSuffix("+enforced") ? String($0.dropLast("+enforced".count)) : $0 }
        let others = Set(pinned + (cgroups ?? [])).subtracting([instance]).sorted()
        return HostCheck(
            feature: "alone on this host", answer: cgroups == nil ? .couldNotTell : others.isEmpty ? .yes : .no,
            detail: others.isEmpty
                ? "no other instance has pins or cgroups" : "also here: \(others.joined(separator: ", "))",
            without: others.isEmpty ? nil : "nothing, where their subnets differ",
            remedy: others.isEmpty
                ? nil : "what no corrald runs for any more is removed by starting it once more with that --instance")
    }

    /// What daemons of this instance before this one left. A start removes all but hooks on enforced cgroups, which go when
    /// this daemon's own are on.
    private func earlierDaemons() -> HostCheck {
        let parent = PinDirectory.enforced(configuration.instance)
        let current = host.enforcedPins.split(separator: "/").last.map(String.init)
        let old = ((try? Files.names(in: parent)) ?? []).filter { $0 != current }
        return HostCheck(
            feature: "nothing left of earlier daemons", answer: old.isEmpty ? .yes : .no,
            detail: old.isEmpty
                ? "no pins" : "hooks on enforced cgroups below \(parent): \(old.joined(separator: ", "))",
            without: "cgroups stay under policies that nobody can change any more",
            remedy:
                "see corrald's log for the cgroups that it could not take over; corral enforce puts a policy on them anew"
        )
    }
}
