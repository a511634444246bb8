import CorralABI
import CorralEvents
import CorralPolicy
import Testing

@Suite struct ABIMappingTests {
    @Test func everyReasonHasOneNumberAndEveryNumberOneReason() {
        #expect(Reason.allCases.count == Int(CORRAL_REASON_COUNT.rawValue))
        for number in UInt8.min...UInt8.max {
            let reason = Reason(abi: number)
            #expect((reason != nil) == (UInt32(number) < CORRAL_REASON_COUNT.rawValue))
            if let reason { #expect(reason.abi == number) }
        }
        for reason in Reason.allCases { #expect(Reason(abi: reason.abi) == reason) }
    }

    @Test func everyVerdictHasOneNumber() {
        #expect(Set(Verdict.allCases.map(\.abi)).count == Verdict.allCases.count)
        for verdict in Verdict.allCases { #expect(Verdict(abi: verdict.abi) == verdict) }
        for number in UInt8(3)...UInt8.max { #expect(Verdict(abi: number) == nil) }
    }

    @Test func everyHookHasOneNumberAndNoneIsNotAHook() {
        #expect(Hook.allCases.map(\.abi).sorted() == [1, 2, 3, 4, 5, 6, 7, 8, 9])
        for hook in Hook.allCases { #expect(Hook(abi: hook.abi) == hook) }
        #expect(Hook(abi: UInt8(CORRAL_HOOK_NONE.rawValue)) == nil)
        for number in UInt8(10)...UInt8.max { #expect(Hook(abi: number) == nil) }
    }

    @Test func everyOperationHasOneNumberAndOneBit() {
        #expect(KernelOperation.allCases.map(\.abi).sorted() == Array(1..<UInt8(CORRAL_OPERATION_COUNT.rawValue)))
        for operation in KernelOperation.allCases {
            #expect(KernelOperation(abi: operation.abi) == operation)
            #expect(operation.permit.nonzeroBitCount == 1)
        }
        #expect(KernelOperation(abi: 0) == nil)
        #expect(Set(KernelOperation.allCases.map(\.permit)).count == KernelOperation.allCases.count)
    }

    @Test func zeroedMemoryMeansDenyWithoutPolicy() {
        #expect(Verdict(abi: 0) == .deny)
        #expect(Reason(abi: 0) == .noPolicy)
    }

    @Test func everyAccessAndEveryFileActionHasOneNumber() {
        #expect(FileAccess.allCases.map(\.abi).sorted() == Array(1..<UInt8(CORRAL_ACCESS_COUNT.rawValue)))
        #expect(FileAction.allCases.map(\.abi).sorted() == Array(1..<UInt8(CORRAL_FILE_COUNT.rawValue)))
        #expect(FileAccess(abi: 0) == nil && FileAction(abi: 0) == nil)
        let flags = [FileAccess.exec: CORRAL_POLICY_EXEC, .read: CORRAL_POLICY_READ, .write: CORRAL_POLICY_WRITE]
        for (access, flag) in flags { #expect(access.flag == flag.rawValue) }
    }

    @Test(arguments: [0, 1, 77, 1_048_575, 0x0fff_ffff])
    func rulesAndTheirNumbersAreOneToOne(index: Int) {
        var rules = [RuleReference.allow(index), .deny(index)]
        for access in FileAccess.allCases {
            for isDeny in [true, false] {
                rules.append(.path(PathRuleReference(access, isDeny: isDeny, index: index)))
            }
        }
        for rule in rules {
            #expect(RuleReference(abi: rule.abi) == rule)
            #expect(RuleReference(rule.description) == rule)
        }
        #expect(Set(rules.map(\.abi)).count == rules.count)
        #expect(RuleReference.allow(index).abi == UInt32(index))
        #expect(RuleReference.deny(index).abi == CORRAL_RULE_DENY | UInt32(index))
    }

    @Test func noRuleIsNotARule() {
        #expect(RuleReference(abi: CORRAL_NO_RULE) == nil)
        #expect(RuleReference.abi(of: nil) == CORRAL_NO_RULE)
        #expect(RuleReference.abi(of: .deny(0)) == CORRAL_RULE_DENY)
        // Even the largest index does not read as "no rule".
        #expect(RuleReference.deny(.max).abi != CORRAL_NO_RULE)
        #expect(RuleReference.allow(-1).abi == 0)
    }
}
