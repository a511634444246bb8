import CorralKernel
import Testing

@Suite struct KernelErrorTests {
    @Test func saysCallSubjectAndErrno() {
        let error = KernelError(call: "bpf_link_create", subject: "cgroup sb-7k2m9x", errno: 1)
        #expect(error.description == "bpf_link_create on cgroup sb-7k2m9x: Operation not permitted (EPERM)")
    }

    @Test func withoutErrnoSaysTheDetail() {
        #expect(KernelError(call: "recvmsg", errno: 0, detail: "truncated").description == "recvmsg: truncated")
    }

    @Test func unknownNumbersStayNumbers() {
        #expect(KernelError.describe(99999) == "errno 99999")
    }
}
