import CorralABI
import CorralEvents
import CorralPolicy
import Testing

@Suite struct WireDecisionTests {
    private let context = DecisionContext(
        sandbox: SandboxReference(id: "sb-7k2m9x", name: "a1"), bootTime: 1_700_000_000_000_000_000, uidBase: 1_000_000,
        uidCount: 65536, policy: PolicyReference(name: "web-agent", generation: 3)
    )

    @Test func everyFieldIsReadFromItsPlace() throws {
        let decision = try WireDecision(bytes: WireRecord().bytes)
        #expect(decision.direction == .egress)
        #expect(decision.hook == .connect4)
        #expect(decision.verdict == .deny)
        #expect(decision.reason == .noMatchingRule)
        #expect(decision.time == 1_000_000_007)
        #expect(decision.seq == 42)
        #expect(decision.epoch == 0x1_0000_0002)
        #expect(decision.slot == 5)
        #expect(decision.policy == 9)
        #expect(decision.rule == nil)
        #expect(decision.remote == IPAddress("203.0.113.9"))
        #expect(decision.remotePort == 443)
        #expect(decision.localPort == 40001)
        #expect(decision.proto == .tcp)
        let process = try #require(decision.process)
        #expect(process.pid == 7)
        #expect(process.ppid == 1)
        #expect(process.hostPid == 4711)
        #expect(process.hostUID == 1_000_033)
        #expect(process.execCount == 2)
        #expect(process.startedAt == 36)
        #expect(process.comm == "curl")
        #expect(process.exe == "/usr/bin/curl")
    }

    @Test func anIPv6IngressRecordWithoutProcessIsRead() throws {
        var record = WireRecord()
        record.set(\.type, UInt8(CORRAL_EVENT_INGRESS.rawValue))
        record.set(\.hook, UInt8(CORRAL_HOOK_VETH_INGRESS.rawValue))
        record.set(\.reason, UInt8(CORRAL_REASON_UNSOLICITED_INBOUND.rawValue))
        record.set(\.address, bytes: [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [9])
        record.set(\.family, 6 as UInt8)
        record.set(\.policy, 0 as UInt32)
        record.set(\.host_pid, 0 as UInt32)
        let decision = try WireDecision(bytes: record.bytes)
        #expect(decision.direction == .ingress)
        #expect(decision.remote == IPAddress("2001:db8::9"))
        #expect(decision.process == nil)
        #expect(decision.policy == nil)
        let event = decision.event(in: context)
        #expect(event.type == .ingress)
        #expect(event.traffic?.policy == nil)
    }

    @Test func aFrameThatIsNotIPHasAnEthertypeAndNoRemote() throws {
        var record = WireRecord()
        record.set(\.reason, UInt8(CORRAL_REASON_NOT_IP.rawValue))
        record.set(\.family, 0 as UInt8)
        record.set(\.protocol, 0 as UInt8)
        record.set(\.ethertype, 0x0806 as UInt16)
        let decision = try WireDecision(bytes: record.bytes)
        #expect(decision.remote == nil)
        #expect(decision.remotePort == nil)
        #expect(decision.proto == .ethertype(0x0806))
        #expect(decision.proto?.description == "arp")
    }

    @Test func otherSizesAreRefused() {
        let bytes = WireRecord().bytes
        for count in 0..<bytes.count {
            #expect(throws: WireError.size(bytes: count, expected: bytes.count)) {
                try WireDecision(bytes: Array(bytes.prefix(count)))
            }
        }
        #expect(throws: WireError.size(bytes: bytes.count + 8, expected: bytes.count)) {
            try WireDecision(bytes: bytes + [UInt8](repeating: 0, count: 8))
        }
        var lying = WireRecord()
        lying.set(\.size, 8 as UInt16)
        #expect(throws: WireError.size(bytes: 8, expected: bytes.count)) { try WireDecision(bytes: lying.bytes) }
    }

    @Test func anotherVersionIsRefused() {
        var record = WireRecord()
        record.set(\.version, 99 as UInt16)
        #expect(throws: WireError.version(99, expected: UInt16(CORRAL_RECORD_VERSION))) {
            try WireDecision(bytes: record.bytes)
        }
    }

    @Test(
        arguments: [
            ("type", 1...3), ("hook", 0...9), ("verdict", 0...2),
            ("reason", 0...UInt8(CORRAL_REASON_COUNT.rawValue - 1)),
        ] as [(String, ClosedRange<UInt8>)])
    func numbersOutsideAnEnumerationAreErrorsAndThoseInsideAreNot(name: String, known: ClosedRange<UInt8>) throws {
        let fields: [String: PartialKeyPath<corral_event>] = [
            "type": \.type, "hook": \.hook, "verdict": \.verdict, "reason": \.reason,
        ]
        let field = try #require(fields[name])
        for number in UInt8.min...UInt8.max {
            var record = WireRecord()
            record.set(field, number)
            if known.contains(number) {
                _ = try WireDecision(bytes: record.bytes)
            } else if name == "type", UInt32(number) == CORRAL_EVENT_FILE.rawValue {
                // Its records are longer.
                let (size, expected) = (record.bytes.count, MemoryLayout<corral_file_event>.size)
                #expect(throws: WireError.size(bytes: size, expected: expected)) {
                    try WireDecision(bytes: record.bytes)
                }
            } else {
                #expect(throws: WireError.unknown(field: name, value: UInt32(number))) {
                    try WireDecision(bytes: record.bytes)
                }
            }
        }
    }

    @Test func aRefusedOperationIsAnEventOfItsOwn() throws {
        var record = WireRecord()
        record.set(\.type, UInt8(CORRAL_EVENT_OPERATION.rawValue))
        record.set(\.hook, UInt8(CORRAL_HOOK_LSM.rawValue))
        record.set(\.reason, Reason.syscallNotAllowed.abi)
        for operation in KernelOperation.allCases {
            record.set(\.protocol, operation.abi)
            let event = try WireDecision(bytes: record.bytes).event(in: context)
            #expect(event.type == (operation == .receive ? .file : .process))
            #expect(event.verdict == .deny && event.reason == .syscallNotAllowed)
            #expect(event.refusedOperation?.operation == operation && event.refusedOperation?.policy?.generation == 3)
            #expect(event.refusal?.what == operation.rawValue)
            #expect(try Event(json: event.jsonLine) == event)
        }
        for number in [UInt8(0), UInt8(CORRAL_OPERATION_COUNT.rawValue), .max] {
            record.set(\.protocol, number)
            #expect(throws: WireError.unknown(field: "operation", value: UInt32(number))) {
                try WireDecision(bytes: record.bytes)
            }
        }
    }

    /// `path` behind the record of a decision.
    private func fileRecord(_ path: [UInt8], _ action: UInt8, _ access: UInt8, above: UInt8 = 0) -> [UInt8] {
        var record = WireRecord()
        record.set(\.type, UInt8(CORRAL_EVENT_FILE.rawValue))
        record.set(\.size, UInt16(MemoryLayout<corral_file_event>.size))
        record.set(\.hook, UInt8(CORRAL_HOOK_LSM.rawValue))
        record.set(\.family, 0 as UInt8)
        record.set(\.reason, Reason.deniedByRule.abi)
        record.set(\.rule, RuleReference.path(PathRuleReference(.read, isDeny: true, index: 2)).abi)
        let bytes = record.bytes + [action, access, above, 0, 0] + path
        return bytes + [UInt8](repeating: 0, count: MemoryLayout<corral_file_event>.size - bytes.count)
    }

    @Test func aRefusedPathIsAnEventOfItsOwn() throws {
        for action in FileAction.allCases {
            for access in FileAccess.allCases {
                let bytes = fileRecord(Array("/etc/shadow".utf8), action.abi, access.abi)
                let event = try WireDecision(bytes: bytes).event(in: context)
                #expect(event.type == (action == .exec ? .process : .file))
                #expect(event.verdict == .deny && event.reason == .deniedByRule)
                #expect(event.refusedPath?.path == "/etc/shadow" && event.refusedPath?.access == access)
                #expect(event.refusedPath?.policy?.rule?.description == "files.read.deny[2]")
                #expect(event.refusal?.what.hasPrefix("\(access.rawValue) /etc/shadow") == true)
                #expect(try Event(json: event.jsonLine) == event)
            }
        }
        let (open, read) = (FileAction.open.abi, FileAccess.read.abi)
        #expect(try WireDecision(bytes: fileRecord([], open, read)).event(in: context).refusedPath?.path == nil)
        let long = try WireDecision(
            bytes: fileRecord([UInt8](repeating: 0x61, count: Int(CORRAL_PATH_BYTES)), open, read))
        #expect(
            long.event(in: context).refusedPath?.path == String(repeating: "a", count: Int(CORRAL_PATH_BYTES)) + "…")
        let above = try WireDecision(bytes: fileRecord(Array("/etc".utf8), open, read, above: 1))
        #expect(above.event(in: context).refusedPath?.hint.contains("what is below it") == true)
        #expect(throws: WireError.unknown(field: "action", value: 0)) {
            try WireDecision(bytes: fileRecord([], 0, read))
        }
        #expect(throws: WireError.unknown(field: "access", value: 4)) {
            try WireDecision(bytes: fileRecord([], open, 4))
        }
        // Each type has its size.
        #expect(throws: WireError.self) { try WireDecision(bytes: Array(fileRecord([], open, read).dropLast())) }
        var short = WireRecord()
        short.set(\.type, UInt8(CORRAL_EVENT_FILE.rawValue))
        #expect(throws: WireError.self) { try WireDecision(bytes: short.bytes) }
        var other = fileRecord([], open, read)
        other[WireRecord.offset(\.type)] = UInt8(CORRAL_EVENT_EGRESS.rawValue)
        #expect(throws: WireError.self) { try WireDecision(bytes: other) }
    }

    @Test func anUnknownFamilyIsAnError() {
        var record = WireRecord()
        record.set(\.family, 5 as UInt8)
        #expect(throws: WireError.unknown(field: "family", value: 5)) { try WireDecision(bytes: record.bytes) }
    }

    @Test func aCommWithoutZeroByteEndsWithItsField() throws {
        var record = WireRecord()
        record.set(\.comm, bytes: [UInt8](repeating: UInt8(ascii: "x"), count: Int(CORRAL_COMM_BYTES)))
        #expect(try WireDecision(bytes: record.bytes).process?.comm == String(repeating: "x", count: 16))
    }

    @Test func invalidUTF8IsReplaced() throws {
        var record = WireRecord()
        record.replace(\.comm, count: CORRAL_COMM_BYTES, bytes: [0x61, 0xff, 0xc3, 0x62])
        #expect(try WireDecision(bytes: record.bytes).process?.comm == "a\u{fffd}\u{fffd}b")
    }

    @Test(
        arguments: [
            ("", nil),
            ("sh\0", "/sh"),
            ("sh\0bin\0/\0", "/bin/sh"),
            ("/\0", nil),
            // A name of 63 bytes is where the kernel cuts.
            (String(repeating: "n", count: 63) + "\0opt\0", "/opt/" + String(repeating: "n", count: 63) + "…"),
            (String(repeating: "n", count: 62) + "\0opt\0", "/opt/" + String(repeating: "n", count: 62)),
            // Too many directories, or too little room for another: the front may be missing.
            (
                "curl\0bin\0" + String(repeating: "d\0", count: 14),
                "…/" + String(repeating: "d/", count: 14) + "bin/curl"
            ),
            (
                "curl\0bin\0" + String(repeating: "d\0", count: 13),
                "/" + String(repeating: "d/", count: 13) + "bin/curl"
            ),
            (String(repeating: "n", count: 160), "…/" + String(repeating: "n", count: 160) + "…"),
            (
                "curl\0bin\0" + String(repeating: "d", count: 60) + "\0" + String(repeating: "e", count: 60) + "\0",
                "…/" + String(repeating: "e", count: 60) + "/" + String(repeating: "d", count: 60) + "/bin/curl"
            ),
        ] as [(String, String?)])
    func aPathIsPutTogetherFromItsEnd(components: String, path: String?) throws {
        var record = WireRecord()
        record.replace(\.exe, count: CORRAL_EXE_BYTES, bytes: Array(components.utf8))
        #expect(try WireDecision(bytes: record.bytes).process?.exe == path)
    }

    @Test func randomBytesNeverTrap() {
        var random = SplitMix(seed: 7)
        var accepted = 0
        for _ in 0..<20_000 {
            var record = WireRecord()
            // The head stays valid most of the time, so that the rest is reached.
            let start = random.next() % 8 == 0 ? 0 : 8
            for index in start..<record.bytes.count { record.bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
            if random.next() % 4 == 0 {
                record.set(\.type, UInt8(CORRAL_EVENT_OPERATION.rawValue))
                record.set(\.protocol, UInt8(random.next() % UInt64(CORRAL_OPERATION_COUNT.rawValue + 1)))
            }
            record.bytes[WireRecord.offset(\.family)] = UInt8(truncatingIfNeeded: random.next() % 4) * 2
            if let decision = try? WireDecision(bytes: record.bytes) {
                accepted += 1
                let event = decision.event(in: context)
                #expect(try! Event(json: event.jsonLine) == event)
            }
        }
        #expect(accepted > 1000)
    }

    // MARK: In context

    @Test func anEventJoinsWhatTheKernelAndTheControllerKnow() throws {
        var context = context
        context.remoteName = "evil.example"
        let event = try WireDecision(bytes: WireRecord().bytes).event(in: context)
        #expect(event.time == 1_700_000_001_000_000_007)
        #expect(event.seq == 42)
        #expect(event.sandbox == context.sandbox)
        let traffic = try #require(event.traffic)
        #expect(traffic.remote == Remote(ip: IPAddress(ipv4: 0xcb00_7109), port: 443, name: "evil.example"))
        #expect(traffic.policy == PolicyReference(name: "web-agent", generation: 3, rule: nil))
        #expect(traffic.process?.uid == 33)
        #expect(traffic.process?.execID == "4711-10-2")
        #expect(
            traffic.hint
                == "no rule of egress.allow covers 203.0.113.9 (evil.example); to permit it add { cidr: 203.0.113.9/32, ports: [443] }"
        )
    }

    @Test(
        arguments: [(999_999, 65534), (1_000_000, 0), (1_065_535, 65535), (1_065_536, 65534), (0, 65534)]
            as [(UInt32, UInt32)])
    func uidsAreThoseInsideTheSandbox(host: UInt32, inside: UInt32) throws {
        var record = WireRecord()
        record.set(\.host_uid, host)
        #expect(try WireDecision(bytes: record.bytes).event(in: context).traffic?.process?.uid == inside)
    }

    @Test func timesPastTheCalendarAreClamped() throws {
        var record = WireRecord()
        record.set(\.time_ns, UInt64.max)
        #expect(try WireDecision(bytes: record.bytes).event(in: context).time == .max)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers in every run.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
