@testable import CorralEngine
@testable import CorralKernel
internal import Glibc

enum StateTargets {
    /// A directory of this process in memory; the caller of the program removes it.
    static let scratch: String = {
        let base = getenv("CORRAL_FUZZ_SCRATCH").map { String(cString: $0) } ?? "/dev/shm"
        let path = "\(base)/corral-fuzz-\(getpid())"
        mkdir(path, 0o700)
        return path
    }()

    private static let store = EnforcementStore(stateDirectory: scratch)

    /// `enforced.json`.
    static let state: Fuzz.Target = { bytes in
        do {
            try? Files.removeTree(store.path)
            try Files.write(store.path, bytes, mode: 0o600)
        } catch {
            fatalError("broken: \(error)")
        }
        do {
            let records = try store.load()
            try store.save(records)
            Fuzz.require(try store.load() == records, "what is read is written and read again")
        } catch let error as EngineError {
            Fuzz.require(error.message.hasPrefix(store.path), "an error names its file")
        } catch {
            fatalError("broken: \(error)")
        }
    }

    /// A message of corral-init, and the descriptors it brought: the first byte, of 0 to 5.
    static let control: Fuzz.Target = { bytes in
        guard let count = bytes.first else { return }
        let descriptors = (0..<count % 6).map { _ in
            SharedDescriptor(FileDescriptor(owning: open("/dev/null", O_RDONLY | O_CLOEXEC)))
        }
        guard let message = try? ReceivedMessage(Array(bytes.dropFirst()), descriptors, named: "corral-init"),
            let read = try? InitChannel.decode(message)
        else { return }
        // One is a terminal, two the outputs, three the input besides.
        if case .started(_, let pid, let stdin, _, let stderr) = read {
            Fuzz.require(
                pid > 0 && (1...3).contains(descriptors.count) && (stdin != nil) == (descriptors.count != 2)
                    && (stderr != nil) == (descriptors.count != 1), "a start has its streams")
        }
    }
}
