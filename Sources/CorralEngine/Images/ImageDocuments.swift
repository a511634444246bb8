internal import CorralArchive
internal import CorralEvents
internal import CorralKernel
internal import FoundationEssentials
internal import Glibc

/// Documents of the OCI image format (image-spec 1.1), as far as an import needs them.
struct OCIDescriptor: Decodable {
    struct Platform: Decodable {
        var architecture: String
        var os: String
    }

    var mediaType: String?
    var digest: String
    var size: UInt64
    var platform: Platform?
}

struct OCIIndex: Decodable {
    var manifests: [OCIDescriptor]
}

struct OCIManifest: Decodable {
    var config: OCIDescriptor
    var layers: [OCIDescriptor]
}

/// Docker's configuration file has the same fields.
struct OCIConfiguration: Decodable {
    struct Process: Decodable {
        var environment: [String]?
        var entrypoint: [String]?
        var command: [String]?
        var workingDirectory: String?
        var user: String?

        enum CodingKeys: String, CodingKey {
            case environment = "Env"
            case entrypoint = "Entrypoint"
            case command = "Cmd"
            case workingDirectory = "WorkingDir"
            case user = "User"
        }
    }

    struct RootFS: Decodable {
        var layerDigests: [String]

        enum CodingKeys: String, CodingKey {
            case layerDigests = "diff_ids"
        }
    }

    var architecture: String?
    var os: String?
    var config: Process?
    var rootfs: RootFS
}

/// `manifest.json` of `docker save`: one entry an image.
struct DockerManifestEntry: Decodable {
    var configuration: String
    var layers: [String]

    enum CodingKeys: String, CodingKey {
        case configuration = "Config"
        case layers = "Layers"
    }
}

/// Files of an image archive that has been unpacked: hostile still, so that nothing is found outside of it.
struct ImageArchiveFiles {
    let root: Handle
    /// Bytes of one document.
    private static let documentLimit = 4 << 20

    func exists(_ path: String) -> Bool { (try? open(path)) != nil }

    func open(_ path: String) throws -> Handle {
        let file: Handle
        do throws(KernelError) {
            file = Handle(
                owning: try Disk.open(path, beneath: root.descriptor, O_RDONLY | O_NONBLOCK | O_NOCTTY))
        } catch {
            throw ArchiveError(
                .malformed, entry: path,
                error.errno == ENOENT ? "is missing from the image" : "cannot be read: \(error)")
        }
        var status = stat()
        guard fstat(file.descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw ArchiveError(.malformed, entry: path, "is no file")
        }
        return file
    }

    /// A document and its digest.
    func read(_ path: String) throws -> (bytes: [UInt8], digest: Digest) {
        let file = try open(path)
        let source = HashingSource(DescriptorSource(file.descriptor))
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = try piece.withUnsafeMutableBytes { try source.read(into: $0) }
            if count == 0 { return (bytes, source.digest) }
            bytes += piece[..<count]
            guard bytes.count <= Self.documentLimit else {
                throw ArchiveError(.limit, entry: path, "is larger than \(Self.documentLimit) bytes")
            }
        }
    }

    func document<Document: Decodable>(_ type: Document.Type, _ path: String, _ bytes: [UInt8]) throws -> Document {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw ArchiveError(.malformed, entry: path, "is not the document it should be")
        }
    }

    /// Where a blob lies. Throws for a digest of another algorithm.
    func path(of descriptor: OCIDescriptor) throws -> (path: String, digest: Digest) {
        guard let digest = Digest(descriptor.digest) else {
            throw ArchiveError(
                .refused, "\"\(TerminalText.neutralised(String(descriptor.digest.prefix(100))))\" is no SHA-256 digest")
        }
        return ("blobs/sha256/\(digest.hexadecimal)", digest)
    }

    /// A blob that is a document, checked against its descriptor.
    func blob<Document: Decodable>(_ type: Document.Type, _ descriptor: OCIDescriptor) throws -> Document {
        let (path, wanted) = try path(of: descriptor)
        let (bytes, digest) = try read(path)
        guard digest == wanted, UInt64(bytes.count) == descriptor.size else {
            throw ArchiveError(.malformed, entry: path, "has another digest or size than its descriptor says")
        }
        return try document(type, path, bytes)
    }
}
