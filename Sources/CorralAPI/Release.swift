/// This build of Corral.
public enum Release {
    /// Semantic version, printed by every program.
    public static let version = "0.1.0"
}
