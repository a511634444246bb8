/// Every metric of corrald; docs/METRICS.md holds the same list.
enum MetricsCatalog {
    enum Kind: String {
        case counter
        case gauge
        case histogram
    }

    struct Metric {
        var name: String
        var kind: Kind
        var labels: [String]
        var help: String

        init(_ name: String, _ kind: Kind, _ labels: [String] = [], _ help: String) {
            self.name = name
            self.kind = kind
            self.labels = labels
            self.help = help
        }
    }

    static let all: [Metric] = [
        Metric("corral_build_info", .gauge, ["version", "kernel", "name"], "1; the labels say what runs."),
        Metric("corral_pool_warm", .gauge, "Sandboxes that are ready to be claimed."),
        Metric("corral_pool_filling", .gauge, "Sandboxes that are being made for the pool."),
        Metric("corral_pool_target", .gauge, "Warm sandboxes that the pool is to hold."),
        Metric(
            "corral_sandbox_start_duration_seconds", .histogram, ["start"],
            "From the request to the command's first instruction; start is warm or cold."),
        Metric("corral_sandboxes", .gauge, ["state"], "Sandboxes that were claimed and not removed."),
        Metric("corral_enforced_cgroups", .gauge, "Cgroups that Corral did not make and that are under a policy."),
        Metric(
            "corral_slots_used", .gauge, "Places for sandboxes and enforced cgroups in the kernel's maps, in use."),
        Metric("corral_slots_limit", .gauge, "Such places."),
        Metric("corral_pinned_addresses", .gauge, "Addresses that names have opened."),
        Metric("corral_pinned_addresses_limit", .gauge, "Such addresses that the kernel's map has room for."),
        Metric("corral_verdicts_total", .counter, ["reason"], "Decisions of the kernel about calls and frames."),
        Metric("corral_verdicts_uncharged_total", .counter, "Decisions that no sandbox could be charged with."),
        Metric(
            "corral_bpf_program_runs_total", .counter, ["program"], "Runs of a program, where the host counts them."),
        Metric("corral_bpf_program_run_seconds_total", .counter, ["program"], "Time that these runs took."),
        Metric(
            "corral_bpf_program_misses_total", .counter, ["program"],
            "Runs that the kernel left out; what they would have done was not done."),
        Metric(
            "corral_bpf_helper_failures_total", .counter, ["helper", "subject"],
            "What the kernel did not do for a program that asked."),
        Metric(
            "corral_bpf_map_entries", .gauge, ["map"],
            "Entries of a map whose oldest ones go when it is full, or that can be full."),
        Metric("corral_bpf_map_entries_limit", .gauge, ["map"], "Entries that it has room for."),
        Metric("corral_traced_sandboxes", .gauge, "Sandboxes whose system calls are traced."),
        Metric("corral_dns_queries_total", .counter, "Messages from sandboxes to name servers."),
        Metric(
            "corral_dns_results_total", .counter, ["result"],
            "What became of them: dropped, malformed, refused, limited, cached, forwarded, failed, unpinned."),
        Metric("corral_events_total", .counter, ["type"], "Events that corrald heard of or made."),
        Metric("corral_events_delivered_total", .counter, "Events handed to readers, counted for each reader."),
        Metric(
            "corral_events_lost_total", .counter, ["stage"], "Events lost: kernel, reader, journal or journal_share."),
        Metric("corral_journal_records_total", .counter, "Records that were written to the audit journal."),
        Metric("corral_journal_bytes_total", .counter, "Bytes of these records."),
        Metric(
            "corral_journal_gaps_total", .counter, "Gaps that the audit journal states, those of retention left out."),
        Metric("corral_journal_queued", .gauge, "Events that wait to be written to the audit journal."),
        Metric("corral_journal_failing", .gauge, "1 while the audit journal cannot be written."),
        Metric("corral_journal_files", .gauge, "Files of the audit journal on disk."),
        Metric("corral_journal_disk_bytes", .gauge, "Bytes of these files."),
        Metric("corral_journal_head_record", .gauge, "Number of the last record that was written."),
        Metric(
            "corral_api_requests_total", .counter, ["method", "route", "status"],
            "Requests by the path as docs/openapi.yaml has it, or other."),
        Metric(
            "corral_api_request_duration_seconds", .histogram, ["route"],
            "From a request's head to its answer's; bodies that stream are not counted."),
        Metric("corral_heap_used_bytes", .gauge, "Memory that corrald has allocated."),
        Metric("corral_heap_free_bytes", .gauge, "Memory that its allocator holds beside that, resident or not."),
        Metric("process_cpu_seconds_total", .counter, "User and system CPU time."),
        Metric("process_resident_memory_bytes", .gauge, "Resident memory."),
        Metric("process_virtual_memory_bytes", .gauge, "Virtual memory."),
        Metric("process_start_time_seconds", .gauge, "Start of the process, seconds since 1970."),
        Metric("process_open_fds", .gauge, "Open file descriptors."),
        Metric("process_max_fds", .gauge, "Limit on open file descriptors."),
        Metric("process_threads", .gauge, "Threads."),
    ]

    static let help = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0.help) })
}

extension MetricsCatalog.Metric {
    fileprivate init(_ name: String, _ kind: MetricsCatalog.Kind, _ help: String) {
        self.init(name, kind, [], help)
    }
}
