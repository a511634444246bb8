internal import Glibc
internal import Yams

/// The file of `--config`: a YAML mapping from the long flags' names to their values.
enum ConfigurationFile {
    /// Bytes; a file of eight settings has no reason to come near.
    private static let sizeLimit = 64 << 10

    static func read(_ path: String) throws(SettingError) -> Settings {
        guard let file = fopen(path, "re") else {
            throw SettingError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: sizeLimit + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else { throw SettingError("\(path): cannot be read") }
        guard count <= sizeLimit else { throw SettingError("\(path): larger than \(sizeLimit) bytes") }
        guard let text = String(validating: bytes.prefix(count), as: UTF8.self) else {
            throw SettingError("\(path): no UTF-8")
        }
        return try parse(text, file: path)
    }

    /// An empty file sets nothing.
    static func parse(_ text: String, file: String) throws(SettingError) -> Settings {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw SettingError("\(file): \(error)")
        }
        guard let root, root.null == nil else { return [:] }
        guard let mapping = root.mapping else {
            throw SettingError("\(file):\(line(of: root)): expected a mapping of settings")
        }
        var settings: Settings = [:]
        for (keyNode, valueNode) in mapping {
            let place = "\(file):\(line(of: keyNode))"
            guard let name = keyNode.scalar?.string, let key = SettingKey(rawValue: name) else {
                throw SettingError(
                    "\(place): unknown setting \"\(keyNode.scalar?.string ?? "?")\"; expected one of "
                        + SettingKey.allCases.map(\.rawValue).joined(separator: ", ")
                )
            }
            guard settings[key] == nil else { throw SettingError("\(place): \(name) is set twice") }
            guard let value = valueNode.scalar?.string else {
                throw SettingError("\(place): \(name): expected one value")
            }
            settings[key] = Setting(key: key, value: value, origin: place)
        }
        return settings
    }

    private static func line(of node: Node) -> Int { node.mark?.line ?? 1 }
}
