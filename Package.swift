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
let staticRuntime: [LinkerSetting] =
    Context.environment["CORRAL_LINK_TESTS"] == "1"
    ? []
    : [
        .unsafeFlags([
            "-static-stdlib", "-Xlinker", "--start-group", "-lswiftSynchronization", "-lswift_StringProcessing",
            "-lswift_RegexParser", "-lCoreFoundation", "-l_FoundationICU", "-l_FoundationCShims",
            "-l_FoundationCollections", "-Xlinker", "--end-group",
        ])
    ]

let package = Package(
    name: "corral",
    products: [
        .executable(name: "corrald", targets: ["corrald"]),
        .executable(name: "corral", targets: ["corral"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
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
            linkerSettings: ["seccomp", "bpf", "elf", "z"].map { .linkedLibrary(":lib\($0).a") }
        ),

        .target(
            name: "CorralPolicy",
            swiftSettings: swiftSettings
        ),
        .target(
            name: "CorralEvents",
            dependencies: ["CorralABI", "CorralPolicy"],
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
                "CorralEvents", "CorralKernel", "CorralPolicy",
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
                "CorralAPI", "CorralEvents", "CorralPolicy",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftSettings,
            linkerSettings: staticRuntime
        ),

        // Generators that more than one suite draws from.
        .target(
            name: "RandomPolicies", dependencies: ["CorralPolicy"], path: "Tests/RandomPolicies",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralKernelTests", dependencies: ["CLinux", "CorralABI", "CorralKernel", "CorralPolicy", "RandomPolicies"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralPolicyTests", dependencies: ["CorralPolicy", "RandomPolicies", "Yams"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralEventsTests", dependencies: ["CorralABI", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralAPITests", dependencies: ["CorralAPI", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralEngineTests", dependencies: ["CorralEngine", "CorralEvents", "CorralPolicy"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CorralServerTests",
            dependencies: [
                "CorralAPI", "CorralEngine", "CorralEvents", "CorralPolicy", "CorralServer", "Yams", "corrald",
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
