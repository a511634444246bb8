public import Metrics
internal import Synchronization

/// A backend for swift-metrics that keeps what it is told and writes it in Prometheus' text format 0.0.4.
///
/// A label is a metric's name as it is, apart from characters that a name cannot hold. Counters and meters become counters and
/// gauges; timers become histograms in seconds; recorders become histograms, or gauges when they do not aggregate.
public final class MetricsRegistry: MetricsFactory, Sendable {
    /// Upper bounds of a timer's buckets, seconds.
    static let timeBounds = [
        0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]
    /// Of a recorder's, whose unit is not known.
    static let valueBounds = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000].map(Double.init)

    private struct Family: Sendable {
        var kind: Series.Kind
        /// By their labels as they are written.
        var series: [String: Series] = [:]
    }

    private let families = Mutex<[String: Family]>([:])

    public init() {}

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter)
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, .counter)
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, .gauge)
    }

    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        series(label, dimensions, aggregate ? .histogram(bounds: Self.valueBounds) : .gauge)
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, .histogram(bounds: Self.timeBounds))
    }

    public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }

    private func remove(_ handler: AnyObject) {
        families.withLock { families in
            families = families.mapValues { family in
                Family(kind: family.kind, series: family.series.filter { $0.value !== handler })
            }
        }
    }

    private func series(_ label: String, _ dimensions: [(String, String)], _ kind: Series.Kind) -> Series {
        let name = Self.name(label, allowsColon: true)
        let labels = Self.labels(dimensions)
        return families.withLock { families in
            var family = families[name] ?? Family(kind: kind)
            // One name has one type; what comes with another works, and is not shown.
            guard family.kind == kind else { return Series(kind) }
            let series = family.series[labels] ?? Series(kind)
            family.series[labels] = series
            families[name] = family
            return series
        }
    }

    /// A count that is kept elsewhere.
    func set(counter name: String, _ dimensions: [(String, String)] = [], to total: UInt64) {
        series(name, dimensions, .counter).assign(Double(total))
    }

    func set(counter name: String, _ dimensions: [(String, String)] = [], to total: Double) {
        series(name, dimensions, .counter).assign(total)
    }

    func set(gauge name: String, _ dimensions: [(String, String)] = [], to value: Double) {
        series(name, dimensions, .gauge).assign(value)
    }

    func set(gauge name: String, _ dimensions: [(String, String)] = [], to value: Int) {
        set(gauge: name, dimensions, to: Double(value))
    }

    // MARK: Text

    /// All metrics, sorted by name and labels. `help` by name.
    func exposition(help: [String: String]) -> String {
        let families = families.withLock { $0 }
        var text = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) where !family.series.isEmpty {
            if let help = help[name] { text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n" }
            text += "# TYPE \(name) \(family.kind.word)\n"
            for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) {
                series.write(name, labels, to: &text)
            }
        }
        return text
    }

    static func name(_ text: String, allowsColon: Bool) -> String {
        var name = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
                name.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: "0")...UInt8(ascii: "9") where !name.isEmpty:
                name.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: ":") where allowsColon: name += ":"
            default: name += "_"
            }
        }
        return name.isEmpty ? "_" : name
    }

    /// `a="b",c="d"`, sorted by name.
    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { (name($0.0, allowsColon: false), $0.1) }.sorted { $0.0 < $1.0 }
            .map { "\($0.0)=\"\(escaped($0.1, quotes: true))\"" }.joined(separator: ",")
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

/// The values of one metric with one set of labels.
final class Series: Sendable, CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler {
    enum Kind: Sendable, Equatable {
        case counter
        case gauge
        case histogram(bounds: [Double])

        var word: String {
            switch self {
            case .counter: "counter"
            case .gauge: "gauge"
            case .histogram: "histogram"
            }
        }
    }

    private struct State: Sendable {
        /// A counter's or gauge's value, a histogram's sum.
        var value = 0.0
        /// Observations by the first bound that holds them; the last counts those past all bounds.
        var buckets: [UInt64] = []
    }

    private let kind: Kind
    private let state = Mutex(State())

    init(_ kind: Kind) {
        self.kind = kind
        if case .histogram(let bounds) = kind {
            state.withLock { $0.buckets = [UInt64](repeating: 0, count: bounds.count + 1) }
        }
    }

    func assign(_ value: Double) {
        state.withLock { $0.value = value }
    }

    private func observe(_ value: Double) {
        guard case .histogram(let bounds) = kind else { return assign(value) }
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.value += value
            state.buckets[bucket] &+= 1
        }
    }

    func increment(by amount: Int64) { increment(by: Double(amount)) }

    func increment(by amount: Double) {
        state.withLock { state in
            if kind != .counter || amount > 0 { state.value += amount }
        }
    }

    func decrement(by amount: Double) { increment(by: -amount) }
    func reset() { assign(0) }
    func set(_ value: Int64) { assign(Double(value)) }
    func set(_ value: Double) { assign(value) }
    func record(_ value: Int64) { observe(Double(value)) }
    func record(_ value: Double) { observe(value) }
    func recordNanoseconds(_ duration: Int64) { observe(Double(duration) / 1e9) }

    func write(_ name: String, _ labels: String, to text: inout String) {
        let state = state.withLock { $0 }
        func line(_ suffix: String, _ extra: String, _ value: String) {
            let all = [labels, extra].filter { !$0.isEmpty }.joined(separator: ",")
            text += "\(name)\(suffix)\(all.isEmpty ? "" : "{\(all)}") \(value)\n"
        }
        guard case .histogram(let bounds) = kind else { return line("", "", Self.text(state.value)) }
        var total: UInt64 = 0
        for (bound, count) in zip(bounds.map(Self.text) + ["+Inf"], state.buckets) {
            total &+= count
            line("_bucket", "le=\"\(bound)\"", "\(total)")
        }
        line("_sum", "", Self.text(state.value))
        line("_count", "", "\(total)")
    }

    private static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value), abs(whole) < 1 << 53 { return "\(whole)" }
        return "\(value)"
    }
}
