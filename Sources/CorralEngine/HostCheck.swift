/// One line of `corral doctor`.
public struct HostCheck: Sendable, Equatable {
    public enum Answer: Sendable {
        case yes
        case no
        case couldNotTell
    }

    public var feature: String
    public var answer: Answer
    /// What was seen.
    public var detail: String
    /// What is lost without it; nil when nothing is.
    public var without: String?
    /// What to do about it; nil when nothing is to be done.
    public var remedy: String?
    /// Sandboxes do not work as they should without it.
    public var isNeeded: Bool

    public init(
        feature: String, answer: Answer, detail: String, without: String? = nil, remedy: String? = nil,
        isNeeded: Bool = false
    ) {
        self.feature = feature
        self.answer = answer
        self.detail = detail
        self.without = without
        self.remedy = remedy
        self.isNeeded = isNeeded
    }
}
