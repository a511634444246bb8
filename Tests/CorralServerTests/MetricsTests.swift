import CorralEngine
import CorralEvents
import CorralPolicy
import FoundationEssentials
import Metrics
import Testing
import Yams

@testable import CorralServer

@Suite struct MetricsTests {
    private static func text(_ registry: MetricsRegistry) throws -> PrometheusText {
        try PrometheusText(registry.exposition(help: ["a_total": "What\\ is\ncounted"]))
    }

    private static func file(_ path: String, _ here: String = #filePath) throws -> String {
        try String(
            contentsOfFile: here.replacing("Tests/CorralServerTests/MetricsTests.swift", with: path), encoding: .utf8)
    }

    @Test func whatIsCountedIsShown() throws {
        let registry = MetricsRegistry()
        let counter = Counter(label: "a_total", dimensions: [("z", "1"), ("b", "x\"y\\\n")], factory: registry)
        counter.increment(by: 3)
        Counter(label: "a_total", dimensions: [("b", "x\"y\\\n"), ("z", "1")], factory: registry).increment()
        Counter(label: "a_total", factory: registry).increment()
        Gauge(label: "b", factory: registry).record(2.5)
        Meter(label: "c", factory: registry).set(-7)
        FloatingPointCounter(label: "d_total", factory: registry).increment(by: 0.25)
        let text = try Self.text(registry)
        #expect(text.value("a_total", ["b": "x\"y\\\n", "z": "1"]) == 4)
        #expect(text.value("a_total") == 1)
        #expect(text.families["a_total"]?.help == "What\\\\ is\\ncounted")
        #expect(text.value("b") == 2.5)
        #expect(text.families["b"]?.type == "gauge")
        #expect(text.value("c") == -7)
        #expect(text.value("d_total") == 0.25)
    }

    @Test func timersAreHistogramsInSeconds() throws {
        let registry = MetricsRegistry()
        let timer = Timer(label: "t_seconds", dimensions: [("kind", "warm")], factory: registry)
        for milliseconds in [0.2, 0.5, 0.6, 4, 20_000] { timer.recordMilliseconds(milliseconds) }
        let text = try Self.text(registry)
        #expect(text.value("t_seconds_count", ["kind": "warm"]) == 5)
        #expect(text.value("t_seconds_bucket", ["kind": "warm", "le": "0.00025"]) == 1)
        #expect(text.value("t_seconds_bucket", ["kind": "warm", "le": "0.0005"]) == 2)
        #expect(text.value("t_seconds_bucket", ["kind": "warm", "le": "10"]) == 4)
        let sum = try #require(text.value("t_seconds_sum", ["kind": "warm"]))
        #expect(abs(sum - 20.0053) < 1e-9)
        let recorder = Recorder(label: "r", factory: registry)
        recorder.record(5)
        #expect(try Self.text(registry).value("r_bucket", ["le": "10"]) == 1)
    }

    @Test func oneNameHasOneTypeAndCountersOnlyGrow() throws {
        let registry = MetricsRegistry()
        Counter(label: "x", factory: registry).increment()
        Gauge(label: "x", factory: registry).record(9)
        Counter(label: "bad name-1", dimensions: [("9 l", "v")], factory: registry).increment()
        registry.makeCounter(label: "x", dimensions: []).increment(by: -5)
        let text = try Self.text(registry)
        #expect(text.value("x") == 1)
        #expect(text.value("bad_name_1", ["__l": "v"]) == 1)
        let counter = Counter(label: "x", factory: registry)
        counter.destroy()
        #expect(try Self.text(registry).families["x"] == nil)
    }

    @Test(arguments: [
        "a 1", "# TYPE a counter\na -1\n", "# TYPE a counter\nb 1\n", "a 1\n", "# TYPE a counter\na  1\n",
        "# TYPE a counter\na{b=\"c} 1\n", "# TYPE a counter\na 1\na 1\n", "# TYPE a gauge\na one\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n", "# TYPE a gauge\n# TYPE a gauge\na 1\n",
        "# TYPE 9a gauge\n9a 1\n", "# TYPE a gauge\na{9=\"x\"} 1\n", "# TYPE a gauge\na{b=\"\\x\"} 1\n",
    ])
    func theParserOfTheseTestsIsStrict(text: String) {
        #expect(throws: PrometheusText.Malformed.self) { try PrometheusText(text) }
    }

    @Test func thePageShowsTheEngineTheProcessAndTheAPI() async throws {
        try await TestServer.run { server in
            var statistics = EngineStatistics(
                pool: PoolState(target: 8, warm: 7, filling: 1, inUse: 2, coldStarts: 3, warmStarts: 4))
            statistics.sandboxes = ["running": 2]
            statistics.verdicts = [.noMatchingRule: 12]
            statistics.unchargedVerdicts = 1
            statistics.names.received = 20
            statistics.names.fromCache = 5
            statistics.events.published = [.egress: 30]
            statistics.events.lostInKernel = 4
            statistics.journal.records = 55
            statistics.journal.lost = 6
            statistics.journal.isFailing = true
            statistics.pins = MapFill(used: 3, limit: 100)
            statistics.programs = [
                ProgramRunTime(name: "connect4", runs: 2, nanoseconds: 500, misses: 1),
                ProgramRunTime(name: "connect6", runs: 0, nanoseconds: 0, misses: 0),
            ]
            statistics.helperFailures = [("map_update_elem", "flows", 5)]
            await server.engine.count(statistics)
            let client = try server.client()
            #expect(await client.request("GET", "/v1/sandboxes/none").status == 404)
            #expect(await client.request("GET", "/nothing/here").status == 404)
            let response = await client.request("GET", "/metrics")
            #expect(response.status == 200)
            #expect(response.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
            let text = try PrometheusText(response.body)
            #expect(text.value("corral_pool_warm") == 7)
            #expect(text.value("corral_sandboxes", ["state": "running"]) == 2)
            #expect(text.value("corral_sandboxes", ["state": "exited"]) == 0)
            #expect(text.value("corral_verdicts_total", ["reason": "no_matching_rule"]) == 12)
            #expect(text.value("corral_verdicts_total", ["reason": "fragment"]) == 0)
            #expect(text.value("corral_verdicts_uncharged_total") == 1)
            #expect(text.value("corral_dns_queries_total") == 20)
            #expect(text.value("corral_dns_results_total", ["result": "cached"]) == 5)
            #expect(text.value("corral_events_total", ["type": "egress"]) == 30)
            #expect(text.value("corral_events_lost_total", ["stage": "kernel"]) == 4)
            #expect(text.value("corral_events_lost_total", ["stage": "journal"]) == 6)
            #expect(text.value("corral_journal_records_total") == 55)
            #expect(text.value("corral_journal_failing") == 1)
            #expect(text.value("corral_pinned_addresses_limit") == 100)
            #expect(text.value("corral_bpf_program_runs_total", ["program": "connect4"]) == 2)
            #expect(text.value("corral_bpf_program_run_seconds_total", ["program": "connect4"]) == 5e-7)
            #expect(text.value("corral_bpf_program_misses_total", ["program": "connect4"]) == 1)
            #expect(text.value("corral_bpf_program_runs_total", ["program": "connect6"]) == nil)
            #expect(text.value("corral_bpf_program_misses_total", ["program": "connect6"]) == 0)
            #expect(
                text.value("corral_bpf_helper_failures_total", ["helper": "map_update_elem", "subject": "flows"]) == 5)
            #expect(
                text.value(
                    "corral_api_requests_total", ["method": "GET", "route": "/v1/sandboxes/{ref}", "status": "404"])
                    == 1)
            #expect(
                text.value("corral_api_requests_total", ["method": "GET", "route": "other", "status": "404"]) == 1)
            #expect(
                text.value("corral_api_request_duration_seconds_count", ["route": "/v1/sandboxes/{ref}"]) == 1)
            #expect(try #require(text.value("process_resident_memory_bytes")) > 1_048_576)
            #expect(try #require(text.value("process_open_fds")) > 3)
            #expect(try #require(text.value("process_start_time_seconds")) > 1_600_000_000)
            #expect(text.value("corral_build_info").map { $0 == 1 } != false)
            // Counters do not fall back when they are asked for again.
            let again = try PrometheusText(await client.request("GET", "/metrics").body)
            #expect(again.value("corral_dns_queries_total") == 20)
            #expect(
                again.value("corral_api_requests_total", ["method": "GET", "route": "/metrics", "status": "200"]) == 1)
            for (name, family) in again.families {
                let metric = try #require(MetricsCatalog.all.first { $0.name == name }, "\(name) is not in the catalog")
                #expect(family.type == metric.kind.rawValue, "\(name)")
                #expect(family.help == metric.help, "\(name)")
                for sample in family.samples {
                    #expect(Set(sample.labels.keys).subtracting(["le"]) == Set(metric.labels), "\(name)")
                }
            }
        }
    }

    @Test func namesFollowTheConventions() {
        for metric in MetricsCatalog.all {
            #expect(metric.name.hasPrefix("corral_") || metric.name.hasPrefix("process_"), "\(metric.name)")
            #expect(metric.name.hasSuffix("_total") == (metric.kind == .counter), "\(metric.name)")
            if metric.kind == .histogram { #expect(metric.name.hasSuffix("_seconds"), "\(metric.name)") }
        }
    }

    @Test func everyMetricIsDocumentedAndEveryDocumentedMetricExists() throws {
        let rows = try Self.file("docs/METRICS.md").split(separator: "\n").filter { $0.hasPrefix("| `") }
        var documented: [String: [String]] = [:]
        for row in rows {
            let cells = row.split(separator: "|").map { $0.filter { $0 != " " && $0 != "`" } }
            guard cells.count == 4 else { continue }
            documented[cells[0]] = [cells[1], cells[2]]
        }
        let known = Dictionary(
            uniqueKeysWithValues: MetricsCatalog.all.map {
                ($0.name, [$0.kind.rawValue, $0.labels.joined(separator: ",")])
            })
        #expect(documented == known)
    }

    /// The dashboard and the alerts ask for nothing that is not there.
    @Test(arguments: ["packaging/grafana-dashboard.json", "packaging/alerts.yaml"])
    func whatIsAskedForExists(path: String) throws {
        let text = try Self.file(path)
        // JSON is YAML.
        #expect(try Yams.compose(yaml: text)?.mapping != nil)
        let names = text.matches(of: #/\b(?:corral|process)_[a-z_]+\b/#).map { String($0.output) }
        #expect(names.count > 10)
        let known = Set(MetricsCatalog.all.map(\.name))
        for name in names {
            let suffix = ["_bucket", "_sum", "_count"].first(where: name.hasSuffix)
            let base = suffix.map { String(name.dropLast($0.count)) }
            #expect(known.contains(name) || known.contains(base ?? ""), "\(name)")
        }
        // Nor for a series that never is: values of labels that are closed lists.
        let values = text.matches(of: #/\b(reason|stage|start|result|state|type)!?=\\?"([a-z_]+)\\?"/#)
        let lists: [Substring: Set<String>] = [
            "reason": Set(Reason.allCases.map(\.rawValue)),
            "stage": Set([Loss.Place.kernel, .reader, .journal, .share].map(\.rawValue)), "start": ["warm", "cold"],
            "result": [
                "dropped", "malformed", "refused", "limited", "cached", "forwarded", "failed", "unpinned",
            ],
            "state": ["claimed", "running", "exited"], "type": Set(EventType.allCases.map(\.rawValue)),
        ]
        #expect(path.hasSuffix(".json") || values.count > 5)
        for value in values {
            #expect(lists[value.output.1]?.contains(String(value.output.2)) == true, "\(value.output.0)")
        }
    }
}
