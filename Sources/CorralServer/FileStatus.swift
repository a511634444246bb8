internal import Glibc

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// What `lstat` tells of a file. Read through Foundation, since several C modules of this build claim `struct stat`.
struct FileStatus {
    var isDirectory: Bool
    var isSocket: Bool
    var owner: UInt32
    var group: UInt32
    /// Permission bits, with set-id and sticky bits.
    var mode: UInt32

    /// Nil when there is no such file.
    init?(path: String, followingLinks: Bool = false) throws {
        let path = followingLinks ? Path.resolved(path) : path
        let attributes: [FileAttributeKey: Any]
        do {
            attributes = try FileManager.default.attributesOfItem(atPath: path)
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile || error.code == .fileNoSuchFile {
            return nil
        }
        func number(_ key: FileAttributeKey) throws -> UInt32 {
            // UInt, or NSNumber where all of Foundation is linked: their digits are the same.
            guard let value = attributes[key], let number = UInt32("\(value)") else {
                throw SystemCallError("lstat", path, errno: EINVAL)
            }
            return number
        }
        let type = attributes[.type] as? FileAttributeType
        isDirectory = type == .typeDirectory
        isSocket = type == .typeSocket
        owner = try number(.ownerAccountID)
        group = try number(.groupOwnerAccountID)
        mode = try number(.posixPermissions)
    }
}
