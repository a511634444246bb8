internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// `/metrics`: what was counted as it happened, and what is asked of the engine and of the kernel each time.
struct MetricsPage: Sendable {
    let registry: MetricsRegistry
    let engine: any SandboxEngine
    let version: VersionInfo

    func response() async -> Response {
        Response(
            status: .ok,
            headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: await text()))
        )
    }

    func text() async -> String {
        take(await engine.statistics())
        if let process = ProcessStatistics() { take(process) }
        registry.set(
            gauge: "corral_build_info",
            [("version", version.version), ("kernel", version.kernel), ("name", version.instance)], to: 1)
        return registry.exposition(help: MetricsCatalog.help)
    }

    private func take(_ statistics: EngineStatistics) {
        registry.set(gauge: "corral_pool_warm", to: statistics.pool.warm)
        registry.set(gauge: "corral_pool_filling", to: statistics.pool.filling)
        registry.set(gauge: "corral_pool_target", to: statistics.pool.target)
        // One that is empty now was not always.
        for state in ["claimed", "running", "exited"] {
            registry.set(gauge: "corral_sandboxes", [("state", state)], to: statistics.sandboxes[state] ?? 0)
        }
        registry.set(gauge: "corral_enforced_cgroups", to: statistics.enforcedCgroups)
        registry.set(gauge: "corral_slots_used", to: statistics.slots.used)
        registry.set(gauge: "corral_slots_limit", to: statistics.slots.limit)
        registry.set(gauge: "corral_pinned_addresses", to: statistics.pins.used)
        registry.set(gauge: "corral_pinned_addresses_limit", to: statistics.pins.limit)
        for reason in Reason.allCases {
            registry.set(
                counter: "corral_verdicts_total", [("reason", reason.rawValue)], to: statistics.verdicts[reason] ?? 0)
        }
        registry.set(counter: "corral_verdicts_uncharged_total", to: statistics.unchargedVerdicts)
        for program in statistics.programs {
            let labels = [("program", program.name)]
            registry.set(counter: "corral_bpf_program_misses_total", labels, to: program.misses)
            // A host that does not measure them has no such series.
            guard program.runs > 0 else { continue }
            registry.set(counter: "corral_bpf_program_runs_total", labels, to: program.runs)
            registry.set(
                counter: "corral_bpf_program_run_seconds_total", labels, to: Double(program.nanoseconds) / 1e9)
        }
        for failure in statistics.helperFailures {
            registry.set(
                counter: "corral_bpf_helper_failures_total",
                [("helper", failure.helper), ("subject", failure.subject)], to: failure.count)
        }
        for map in statistics.maps {
            registry.set(gauge: "corral_bpf_map_entries", [("map", map.name)], to: map.fill.used)
            registry.set(gauge: "corral_bpf_map_entries_limit", [("map", map.name)], to: map.fill.limit)
        }
        registry.set(gauge: "corral_traced_sandboxes", to: statistics.tracedSandboxes)
        take(statistics.names)
        take(statistics.events, journal: statistics.journal)
        registry.set(gauge: "corral_heap_used_bytes", to: Double(statistics.heap.used))
        registry.set(gauge: "corral_heap_free_bytes", to: Double(statistics.heap.free))
    }

    private func take(_ names: ResolverStatistics) {
        registry.set(counter: "corral_dns_queries_total", to: names.received)
        let results = [
            ("dropped", names.dropped), ("malformed", names.malformed), ("refused", names.refused),
            ("limited", names.limited), ("cached", names.fromCache), ("forwarded", names.forwarded),
            ("failed", names.failed), ("unpinned", names.unpinned),
        ]
        for (result, count) in results {
            registry.set(counter: "corral_dns_results_total", [("result", result)], to: count)
        }
    }

    private func take(_ events: EventStatistics, journal: JournalStatistics) {
        for type in EventType.allCases {
            registry.set(
                counter: "corral_events_total", [("type", type.rawValue)], to: events.published[type] ?? 0)
        }
        registry.set(counter: "corral_events_delivered_total", to: events.delivered)
        let stages = [
            (Loss.Place.kernel, events.lostInKernel), (.reader, events.lostByReaders), (.journal, journal.lost),
            (.share, journal.beyondShare),
        ]
        for (stage, count) in stages {
            registry.set(counter: "corral_events_lost_total", [("stage", stage.rawValue)], to: count)
        }
        registry.set(counter: "corral_journal_records_total", to: journal.records)
        registry.set(counter: "corral_journal_bytes_total", to: journal.bytes)
        registry.set(counter: "corral_journal_gaps_total", to: journal.gaps)
        registry.set(gauge: "corral_journal_queued", to: journal.queued)
        registry.set(gauge: "corral_journal_failing", to: journal.isFailing ? 1 : 0)
        registry.set(gauge: "corral_journal_files", to: journal.files)
        registry.set(gauge: "corral_journal_disk_bytes", to: Double(journal.bytesOnDisk))
        registry.set(gauge: "corral_journal_head_record", to: Double(journal.headNumber))
    }

    private func take(_ process: ProcessStatistics) {
        registry.set(counter: "process_cpu_seconds_total", to: process.cpuSeconds)
        registry.set(gauge: "process_resident_memory_bytes", to: Double(process.residentBytes))
        registry.set(gauge: "process_virtual_memory_bytes", to: Double(process.virtualBytes))
        registry.set(gauge: "process_start_time_seconds", to: process.startTime)
        registry.set(gauge: "process_open_fds", to: process.openDescriptors)
        registry.set(gauge: "process_max_fds", to: Double(process.mostDescriptors))
        registry.set(gauge: "process_threads", to: process.threads)
    }
}
