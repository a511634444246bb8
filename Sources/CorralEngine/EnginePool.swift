internal import CorralEvents
internal import CorralKernel
internal import Glibc

/// Sandboxes that nobody has used yet, and those that are on their way out.
extension Engine {
    func fill() {
        while !isStopping, let (image, layout) = warmPool.begin() {
            fills += 1
            Task {
                let made = try? await makeSandbox(image, layout, isUrgent: false)
                // After a failure it is tried again at a later round; a claim that needs one meets the error itself.
                let unwanted = warmPool.finish(image, made)
                fills -= 1
                if let unwanted { discard(unwanted) }
                if isStopping { warmPool.drain().forEach(discard) } else if made != nil { fill() }
            }
        }
    }

    /// A sandbox for a claim: one that waits, or else a new one. The pool holds what stands on nothing but the host's image.
    func takeSandbox(_ base: FileBase) async throws -> (WarmSandbox, isWarm: Bool) {
        guard base.isPlain else {
            warmPool.countOther(base.image)
            let made = try await makeSandbox(base.image, base.layout, binds: base.binds, isUrgent: true)
            return (made, false)
        }
        warmPool.use(base.image, base.layout).forEach(discard)
        while let ready = warmPool.take(base.image) {
            if host.provisioner.isIntact(ready) {
                warmPool.count(base.image, isWarm: true)
                return (ready, true)
            }
            host.report("sandbox \(ready.id) did not last in the pool")
            discard(ready)
        }
        warmPool.count(base.image, isWarm: false)
        return (try await makeSandbox(base.image, base.layout, isUrgent: true), false)
    }

    private func makeSandbox(
        _ image: String, _ layout: ImageLayout, binds: [SpawnRequest.Mount] = [], isUrgent: Bool
    ) async throws -> WarmSandbox {
        // One that is made takes some, for a while; those of the pool leave enough for callers.
        guard Descriptors.areLeft(isUrgent ? 24 : 64) else {
            throw EngineError(.exhausted, "no descriptor is left for another sandbox", detail: [Self.descriptorHint])
        }
        guard let slot = slots.take() else {
            throw EngineError(.exhausted, "no address is left in \(configuration.subnet)")
        }
        let identity = slots.identity(slot: slot, epoch: takeEpoch())
        let id = "sb-" + Self.randomText(6)
        let provisioner = host.provisioner
        let refusals: RefusalLog
        do {
            refusals = try RefusalLog(path: provisioner.refusalFile(of: id))
        } catch {
            slots.give(back: slot)
            throw EngineError("no sandbox could be made", because: error)
        }
        learn(identity, SandboxReference(id: id, name: id), refusals)
        do {
            return try await makers.run(isUrgent: isUrgent) {
                try provisioner.make(
                    id: id, identity: identity, refusals: refusals, image: image, layout: layout, binds: binds)
            }
        } catch {
            hub.forget(slot: slot)
            refusals.remove()
            slots.give(back: slot)
            throw EngineError("no sandbox could be made", because: error)
        }
    }

    static let descriptorHint =
        "\(KernelError.describe(EMFILE)): raise the limit of open files of corrald (LimitNOFILE), or end sandboxes"

    /// What the kernel tells of the slot from now on is this sandbox's.
    func learn(_ identity: SandboxIdentity, _ reference: SandboxReference, _ refusals: RefusalLog) {
        hub.learn(
            EventHub.Known(
                epoch: identity.epoch,
                context: DecisionContext(
                    sandbox: reference, bootTime: 0, uidBase: Provisioner.firstUID(of: identity.slot),
                    uidCount: Provisioner.uidCount),
                policies: [:], refusals: refusals),
            slot: identity.slot)
    }

    static func randomText(_ count: Int) -> String {
        let alphabet = Array("abcdefghijkmnpqrstuvwxyz23456789")
        return String((0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] })
    }

    /// In the background, together with others that end about now: the kernel takes networks apart under a lock that starts need
    /// too, some 30 ms for one or for many.
    func discard(_ sandbox: WarmSandbox) {
        pending += 1
        doomed.append(sandbox)
        if doomed.count >= Self.mostInBatch || isStopping { return destroyDoomed() }
        guard !isGathering else { return }
        isGathering = true
        Task {
            try? await Task.sleep(for: Self.gathering)
            isGathering = false
            destroyDoomed()
        }
    }

    /// What could not be destroyed, for want of descriptors perhaps. To be called now and then.
    func retryDestroying() {
        for case .waiting(let sandbox) in undestroyed.values {
            undestroyed[sandbox.id] = .beingDestroyed
            discard(sandbox)
        }
    }

    /// A sandbox that could not be destroyed.
    enum Undestroyed {
        case waiting(WarmSandbox)
        /// Once more.
        case beingDestroyed
    }

    private static let gathering = Duration.milliseconds(100)
    /// Batches of one call of the provisioner, and how many calls at once: one that has to wait for a process delays no other.
    private static let mostInBatch = 64
    private static let mostBatches = 2

    private func destroyDoomed() {
        guard batches < Self.mostBatches, !doomed.isEmpty else { return }
        batches += 1
        let batch = Array(doomed.prefix(Self.mostInBatch))
        doomed.removeFirst(batch.count)
        let provisioner = host.provisioner
        Task {
            let failures = (try? await destroying.run { provisioner.destroy(batch) }) ?? [:]
            for sandbox in batch {
                if let error = failures[sandbox.id] {
                    // The slot stays taken: something of the old tenant may live on.
                    if undestroyed[sandbox.id] == nil {
                        host.report("sandbox \(sandbox.id) could not be destroyed, trying again: \(error)")
                    }
                    undestroyed[sandbox.id] = .waiting(sandbox)
                } else {
                    undestroyed[sandbox.id] = nil
                    await endTrace(of: sandbox)
                    slots.give(back: sandbox.identity.slot)
                }
                hub.forget(slot: sandbox.identity.slot)
            }
            pending -= batch.count
            batches -= 1
            destroyDoomed()
        }
    }

    public func pool() async -> PoolState {
        var inUse: [String: Int] = [:]
        for sandbox in live.values { inUse[sandbox.image, default: 0] += 1 }
        let others = warmPool.otherColdStarts
        let shapes = Set(warmPool.shapes.keys).union(others.keys).sorted().map { image in
            let shape = warmPool.shapes[image]
            return PoolState.Shape(
                image: image, warm: shape?.warm.count ?? 0, filling: shape?.filling ?? 0, inUse: inUse[image] ?? 0,
                warmStarts: shape?.warmStarts ?? 0, coldStarts: (shape?.coldStarts ?? 0) + (others[image] ?? 0))
        }
        return PoolState(
            target: warmPool.target, low: warmPool.low, shapes: shapes, inUse: live.count, destroying: pending,
            warm: StartTimes(warmTimes), cold: StartTimes(coldTimes))
    }
}
