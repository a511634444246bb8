// swift-tools-version: 6.1
import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// Executables carry the Swift runtime: no file to find at run time, and half the start-up time. Only linking differs: the
// modules are the ones that tests use. The testing library is a shared one, and a test bundle may contain corrald, so the
// bundle is linked with CORRAL_LINK_TESTS=1, against the shared runtime.
func linked(_ how: String) -> [LinkerSetting] {
    Context.environment["CORRAL_LINK_TESTS"] == "1"
        ? []
        : [
            .unsafeFlags([
                how, "-Xlinker", "--start-group", "-lswiftSynchronization", "-lswift_StringProcessing",
                "-lswift_RegexParser", "-lCoreFoundation", "-l_FoundationICU", "-l_FoundationCShims",
                "-l_FoundationCollections", "-Xlinker", "--end-group",
            ])
        ]
}
let staticRuntime = linked("-static-stdlib")
// The C library too, for the client: loading four shared ones takes as long as connecting to corrald.
let staticProgram = linked("-static-executable")

let package = Package(
    name: "corral",
    products: [
        .executable(name: "corrald", targets: ["corrald"]),
        .executable(name: "corral", targets: ["corral"]),
        .executable(name: "corral-tls", targets: ["corral-tls"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // The contract with the BPF programs, and the one with corral-spawn and corral-init.
        .target(name: "CorralABI", path: "bpf/abi", publicHeadersPath: "."),
        .target(name: "CorralControl"),
        // What Swift cannot import from glibc, libbpf and libseccomp; also carries the embedded programs.
        .target(
            name: "CLinux",
            linkerSettings: ["seccomp", "bpf", "elf", "z", "lzma", "zstd"].map { .linkedLibrary(":lib\($0).a") }
        ),

        .target(
            name: "CorralPolicy",
            swiftSettings: swiftSettings
        ),
        // What CorralArchive needs of glibc and Swift's Glibc lacks; the client carries no more C than this.
        .target(name: "CFiles"),
        .target(
            name: "CorralArchive",
            dependencies: ["CFiles"],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "CorralEvents",
            dependencies: ["CorralABI", "CorralPolicy", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "CorralKernel",
            dependencies: ["CLinux", "CorralABI", "CorralControl", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "CorralEngine",
            dependencies: [
                "CorralArchive", "CorralEvents", "CorralKernel", "CorralPolicy",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "CorralAPI",
            dependencies: ["CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings
        ),
        // Apart, in a program of its own: no client pays for it but the one that is asked to.
        .target(
            name: "CorralTLS",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .executableTarget(
            name: "corral-tls", dependencies: ["CorralTLS"], swiftSettings: swiftSettings, linkerSettings: staticRuntime
        ),
        .target(
            name: "CorralServer",
            dependencies: [
                "CorralAPI", "CorralEngine", "CorralEvents", "CorralPolicy",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings
        ),
        .executableTarget(
            name: "corrald",
            dependencies: [
                "CorralAPI", "CorralEngine", "CorralPolicy", "CorralServer", "Yams",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings,
            linkerSettings: staticRuntime
        ),
        .executableTarget(
            name: "corral",
            dependencies: [
                "CorralAPI", "CorralArchive", "CorralEvents", "CorralPolicy",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftSettings,
            linkerSettings: staticProgram
        ),

        // Generators that more than one suite draws from.
        .target(
            name: "RandomPolicies", dependencies: ["CorralPolicy"], path: "Tests/RandomPolicies",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralKernelTests",
            dependencies: ["CLinux", "CorralABI", "CorralKernel", "CorralPolicy", "RandomPolicies"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralPolicyTests", dependencies: ["CorralPolicy", "RandomPolicies", "Yams"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralArchiveTests", dependencies: ["CFiles", "CorralArchive"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralEventsTests", dependencies: ["CorralABI", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralAPITests", dependencies: ["CorralAPI", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralCommandTests",
            dependencies: [
                "CorralAPI", "corral", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "CorralEngineTests",
            dependencies: ["CorralArchive", "CorralEngine", "CorralEvents", "CorralKernel", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralServerTests",
            dependencies: [
                "CorralAPI", "CorralEngine", "CorralEvents", "CorralPolicy", "CorralServer", "corral-tls", "Yams",
                "corrald",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings
        ),
    ]
)

// Tests/fuzz: CORRAL_FUZZ holds the path of libFuzzer. Our own modules are instrumented then, in a build directory of their own;
// but beside the tests they are the ones that the tests use.
if let fuzzer = Context.environment["CORRAL_FUZZ"], !fuzzer.isEmpty {
    let isInstrumented = Context.environment["CORRAL_LINK_TESTS"] != "1"
    if isInstrumented {
        for target in package.targets where target.swiftSettings != nil {
            target.swiftSettings?.append(.unsafeFlags(["-sanitize=address,fuzzer"]))
        }
    }
    package.targets += [
        .target(
            name: "FuzzDriver", path: "Tests/fuzz/driver",
            cSettings: isInstrumented ? [] : [.define("CORRAL_FUZZ_BARE")]
        ),
        .executableTarget(
            name: "corral-fuzz",
            dependencies: [
                "CorralAPI", "CorralArchive", "CorralEngine", "CorralEvents", "CorralKernel", "CorralPolicy",
                "CorralServer",
                "FuzzDriver",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            path: "Tests/fuzz/targets",
            swiftSettings: swiftSettings,
            linkerSettings: [
                .unsafeFlags((isInstrumented ? ["-sanitize=address"] : []) + ["-Xlinker", fuzzer]),
                .linkedLibrary("stdc++"),
            ]
        ),
    ]
}

// Tests/lab/crash.sh: named steps at which the daemon can be killed.
if Context.environment["CORRAL_CRASH_POINTS"] == "1" {
    for target in package.targets where target.swiftSettings != nil {
        target.swiftSettings?.append(.define("CORRAL_CRASH_POINTS"))
    }
}

// `make sanitize`: the rooms that need no package of a server, without the rest.
if Context.environment["CORRAL_INNER_ROOMS"] == "1" {
    let rooms: Set = [
        "CFiles", "CLinux", "CorralABI", "CorralAPI", "CorralArchive", "CorralControl", "CorralEvents", "CorralKernel",
        "CorralPolicy", "RandomPolicies", "CorralAPITests", "CorralArchiveTests", "CorralEventsTests",
        "CorralKernelTests", "CorralPolicyTests",
    ]
    package.products = []
    package.targets.removeAll { !rooms.contains($0.name) }
}
