import CorralPolicy
import Testing

@Suite struct FilesTests {
    @Test(arguments: ["host", "python", "team/python:3.12", "a.b-c_d", "3", "x:Latest", "x:_1"])
    func namesOfImagesAreTaken(name: String) {
        #expect(ImageName.isValid(name))
    }

    @Test(arguments: [
        "", "Python", "/a", "a/", "a//b", "a/../b", "..", ".", "a:", "a:b:c", "a b", "a\n", "a:-b", "é", "-a",
    ])
    func whatIsNoNameOfAnImageIsRefused(name: String) {
        #expect(!ImageName.isValid(name))
    }

    @Test func longNamesAreRefused() {
        #expect(ImageName.isValid(String(repeating: "a", count: 128)))
        #expect(!ImageName.isValid(String(repeating: "a", count: 129)))
    }

    @Test func mountsAreReadOnlyUnlessTheySayOtherwise() throws {
        let policy = try Policy(
            yaml: """
                apiVersion: corral/v1
                name: files
                files:
                  image: team/python:3
                  mounts:
                    - { source: /srv/data, target: /data }
                    - { source: /srv/out, target: /out, readOnly: false }
                """, file: "p")
        #expect(policy.files.image == "team/python:3")
        #expect(
            policy.files.mounts == [
                .init(source: "/srv/data", target: "/data", readOnly: true),
                .init(source: "/srv/out", target: "/out", readOnly: false),
            ])
    }

    @Test func aPolicyHasFewMounts() {
        func policy(_ count: Int) -> String {
            "apiVersion: corral/v1\nname: m\nfiles:\n  mounts:\n"
                + (0..<count).map { "    - { source: /a\($0), target: /b\($0) }\n" }.joined()
        }
        #expect(throws: Never.self) { try Policy(yaml: policy(Policy.Files.Mount.maximum), file: "p") }
        #expect(throws: PolicyError.self) { try Policy(yaml: policy(Policy.Files.Mount.maximum + 1), file: "p") }
    }

    @Test(arguments: ["/a", "/a/b c", "/a/..b", "/é"])
    func pathsOfMountsAreTaken(path: String) { #expect(Policy.Files.Mount.isPath(path)) }

    @Test(arguments: ["", "/", "a", "/a/", "//a", "/a//b", "/a/.", "/a/../b", "/a\0b"])
    func otherPathsOfMountsAreRefused(path: String) { #expect(!Policy.Files.Mount.isPath(path)) }
}
