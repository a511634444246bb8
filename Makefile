# Corral. `make demo` shows it, `make test` proves it; both need root and a kernel with BTF.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

SWIFT ?= swift
PACKAGES := libbpf-dev libelf-dev zlib1g-dev liblzma-dev libzstd-dev libseccomp-dev musl-tools gcc libc6-dev linux-libc-dev iproute2 nftables \
	curl ca-certificates util-linux procps
# Manual pages, stripping, and the Debian package; nothing of it is needed at run time.
PACKAGING_PACKAGES := python3 binutils dpkg-dev
# What the tests run inside sandboxes and beside them.
TEST_PACKAGES := openssl dnsmasq-base bind9-dnsutils busybox $(PACKAGING_PACKAGES) adduser strace git

# The compiler beside `swift` targets BPF; an unversioned clang on the PATH may be any other. Debian's serves as a substitute.
SWIFT_BIN := $(shell dirname "$$(readlink -f "$$(command -v $(SWIFT))")" 2>/dev/null)
CLANG := $(firstword $(wildcard $(SWIFT_BIN)/clang) $(shell command -v clang-19 clang-16 clang-14))
OBJCOPY := $(firstword $(wildcard $(SWIFT_BIN)/llvm-objcopy) $(shell command -v llvm-objcopy-19 llvm-objcopy-16 llvm-objcopy-14))
MULTIARCH := $(shell gcc -print-multiarch 2>/dev/null)

# One set of flags for everything that is built, so that tests run the code that users get and nothing is built twice.
# - Dead-store elimination on SIL is off: in Swift 6.3 it drops stores to a local tuple that is then read through
#   withUnsafeBytes(of:), which is how fixed-size C arrays are read. CompilerCanaryTests fails when this flag is lost.
# - A position-dependent executable needs no relocation at start-up, which `corral run` would pay for each time.
# - Tests reach internal declarations. (Package.swift asks for the static runtime, and says why not here.)
SWIFT_FLAGS := -c release -Xlinker -no-pie -Xswiftc -enable-testing \
	-Xswiftc -Xllvm -Xswiftc -sil-disable-pass=dead-store-elimination
export CORRAL_SWIFT_FLAGS := $(SWIFT_FLAGS)

BPF_ARCH := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86)
BPF_FLAGS := -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -mcpu=v3 -O2 -g -Wall -Werror -Ibpf $(if $(MULTIARCH),-I/usr/include/$(MULTIARCH))
MUSL_FLAGS := -static -s -Os -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -ffunction-sections -fdata-sections \
	-Wl,--gc-sections -Wl,-z,noseparate-code \
	-idirafter /usr/include $(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH)) -ISources/CorralControl/include
TEST_C_FLAGS := -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror

BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.bpf.c=build/bpf/%.bpf.o)
BPF_HEADERS := $(wildcard bpf/abi/*.h bpf/lib/*.h)
PROGRAMS := build/bin/corral-spawn build/bin/corral-init
LAB_PROGRAMS := build/lab/labserver build/lab/labcapture build/lab/probe build/lab/calls build/lab/fence build/lab/fill build/lab/producer

.PHONY: all setup setup-tests setup-packaging bpf bpf-other syscalls programs lab build test test-swift test-spawn test-bypass vmtest soak bypass-doc crash-test demo lint fmt check clean
all: build

include packaging/install.mk bench/bench.mk

setup-tests: PACKAGES += $(TEST_PACKAGES)
setup-packaging: PACKAGES := $(PACKAGING_PACKAGES)
setup setup-tests setup-packaging:
	@missing=$$(for p in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' "$$p" 2>/dev/null | grep -q 'install ok installed' || echo "$$p"; done); \
	if [ -n "$$missing" ]; then \
	    [ "$$(id -u)" = 0 ] || { echo "setup: as root, install:" $$missing >&2; exit 1; }; \
	    echo "setup: installing" $$missing; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; }; \
	fi
	@version=$$($(SWIFT) --version 2>/dev/null | grep -oE 'Swift version [0-9]+\.[0-9]+' | grep -oE '[0-9]+\.[0-9]+' || true); \
	case "$$version" in \
	"") echo "setup: no swift on the PATH; Corral needs 6.1 or newer: https://www.swift.org/install/linux" >&2; exit 1;; \
	[0-5].*|6.0) echo "setup: swift $$version is too old; Corral needs 6.1 or newer: https://www.swift.org/install/linux" >&2; exit 1;; \
	esac
	@[ -r /sys/kernel/btf/vmlinux ] || echo "setup: this kernel has no BTF; Corral builds here but does not run" >&2

bpf: $(BPF_OBJECTS)
build/bpf/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) Makefile
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -c $< -o $@
	$(OBJCOPY) -g $@   # DWARF goes, BTF stays

# The other architecture's programs: they compile. Nothing here runs them.
bpf-other: OTHER := $(if $(filter arm64,$(BPF_ARCH)),x86,arm64)
bpf-other:
	@mkdir -p build/bpf-other
	for source in $(BPF_SOURCES); do \
	    $(CLANG) $(BPF_FLAGS) -U__TARGET_ARCH_$(BPF_ARCH) -D__TARGET_ARCH_$(OTHER) -c $$source -o build/bpf-other/$$(basename $$source .c).o || exit 1; \
	done

# Only when the kernel has new calls: the result is kept with the sources.
syscalls:
	bpf/syscalls.sh

programs: $(PROGRAMS)
.SECONDEXPANSION:
$(PROGRAMS): build/bin/%: $$(wildcard Sources/%/*.c) $$(wildcard Sources/%/*.h) \
		Sources/CorralControl/include/corral_control.h Makefile
	@mkdir -p $(@D)
	musl-gcc $(MUSL_FLAGS) $(filter %.c,$^) -o $@

lab: $(LAB_PROGRAMS) $(BPF_SOURCES:bpf/%.bpf.c=build/lab/next/%.bpf.o)
# The programs as a next version could have them, which lays its maps out in another way.
build/lab/next/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) Makefile
	@mkdir -p $(@D)
	$(CLANG) $(BPF_FLAGS) -DCORRAL_TEST_LAYOUT -c $< -o $@
	$(OBJCOPY) -g $@
build/lab/probe: $(wildcard Tests/lab/probe*.[ch])
build/lab/producer: bench/trace/producer.c Makefile
	@mkdir -p $(@D)
	musl-gcc $(MUSL_FLAGS) $< -o $@
build/lab/%: Tests/lab/%.c Makefile
	@mkdir -p $(@D)
	musl-gcc $(MUSL_FLAGS) $(filter %.c,$^) -o $@   # small: the probe is carried into every sandbox

build/bin/spawn-test: $(wildcard Tests/spawn/*.c Tests/spawn/*.h) Sources/CorralControl/include/corral_control.h Makefile
	@mkdir -p $(@D)
	gcc $(TEST_C_FLAGS) -ISources/CorralControl/include $(filter %.c,$^) -o $@

build: setup
	@$(MAKE) --no-print-directory bpf programs
	$(SWIFT) build $(SWIFT_FLAGS)

test: setup-tests
	@$(MAKE) --no-print-directory bpf programs lab build/bin/spawn-test fuzz-c
	CORRAL_LINK_TESTS=1 CORRAL_FUZZ=$(wildcard $(FUZZ_RUNTIME)) $(SWIFT) build $(SWIFT_FLAGS) --build-tests
	Tests/run.sh spawn swift fuzz bypass cycles demo packaging vm

test-spawn: programs build/bin/spawn-test
	Tests/run.sh spawn

test-swift test-bypass: test-%: setup-tests
	@$(MAKE) --no-print-directory bpf programs lab
	CORRAL_LINK_TESTS=1 $(SWIFT) build $(SWIFT_FLAGS) --build-tests
	Tests/run.sh $*

# Kernels to run under, as Tests/vm/vmtest.sh takes them.
KERNELS ?= 6.1 6.12
vmtest: setup-tests
	@$(MAKE) --no-print-directory bpf programs lab build/bin/spawn-test
	CORRAL_LINK_TESTS=1 $(SWIFT) build $(SWIFT_FLAGS) --build-tests
	$(SWIFT) build $(SWIFT_FLAGS)
	Tests/vm/vmtest.sh $(KERNELS)

# Clients that do everything at random, for so many seconds.
SOAK_SECONDS ?= 600
soak: build lab
	Tests/lab/soak.sh $(SOAK_SECONDS)

bypass-doc: build lab
	Tests/lab/bypass_doc.sh

# corrald killed at each of its named steps, which are in a build of their own; the table of docs/RELIABILITY.md is build/crash-table.md then.
crash-test: setup-tests
	@$(MAKE) --no-print-directory bpf programs lab
	CORRAL_CRASH_POINTS=1 $(SWIFT) build --scratch-path build/crash $(SWIFT_FLAGS)
	Tests/lab/crash.sh build/crash-table.md

demo: build
	@$(MAKE) --no-print-directory lab
	Tests/lab/demo.sh

lint:
	Tests/lint.sh

fmt:
	$(SWIFT) format --in-place --recursive --parallel --configuration .swift-format Package.swift Sources Tests

check: lint bpf-other test

clean:
	rm -rf build .build

include Tests/fuzz/fuzz.mk
