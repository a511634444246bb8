internal import CorralPolicy

/// Events as lines for people. Whatever a sandbox chose itself is neutralised.
public struct EventRenderer: Sendable {
    public enum Layout: Sendable {
        /// `05:12:01.123 a1 DENY  egress tcp 203.0.113.9:443 curl[7] no_matching_rule  hint`,
        /// `05:12:01.123 a1 ALLOW dns A api.example.com → 203.0.113.7 allowed_by_rule (egress.allow[0])`
        case compact
        /// The same in columns, under a heading.
        case table
    }

    public var layout: Layout
    /// Mark verdicts with SGR colours (ECMA-48).
    public var color: Bool

    /// Leave out the names that stand for addresses.
    public var numeric: Bool

    public init(layout: Layout, color: Bool, numeric: Bool = false) {
        self.layout = layout
        self.color = color
        self.numeric = numeric
    }

    /// The line above the first event, if the layout has one, with its line break.
    public var heading: String? {
        switch layout {
        case .compact: nil
        case .table:
            columns(["TIME", "SANDBOX", "VERDICT", "TYPE", "PROTO", "REMOTE", "PROCESS", "REASON"], last: "DETAIL")
                + "\n"
        }
    }

    /// One line with its line break.
    public func line(_ event: Event) -> String {
        let sandbox = TerminalText.neutralised(event.sandbox?.name ?? "-")
        let time = timeOfDay(event.time)
        switch layout {
        case .compact:
            let detail =
                switch event.body {
                case .egress(let traffic), .ingress(let traffic): compact(traffic, event.type)
                case .dns(let query): compact(query)
                case .operation(let refused): compact(refused, event.type)
                case .path(let refused): compact(refused, event.type)
                case .sandbox, .limit, .process, .syscall, .policy, .lost, .audit, .gap: emphasis(event) + detail(event)
                }
            return "\(paint(time, .dim)) \(sandbox) \(detail)\n"
        case .table:
            let traffic = event.traffic
            let query = event.nameQuery
            return columns(
                [
                    time, sandbox, event.verdict.map(word) ?? "-", event.type.rawValue,
                    traffic?.proto?.description ?? query?.transport.rawValue ?? "-",
                    traffic?.remote.map(text) ?? query.map { TerminalText.neutralised($0.name) } ?? "-",
                    event.process.map(text) ?? "-", event.reason?.rawValue ?? "-",
                ],
                last: detail(event), verdict: event.verdict
            ) + "\n"
        }
    }

    // MARK: Parts

    private func compact(_ traffic: Traffic, _ type: EventType) -> String {
        var parts = [paint(pad(word(traffic.verdict), 5), style(traffic.verdict)), type.rawValue]
        if let proto = traffic.proto { parts.append(proto.description) }
        if let remote = traffic.remote { parts.append(text(remote)) }
        // Where no process is known, the hook says who saw it.
        parts.append(traffic.process.map(text) ?? traffic.hook.map { "(\($0.rawValue))" } ?? "-")
        parts.append(traffic.reason.rawValue)
        if let rule = traffic.policy?.rule { parts.append("(\(rule))") }
        let line = parts.joined(separator: " ")
        return traffic.hint.map { line + "  " + paint(TerminalText.neutralised($0), .dim) } ?? line
    }

    private func compact(_ query: NameQuery) -> String {
        var parts = [
            paint(pad(word(query.verdict), 5), style(query.verdict)), EventType.dns.rawValue,
            query.recordType.description, TerminalText.neutralised(query.name), outcome(query), query.reason.rawValue,
        ]
        if let rule = query.policy?.rule { parts.append("(\(rule))") }
        if query.count != 1 { parts.append("(\(query.count) queries)") }
        let line = parts.joined(separator: " ")
        return query.hint.map { line + "  " + paint(TerminalText.neutralised($0), .dim) } ?? line
    }

    private func compact(_ refused: RefusedOperation, _ type: EventType) -> String {
        [
            paint(pad(word(refused.verdict), 5), style(refused.verdict)), type.rawValue, refused.operation.rawValue,
            refused.process.map(text) ?? "-", refused.reason.rawValue,
            " " + paint(TerminalText.neutralised(refused.hint), .dim),
        ].joined(separator: " ")
    }

    private func compact(_ refused: RefusedPath, _ type: EventType) -> String {
        var parts = [
            paint(pad(word(refused.verdict), 5), style(refused.verdict)), type.rawValue,
            TerminalText.neutralised(refused.summary), refused.process.map(text) ?? "-", refused.reason.rawValue,
        ]
        if let rule = refused.policy?.rule { parts.append("(\(rule))") }
        return parts.joined(separator: " ") + "  " + paint(TerminalText.neutralised(refused.hint), .dim)
    }

    /// What was answered: `→ 203.0.113.7, …`, or the response code.
    private func outcome(_ query: NameQuery) -> String {
        guard !query.answers.isEmpty else { return "→ \(query.responseCode)" }
        let shown = query.answers.prefix(Self.mostAnswers).map(\.description)
        return "→ " + (shown + (query.answers.count > shown.count ? ["…"] : [])).joined(separator: ", ")
    }

    /// Addresses of one answer that a line shows.
    private static let mostAnswers = 3

    private func emphasis(_ event: Event) -> String {
        switch event.body {
        case .limit: paint("limit ", .yellow)
        case .lost: paint("lost ", .magenta)
        case .gap: paint("gap ", .magenta)
        case .sandbox: "sandbox "
        case .audit: "audit "
        case .policy(let change):
            if case .refused = change.outcome { paint("policy ", .yellow) } else { "policy " }
        case .process(let change): "process \(text(change.process)) "
        case .syscall(let call):
            (call.isRefused ? paint("DENY ", .red) + " " : "") + "syscall \(text(call.process)) "
        case .egress, .ingress, .dns, .operation, .path: ""
        }
    }

    /// What an event says beyond the columns that it shares with the others.
    private func detail(_ event: Event) -> String {
        switch event.body {
        case .egress(let traffic), .ingress(let traffic):
            return TerminalText.neutralised(traffic.hint ?? traffic.policy?.rule?.description ?? "")
        case .dns(let query):
            let detail = "\(query.recordType) \(outcome(query))"
            return query.hint.map { "\(detail)  \(TerminalText.neutralised($0))" } ?? detail
        case .sandbox(let lifecycle):
            switch lifecycle {
            case .created, .claimed, .paused, .resumed, .destroyed: return lifecycle.action
            case .started(let command): return (["started"] + command.map(TerminalText.quoted)).joined(separator: " ")
            case .exited(let code): return "exited \(code)"
            }
        case .limit(let reached):
            let name = reached.budget.map { "\(reached.limit.rawValue) \($0.rawValue)" } ?? reached.limit.rawValue
            guard let value = reached.value else { return name }
            let unit =
                switch (reached.limit, reached.budget) {
                case (.timeout, _): " ms"
                case (.oom, _), (.disk, _), (.budget, .bytes): " bytes"
                case (.pids, _): " processes"
                case (.budget, .rate): " bits/s"
                case (.cpu, _): "/1000 processors"
                case (.budget, _): ""
                }
            let times = reached.count.map { " ×\($0)" } ?? ""
            return "\(name) at \(value)\(unit)\(times)"
        case .process(let change): return change.line
        case .operation(let refused): return "\(refused.operation.rawValue)  \(TerminalText.neutralised(refused.hint))"
        case .path(let refused): return TerminalText.neutralised("\(refused.summary)  \(refused.hint)")
        case .syscall(let call): return call.line
        case .policy(let change): return change.line
        case .lost(let loss):
            let cause =
                switch loss.place {
                case .kernel: "the ring buffer was full"
                case .reader: "this reader fell behind"
                case .journal: "the journal fell behind"
                case .share: "the sandbox's share of the journal is used up"
                }
            return "\(loss.count) \(loss.count == 1 ? "event" : "events"): \(cause)"
        case .audit(let record): return record.text()
        case .gap(let gap): return gap.description
        }
    }

    private func text(_ remote: Remote) -> String {
        let ip = remote.ip.description
        let address = remote.port.map { remote.ip.ipv4 == nil ? "[\(ip)]:\($0)" : "\(ip):\($0)" } ?? ip
        return (numeric ? nil : remote.name).map { "\(address) (\(TerminalText.neutralised($0)))" } ?? address
    }

    private func text(_ process: ProcessReference) -> String {
        "\(TerminalText.neutralised(process.comm))[\(process.pid)]"
    }

    private func word(_ verdict: Verdict) -> String {
        verdict.rawValue.uppercased()
    }

    private func timeOfDay(_ nanoseconds: Int64) -> String {
        var bytes: [UInt8] = []
        RFC3339.appendTimeOfDay(nanoseconds, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: Layout

    private static let widths = [12, 14, 10, 7, 6, 28, 20, 20]

    private func columns(_ cells: [String], last: String, verdict: Verdict? = nil) -> String {
        var line = ""
        for (index, (cell, width)) in zip(cells, Self.widths).enumerated() {
            let padded = pad(cell, width)
            line += index == 2 && verdict != nil ? paint(padded, style(verdict)) : padded
            line += " "
        }
        line += last
        return String(line.reversed().drop { $0 == " " }.reversed())
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    // MARK: Colour

    private enum Style: String {
        case red = "1;31"
        case green = "32"
        case yellow = "33"
        case magenta = "1;35"
        case dim = "2"
    }

    private func style(_ verdict: Verdict?) -> Style {
        switch verdict {
        case .deny: .red
        case .allow: .green
        case .wouldDeny: .yellow
        case nil: .dim
        }
    }

    private func paint(_ text: String, _ style: Style) -> String {
        color ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
    }
}
