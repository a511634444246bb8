import CorralPolicy
import Logging
import Testing

@testable import corrald

@Suite struct DaemonConfigurationTests {
    private func flags(_ values: [SettingKey: String]) -> Settings {
        var settings: Settings = [:]
        for (key, value) in values { settings[key] = Setting(key: key, value: value, origin: "--\(key.rawValue)") }
        return settings
    }

    @Test func defaultsAreTheDocumentedOnes() throws {
        let settings = try DaemonConfiguration(flags: [:], file: [:])
        #expect(settings.instance == "default")
        #expect(settings.stateDirectory == "/var/lib/corral/default")
        #expect(settings.socketPath == "/run/corral/corral.sock")
        #expect(settings.subnet.description == "10.213.0.0/16")
        #expect(settings.subnet6.description == "fdc0:44a1:213::/64")
        #expect(settings.pool == 8)
        #expect(settings.logLevel == .info)
        #expect(settings.logFormat == .text)
        #expect(!settings.allowTestSwitches)
    }

    @Test func aFlagWinsOverTheFileAndTheFileOverTheDefault() throws {
        let file = try ConfigurationFile.parse("pool: 3\nrun-dir: /run/a/\nlog-format: json\n", file: "c.yaml")
        let settings = try DaemonConfiguration(flags: flags([.pool: "5"]), file: file)
        #expect(settings.pool == 5)
        #expect(settings.runDirectory == "/run/a")
        #expect(settings.logFormat == .json)
        #expect(settings.instance == "default")
    }

    @Test func anEmptyFileSetsNothing() throws {
        for text in ["", "\n", "# nothing\n", "---\n", "null\n"] {
            #expect(try ConfigurationFile.parse(text, file: "c.yaml").isEmpty, "\(text)")
        }
    }

    @Test(arguments: [
        ("pool: 3\nsubnett: x\n", "c.yaml:2: unknown setting \"subnett\""),
        ("pool: 3\npool: 4\n", "c.yaml"),
        ("- a\n", "c.yaml:1: expected a mapping"),
        ("pool: [1]\n", "c.yaml:1: pool: expected one value"),
        ("pool: {\n", "c.yaml"),
        ("a: &a [*a]\n", "c.yaml"),
        ("? [x]\n: y\n", "c.yaml:1: unknown setting"),
    ])
    func aBadFileIsRefusedWithItsPlace(text: String, message: String) throws {
        let error = #expect(throws: SettingError.self) { try ConfigurationFile.parse(text, file: "c.yaml") }
        #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "")")
    }

    @Test(arguments: [
        (SettingKey.instance, ["a", "web-1", "abcdefghijklmnop"], ["", "A", "a_b", "a/b", "abcdefghijklmnopq", "é"]),
        (.stateDirectory, ["/a", "/a/b/"], ["", "a", "/", "//", "/a/../b", "/./a"]),
        (
            .subnet, ["10.0.0.0/16", "10.213.0.0/28"],
            ["10.0.0.0/8", "10.0.0.0/29", "10.0.0.1/16", "10.0.0.0", "::/16", "x", "10.0.0.0/-1"]
        ),
        (
            .subnet6, ["fd00::/64", "fdc0:1::/112"],
            ["fd00::/48", "fd00::/113", "2001:db8::/64", "10.0.0.0/16", "fd00::1/64"]
        ),
        (.pool, ["0", "16384"], ["-1", "16385", "x", "", "99999999999999999999"]),
        (.poolLow, ["", "0", "8"], ["-1", "9", "x"]), (.poolRate, ["1", "10000"], ["0", "10001", ""]),
        (.logLevel, ["trace", "critical"], ["loud", ""]),
        (.logFormat, ["text", "json"], ["xml", "JSON"]),
    ])
    func valuesOutsideTheirRangeAreRefused(key: SettingKey, good: [String], bad: [String]) throws {
        for value in good { _ = try DaemonConfiguration(flags: flags([key: value]), file: [:]) }
        for value in bad {
            let error = #expect(throws: SettingError.self) {
                try DaemonConfiguration(flags: flags([key: value]), file: [:])
            }
            #expect(error?.description.hasPrefix("--\(key.rawValue): \"\(value)\" is not ") == true)
        }
    }

    @Test func aFileThatIsNotThereIsNamed() {
        let error = #expect(throws: SettingError.self) { try ConfigurationFile.read("/nonexistent/c.yaml") }
        #expect(error?.description == "/nonexistent/c.yaml: No such file or directory")
    }

    @Test func theExampleFileHoldsTheDefaults() throws {
        let path = #filePath.replacing(
            "Tests/CorralServerTests/DaemonConfigurationTests.swift", with: "packaging/corrald.yaml")
        let file = try ConfigurationFile.read(path)
        #expect(Set(file.keys) == Set(SettingKey.allCases))
        #expect(try DaemonConfiguration(flags: [:], file: file) == DaemonConfiguration(flags: [:], file: [:]))
    }
}
