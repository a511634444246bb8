internal import CLinux
internal import CorralABI
internal import CorralEvents
public import CorralPolicy
internal import Glibc

extension SandboxHooks {
    /// What the programs would decide now about a new flow of this sandbox: the same function over the same maps. `deny`
    /// with `no_policy` for a sandbox that is no longer there. Budgets are not asked.
    public func ask(_ destination: Destination, of identity: SandboxIdentity) throws(KernelError) -> Decision {
        let program = try programs.vethProgram("ask")
        var frame = [UInt8](repeating: 0, count: 14)
        frame.appendLong(identity.epoch)
        frame.appendWord(identity.slot)
        withUnsafeBytes(of: destination.port) { frame.append(contentsOf: $0) }
        frame.append(destination.proto.rawValue)
        frame.append(0)
        frame.append(contentsOf: destination.address.networkBytes)
        var answer = [UInt32](repeating: .max, count: 4)
        var result: UInt32 = .max
        guard corral_bpf_test_run(program, frame, frame.count, 0, &answer, &result) == 0 else {
            throw KernelError(call: "BPF_PROG_TEST_RUN", subject: "ask \(destination)", errno: errno)
        }
        guard let verdict = Verdict(abi: UInt8(truncatingIfNeeded: answer[0])),
            let reason = Reason(abi: UInt8(truncatingIfNeeded: answer[1]))
        else { throw KernelError(call: "BPF_PROG_TEST_RUN", subject: "ask \(destination)", errno: EBADMSG) }
        return Decision(verdict, reason, rule: RuleReference(abi: answer[2]))
    }
}
