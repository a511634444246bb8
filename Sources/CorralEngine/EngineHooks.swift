internal import CorralKernel

/// Anybody who may configure the host's interfaces can take filters off a veth; what then has none is ended.
extension Engine {
    /// Sandboxes asked about in a second.
    private static let mostVerified = 64

    /// Asks of the veth hooks of some sandboxes, warm and in use, in turn.
    func watchHooks() async {
        let all = (live.values.filter { $0.aliveSince != nil }.map(\.warm) + warmPool.shapes.values.flatMap(\.warm))
            .sorted { $0.id < $1.id }
        guard !all.isEmpty else { return }
        let looks = (0..<min(all.count, Self.mostVerified)).map { all[(nextVerified + $0) % all.count] }
        nextVerified = (nextVerified + looks.count) % all.count
        let hooks = host.provisioner.hooks
        let found = try? await watching.run {
            looks.compactMap { sandbox -> (WarmSandbox, KernelError)? in
                do throws(KernelError) {
                    try hooks.verifyFrames(name: sandbox.id, ifindex: sandbox.ifindex)
                    return nil
                } catch {
                    // It could not be asked, which is no answer; it is asked again.
                    return error.isShortage ? nil : (sandbox, error)
                }
            }
        }
        for (sandbox, error) in found ?? [] {
            if warmPool.remove(sandbox) {
                discard(sandbox)
            } else if let used = live[sandbox.id], used.warm === sandbox, !used.isBeingDestroyed {
                end(used, cause: .signalled)
            } else {
                // It was on its way out.
                continue
            }
            host.report("sandbox \(sandbox.id) has lost a hook and is ended: \(error)")
        }
    }
}
