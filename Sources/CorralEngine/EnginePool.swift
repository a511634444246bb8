internal import CorralEvents
internal import CorralKernel

/// Sandboxes that nobody has used yet, and those that are on their way out.
extension Engine {
    func fill() {
        while !isStopping && warm.count + filling < configuration.poolSize {
            filling += 1
            Task {
                do {
                    let sandbox = try await makeSandbox()
                    filling -= 1
                    if isStopping { discard(sandbox) } else { warm.append(sandbox) }
                } catch {
                    // Tried again at the next round; a claim that needs one meets the error itself.
                    await pause(milliseconds: 200)
                    filling -= 1
                }
            }
        }
    }

    func makeSandbox(
        _ layout: ImageLayout? = nil, binds: [SpawnRequest.Mount] = []
    ) async throws -> WarmSandbox {
        guard let slot = slots.take() else {
            throw EngineError(.exhausted, "no address is left in \(configuration.subnet)")
        }
        epoch += 1
        let identity = slots.identity(slot: slot, epoch: epoch)
        let id = "sb-" + Self.randomText(6)
        let provisioner = host.provisioner
        let layout = layout ?? provisioner.image
        let refusals: RefusalLog
        do {
            refusals = try RefusalLog(path: provisioner.refusalFile(of: id))
        } catch {
            slots.give(back: slot)
            throw EngineError(.internal, "no sandbox could be made", detail: ["\(error)"])
        }
        hub.learn(
            EventHub.Known(
                epoch: epoch,
                context: DecisionContext(
                    sandbox: SandboxReference(id: id, name: id), bootTime: 0,
                    uidBase: Provisioner.firstUID(of: slot), uidCount: Provisioner.uidCount
                ),
                policies: [:], refusals: refusals
            ),
            slot: slot
        )
        do {
            return try await making.run {
                try provisioner.make(
                    id: id, identity: identity, refusals: refusals, layout: layout, binds: binds)
            }
        } catch {
            hub.forget(slot: slot)
            refusals.remove()
            slots.give(back: slot)
            throw EngineError(.internal, "no sandbox could be made", detail: ["\(error)"])
        }
    }

    static func randomText(_ count: Int) -> String {
        let alphabet = Array("abcdefghijkmnpqrstuvwxyz23456789")
        return String((0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] })
    }

    func discard(_ sandbox: WarmSandbox) {
        pending += 1
        let provisioner = host.provisioner
        Task {
            do {
                try await destroying.run { try provisioner.destroy(sandbox) }
                await endTrace(of: sandbox)
                slots.give(back: sandbox.identity.slot)
            } catch {
                // The slot stays taken: something of the old tenant may live on.
                host.report("sandbox \(sandbox.id) could not be destroyed: \(error)")
            }
            hub.forget(slot: sandbox.identity.slot)
            pending -= 1
        }
    }

    public func pool() async -> PoolState {
        PoolState(
            target: configuration.poolSize, warm: warm.count, filling: filling, inUse: live.count,
            coldStarts: coldStarts,
            warmStarts: warmStarts
        )
    }
}
