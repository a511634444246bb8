#!/usr/bin/env python3
"""Makes the archives that the section `files` imports: make_images.py BUSYBOX DIRECTORY"""
import gzip, hashlib, io, json, os, subprocess, sys, tarfile

busybox, out = sys.argv[1], sys.argv[2]
arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def entry(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), 1700000000, 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(entries, format=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def directory(name, mode=0o755):
    return entry(name, type=tarfile.DIRTYPE, mode=mode)


def link(name, target, kind=tarfile.SYMTYPE):
    return entry(name, type=kind, linkname=target)


program = open(busybox, "rb").read()
libraries = [word for word in subprocess.run(["ldd", busybox], stdout=subprocess.PIPE, text=True).stdout.split()
             if word.startswith("/")]
tools = "sh cat ls id stat touch mkdir ln rm mv test env echo grep sleep true wc head dd pwd chmod find readlink".split()
base = [directory("bin"), entry("bin/busybox", program, mode=0o755), directory("etc"), directory("root", 0o700),
        directory("tmp", 0o1777), entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        entry("etc/motd", b"base\n"), link("etc/resolv.conf", "../run/nowhere/resolv.conf")]
base += [directory(name) for name in sorted({os.path.dirname(path)[1:] for path in libraries})]
base += [entry(path[1:], open(path, "rb").read(), mode=0o755) for path in libraries]
base += [link("bin/" + tool, "bin/busybox", tarfile.LNKTYPE) for tool in tools]
extras = [entry("etc/owned", b"x", uid=7, gid=8, mode=0o4755), entry("dev-null", type=tarfile.CHRTYPE),
          directory("d"), entry("d/one", b"1"), entry("d/two", b"2"), directory("gone"), entry("gone/file", b"g")]
capable = entry("bin/capable", b"x", mode=0o755)
capable[0].pax_headers = {"SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.note": "kept"}
layer0 = tar(base + extras + [capable])
layer1 = tar([entry("etc/motd", b"second\n"), directory("d"), entry("d/.wh..wh..opq"), entry("d/three", b"3"),
              entry(".wh.gone"), link("etc/motd2", "etc/motd", tarfile.LNKTYPE)])

write = lambda name, data: open(os.path.join(out, name), "wb").write(data)
write("rootfs.tar", layer0)
write("rootfs.tar.gz", gzip.compress(layer0, mtime=0))
for name, tool in (("xz", ["xz", "-T1", "-1", "-c"]), ("zst", ["zstd", "-q", "-c"])):
    try:
        write("rootfs.tar." + name, subprocess.run(tool, input=layer0, stdout=subprocess.PIPE, check=True).stdout)
    except FileNotFoundError:
        pass

config = json.dumps({
    "architecture": arch, "os": "linux",
    "config": {"Env": ["PATH=/bin", "COLOUR=green"], "WorkingDir": "/etc", "Entrypoint": ["sh", "-c"],
               "Cmd": ["cat motd; pwd; echo $COLOUR"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(layer0), "sha256:" + sha(layer1)]},
}).encode()


def oci(path, damage=None):
    blobs, os_dir = {}, os.path.join(path, "blobs/sha256")
    os.makedirs(os_dir)

    def blob(data, media):
        blobs[sha(data)] = data
        return {"mediaType": media, "digest": "sha256:" + sha(data), "size": len(data)}

    kind = "application/vnd.oci.image."
    layers = [blob(gzip.compress(layer0, mtime=0), kind + "layer.v1.tar+gzip"), blob(layer1, kind + "layer.v1.tar")]
    manifest = json.dumps({"schemaVersion": 2, "config": blob(config, kind + "config.v1+json"), "layers": layers}).encode()
    index = {"schemaVersion": 2, "manifests": [blob(manifest, kind + "manifest.v1+json")]}
    for digest, data in blobs.items():
        open(os.path.join(os_dir, digest), "wb").write(data)
    if damage:
        victim = os.path.join(os_dir, layers[1]["digest"][7:])
        data = bytearray(open(victim, "rb").read())
        data[600] ^= 1
        open(victim, "wb").write(data)
    open(os.path.join(path, "oci-layout"), "w").write('{"imageLayoutVersion":"1.0.0"}')
    json.dump(index, open(os.path.join(path, "index.json"), "w"))


oci(os.path.join(out, "oci"))
oci(os.path.join(out, "oci-damaged"), damage=True)
subprocess.run(["tar", "-C", os.path.join(out, "oci"), "-cf", os.path.join(out, "oci.tar"), "."], check=True)
saved = [entry(sha(config) + ".json", config), directory("l0"), entry("l0/layer.tar", layer0), directory("l1"),
         entry("l1/layer.tar", layer1), link("l1/again.tar", "../l1/layer.tar")]
write("docker.tar", tar(saved + [entry("manifest.json", json.dumps(
    [{"Config": sha(config) + ".json", "RepoTags": ["a:b"], "Layers": ["l0/layer.tar", "l1/again.tar"]}]).encode())]))

small = [entry("file", b"x")]
hostile = {
    "absolute": small + [entry("/etc/cron.d/x", b"x")],
    "dotdot": small + [entry("a/../../x", b"x")],
    "through-link": [link("door", "/tmp"), entry("door/corral-planted", b"x")],
    "hard-link-out": [link("stolen", "../../../etc/shadow", tarfile.LNKTYPE)],
    "owner": small + [entry("big", b"x", uid=70000)],
}
for name, entries in hostile.items():
    write("hostile-%s.tar" % name, tar(entries))
write("hostile-cut.tar", layer0[:len(layer0) // 2])
broken = bytearray(tar(small + [entry("second", b"y")]))
broken[1024] ^= 1
write("hostile-checksum.tar", bytes(broken))
write("hostile-gzip.tar", gzip.compress(layer0)[:-2000])
write("twin.tar", tar([directory("a"), entry("a/x", b"x"), link("door", "/tmp"), link("hard", "a/x", tarfile.LNKTYPE),
                       entry("big", b"x", uid=65535)]))
