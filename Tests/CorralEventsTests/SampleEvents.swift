import CorralEvents
import CorralPolicy

/// Random events of every type, with hostile text.
struct SampleEvents {
    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    mutating func next() -> Event {
        let body: Event.Body =
            switch random.next() % 26 {
            case 0: .sandbox(lifecycle())
            case 1:
                .limit(
                    LimitReached(
                        pick(LimitReached.Kind.allCases), budget: maybe { $0.pick(LimitReached.Budget.allCases) },
                        value: maybe { $0.number() }))
            case 2: .lost(Loss(count: number(), place: pick(Loss.Place.allCases)))
            case 3...5: .ingress(traffic())
            case 6...8: .dns(nameQuery())
            case 9...10: .audit(audit())
            case 11...12: .gap(gap())
            case 13...14: .syscall(syscall())
            case 15...16: .process(ProcessChange(process: process(), action: action()))
            case 17: .policy(policyChange())
            case 18...19: .operation(refusedOperation())
            case 20...21: .path(refusedPath())
            default: .egress(traffic())
            }
        return Event(
            time: Int64(bitPattern: number()), seq: number(),
            sandbox: maybe { SandboxReference(id: $0.text(), name: $0.text()) }, body: body
        )
    }

    private mutating func policyChange() -> PolicyChange {
        PolicyChange(
            random.next() % 2 == 0 ? .applied : .refused(text()),
            policy: maybe { PolicyReference(name: $0.text(), generation: $0.number()) },
            changes: (0..<random.next() % 4).map { _ in text() }, isCut: random.next() % 2 == 0)
    }

    private mutating func refusedOperation() -> RefusedOperation {
        RefusedOperation(
            pick(KernelOperation.allCases), verdict: pick(Verdict.allCases), reason: pick(Reason.allCases),
            process: maybe { $0.process() }, policy: maybe { $0.policy() }, hint: text())
    }

    private mutating func refusedPath() -> RefusedPath {
        RefusedPath(
            pick(FileAction.allCases), pick(FileAccess.allCases), path: maybe { $0.text() },
            verdict: pick(Verdict.allCases),
            reason: pick(Reason.allCases), process: maybe { $0.process() }, policy: maybe { $0.policy() }, hint: text())
    }

    private mutating func lifecycle() -> Lifecycle {
        switch random.next() % 7 {
        case 0: .created
        case 1: .claimed
        case 2: .started(command: (0..<random.next() % 4).map { _ in text() })
        case 3: .paused
        case 4: .resumed
        case 5: .exited(exitCode: Int32(truncatingIfNeeded: number() as UInt32))
        default: .destroyed
        }
    }

    private mutating func traffic() -> Traffic {
        Traffic(
            verdict: pick(Verdict.allCases), reason: pick(Reason.allCases), hook: maybe { $0.pick(Hook.allCases) },
            process: maybe { $0.process() },
            remote: maybe {
                Remote(
                    ip: $0.address(), port: $0.maybe { $0.number() }, name: $0.maybe { $0.text() }
                )
            },
            localPort: maybe { $0.number() },
            proto: maybe { $0.random.next() % 2 == 0 ? .ip($0.number()) : .ethertype($0.number()) },
            policy: maybe { $0.policy() }, hint: maybe { $0.text() }
        )
    }

    private mutating func process() -> ProcessReference {
        ProcessReference(
            pid: number(), hostPid: number(), ppid: number(), uid: number(), comm: text(), exe: maybe { $0.text() },
            execID: text()
        )
    }

    private mutating func syscall() -> Syscall {
        let result = pick([0, -1, -2, -38, -512, -4095, -4096, 3, .max, .min] as [Int64])
        let outcome = pick([Syscall.Outcome.returned(result), .refused(result), .resumed(result), .none])
        let arguments = (0..<random.next() % 6).map { _ in text() }
        let isResumed = if case .resumed = outcome { true } else { false }
        return Syscall(
            thread: number(), process: process(), name: text(), abi: pick(SyscallABI.allCases),
            arguments: isResumed ? [] : arguments, outcome: outcome, duration: maybe { $0.number() })
    }

    private mutating func action() -> ProcessChange.Action {
        let usage = ProcessChange.Usage(user: number(), system: number(), peakMemory: number())
        return switch random.next() % 4 {
        case 0:
            .exec(
                arguments: (0..<random.next() % 4).map { _ in text() }, isCut: random.next() % 2 == 0, directory: text()
            )
        case 1: .fork(ProcessChange.Child(pid: number(), hostPid: number(), execID: text()))
        case 2: .exit(.code(number()), usage)
        default: .exit(.signal(UInt8(1 + random.next() % 64), dumpedCore: random.next() % 2 == 0), usage)
        }
    }

    private mutating func audit() -> AuditRecord {
        AuditRecord(
            pick(AuditRecord.Action.allCases),
            outcome: random.next() % 2 == 0 ? .done : .refused(code: text(), message: text()),
            by: maybe { sample in
                sample.random.next() % 3 == 0
                    ? .remote(address: sample.text(), key: sample.maybe { $0.text() })
                    : .process(uid: sample.number(), gid: sample.number(), pid: Int32(bitPattern: sample.number()))
            },
            target: maybe { $0.text() }, policy: maybe { $0.policy() },
            policyHash: maybe { SHA256(of: $0.text().utf8) },
            command: maybe { sample in (0..<sample.random.next() % 4).map { _ in sample.text() } },
            signal: maybe { Int32(bitPattern: $0.number()) }
        )
    }

    private mutating func gap() -> Gap {
        Gap(
            pick(Gap.Cause.allCases), from: maybe { Int64(bitPattern: $0.number()) }, count: maybe { $0.number() },
            through: maybe { $0.number() }, hash: maybe { SHA256(of: $0.text().utf8) }, file: maybe { $0.text() },
            bytes: maybe { $0.number() }, error: maybe { $0.text() }
        )
    }

    private mutating func nameQuery() -> NameQuery {
        NameQuery(
            verdict: pick(Verdict.allCases), reason: pick(Reason.allCases), name: text(),
            recordType: DNSRecordType(rawValue: random.next() % 2 == 0 ? number() : UInt16(random.next() % 70)),
            transport: pick(NameQuery.Transport.allCases),
            responseCode: DNSResponseCode(rawValue: random.next() % 2 == 0 ? number() : UInt16(random.next() % 20)),
            answers: addresses(), removed: addresses(), server: maybe { $0.address() },
            policy: maybe { $0.policy() }, count: number(), hint: maybe { $0.text() }
        )
    }

    private mutating func policy() -> PolicyReference {
        PolicyReference(
            name: text(), generation: number(),
            rule: maybe {
                $0.random.next() % 2 == 0 ? .allow(Int($0.number() as UInt16)) : .deny(Int($0.number() as UInt32))
            }
        )
    }

    private mutating func address() -> IPAddress {
        random.next() % 2 == 0 ? IPAddress(ipv4: number()) : IPAddress(high: number(), low: number())
    }

    private mutating func addresses() -> [IPAddress] {
        (0..<random.next() % 5).map { _ in address() }
    }

    private mutating func number<Number: FixedWidthInteger & UnsignedInteger>() -> Number {
        switch random.next() % 4 {
        case 0: 0
        case 1: .max
        default: Number(truncatingIfNeeded: random.next())
        }
    }

    private mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int(random.next() % UInt64(values.count))]
    }

    private mutating func maybe<Value>(_ make: (inout SampleEvents) -> Value) -> Value? {
        random.next() % 3 == 0 ? nil : make(&self)
    }

    private mutating func text() -> String {
        var text = ""
        for _ in 0..<random.next() % 12 {
            let value: UInt32 =
                switch random.next() % 4 {
                case 0: UInt32(random.next() % 0x20)
                case 1: UInt32(0x20 + random.next() % 0x90)
                case 2: pick([0x22, 0x5c, 0x2f, 0x7f, 0x9b, 0x2028, 0x202e, 0xfeff, 0x1f600, 0x10ffff, 0])
                default: UInt32(random.next() % 0x110000)
                }
            text.unicodeScalars.append(Unicode.Scalar(value) ?? "?")
        }
        return text
    }
}
