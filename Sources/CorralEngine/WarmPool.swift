/// Sandboxes that nobody has used yet, by the image that they were made from: what else is in a policy is settled at the claim.
struct WarmPool {
    struct Shape {
        /// What its sandboxes are made from now.
        var layout: ImageLayout
        var warm: [WarmSandbox] = []
        /// Being made.
        var filling = 0
        /// Below the low mark, and not yet at the high one again.
        var isRefilling = true
        var warmStarts: UInt64 = 0
        var coldStarts: UInt64 = 0
        var lastUse = ContinuousClock.now
        /// After a failure.
        var resumes: ContinuousClock.Instant?
    }

    /// High mark: sandboxes that a shape holds when it is full.
    let target: Int
    /// Refilling begins below it.
    let low: Int
    /// Sandboxes made for the pool in a second, at most.
    let rate: Int
    /// Those made at the same time.
    let width: Int
    var shapes: [String: Shape] = [:]
    /// By image.
    private(set) var otherColdStarts: [String: UInt64] = [:]
    private var allowance: Double
    private var counted = ContinuousClock.now

    /// Without a claim for so long, a shape is given up; the image `host` stays.
    static let idleTime = Duration.seconds(600)
    private static let pauseAfterFailure = Duration.milliseconds(200)

    init(target: Int, low: Int?, rate: Int, width: Int) {
        self.target = target
        self.low = min(low ?? target, target)
        self.rate = max(1, rate)
        self.width = max(1, width)
        allowance = Double(max(1, rate)) / 4
    }

    var filling: Int { shapes.values.reduce(0) { $0 + $1.filling } }
    var warm: Int { shapes.values.reduce(0) { $0 + $1.warm.count } }

    /// The image is used, and is there now. Returns those that were made from what it was before.
    mutating func use(_ image: String, _ layout: ImageLayout) -> [WarmSandbox] {
        guard var shape = shapes[image] else {
            shapes[image] = Shape(layout: layout)
            return []
        }
        shape.lastUse = .now
        var stale: [WarmSandbox] = []
        if shape.layout != layout {
            shape.layout = layout
            stale = shape.warm
            shape.warm = []
        }
        shapes[image] = shape
        return stale
    }

    mutating func take(_ image: String) -> WarmSandbox? { shapes[image]?.warm.popLast() }

    /// Takes one out that cannot be handed out any more; false when it is not there now.
    mutating func remove(_ sandbox: WarmSandbox) -> Bool {
        guard let index = shapes[sandbox.image]?.warm.firstIndex(where: { $0 === sandbox }) else { return false }
        shapes[sandbox.image]?.warm.remove(at: index)
        return true
    }

    /// A start from what no pool holds: an image, a snapshot, mounts.
    mutating func countOther(_ image: String) { otherColdStarts[image, default: 0] += 1 }

    mutating func count(_ image: String, isWarm: Bool) {
        if isWarm { shapes[image]?.warmStarts += 1 } else { shapes[image]?.coldStarts += 1 }
    }

    /// Forgets an image. Returns its sandboxes.
    mutating func drop(_ image: String) -> [WarmSandbox] { shapes.removeValue(forKey: image)?.warm ?? [] }

    /// All sandboxes; none is made any more.
    mutating func drain() -> [WarmSandbox] {
        defer { for image in shapes.keys { shapes[image]?.warm = [] } }
        return shapes.values.flatMap(\.warm)
    }

    mutating func dropIdle(keeping kept: String) -> [WarmSandbox] {
        shapes.filter { $0.key != kept && $0.value.filling == 0 && $0.value.lastUse + Self.idleTime < .now }.keys
            .flatMap { drop($0) }
    }

    /// What to make next, which then counts as being made; nil when nothing is missing or it is not time yet.
    mutating func begin() -> (image: String, layout: ImageLayout)? {
        let now = ContinuousClock.now
        let (seconds, attoseconds) = (now - counted).components
        counted = now
        allowance = min(
            max(1, Double(rate) / 4), allowance + (Double(seconds) + Double(attoseconds) / 1e18) * Double(rate))
        guard allowance >= 1, filling < width else { return nil }
        // The one that lacks most.
        var chosen: String?
        var most = 0
        for (image, shape) in shapes where shape.resumes.map({ $0 <= now }) ?? true {
            let held = shape.warm.count + shape.filling
            if held >= target {
                shapes[image]?.isRefilling = false
            } else if held < low {
                shapes[image]?.isRefilling = true
            }
            guard held < target, shape.isRefilling || held < low, target - held > most else { continue }
            (chosen, most) = (image, target - held)
        }
        guard let chosen, let layout = shapes[chosen]?.layout else { return nil }
        allowance -= 1
        shapes[chosen]?.filling += 1
        return (chosen, layout)
    }

    /// Returns the sandbox when it is not wanted any more.
    mutating func finish(_ image: String, _ made: WarmSandbox?) -> WarmSandbox? {
        guard shapes[image] != nil else { return made }
        shapes[image]?.filling -= 1
        guard let made else {
            shapes[image]?.resumes = .now + Self.pauseAfterFailure
            return nil
        }
        shapes[image]?.resumes = nil
        guard shapes[image]?.layout == made.layout else { return made }
        shapes[image]?.warm.append(made)
        return nil
    }
}
