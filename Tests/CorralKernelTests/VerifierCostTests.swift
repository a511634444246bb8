import CorralPolicy
import Glibc
import Testing

@testable import CorralKernel

/// How much of each program the verifier has to walk through. A kernel gives up at a million instructions, and the count of one
/// and the same program differs from kernel to kernel: what stays below its ceiling here has room on the next.
@Suite struct VerifierCostTests {
    /// Beside the tests' directory or, where that is not, below the working directory.
    private static let ceilings = "Tests/vm/verifier.ceilings"

    @Test(.enabled(if: VerdictTests.canRun, "needs root"))
    func noProgramCostsMoreThanItsCeiling() throws {
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        let instance = "verifier-test-\(getpid())"
        defer { try? PinDirectory.remove(instance) }
        let programs = try BpfPrograms(directory: PinDirectory.make(instance))
        var remaining = try Self.read()
        var objects = programs.loaded + [try programs.loadTrace()]
        let lsm = LsmHooks(programs: programs)
        let paths = PathHooks(programs: programs, lsm: lsm)
        if let object = lsm.object {
            objects.append(object)
            try paths.require()
            objects.append(try #require(paths.object))
        } else {
            remaining = remaining.filter { !$0.key.hasPrefix("lsm/") && !$0.key.hasPrefix("files/") }
        }
        for object in objects {
            for program in object.programNames {
                let name = "\(object.name)/\(program)"
                let count = try object.verifiedInstructions(program)
                print("verified \(name) \(count)")
                #expect(count > 0, "\(name): the kernel does not count")
                guard let ceiling = remaining.removeValue(forKey: name) else {
                    Issue.record("\(name) has no line in \(Self.ceilings)")
                    continue
                }
                #expect(count <= ceiling, "\(name): \(count) instructions, more than the ceiling of \(ceiling)")
            }
        }
        #expect(remaining.isEmpty, "\(Self.ceilings) names what is no program")
    }

    /// OBJECT/PROGRAM CEILING, one a line; # begins a comment.
    private static func read() throws -> [String: UInt32] {
        let beside = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/" + ceilings
        let path = access(ceilings, R_OK) == 0 ? ceilings : beside
        let text = try #require(try? CgroupFile.read(path), "\(path) cannot be read")
        var result: [String: UInt32] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let fields = line.split(separator: " ")
            try #require(fields.count == 2, "\(path): \(line)")
            let ceiling = UInt32(fields[1])
            result[String(fields[0])] = try #require(ceiling, "\(path): \(line)")
        }
        return result
    }
}
