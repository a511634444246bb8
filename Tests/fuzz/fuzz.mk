# Hostile input and sanitizers; docs/RELIABILITY.md says what they found.
#   make fuzz TARGET=policy SECONDS=600     one target; what breaks it is kept in build/fuzz/found
#   make fuzz-smoke                         every target over its corpus, and SMOKE_SECONDS of new inputs
#   make fuzz-all SECONDS=600               every target in turn
#   make sanitize                           AddressSanitizer, ThreadSanitizer and UndefinedBehaviorSanitizer; SANITIZE picks

FUZZ_BUILD := build/fuzz
FUZZ_RUNTIME := $(shell $(CLANG) -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer_no_main-$(shell uname -m).a
FUZZ_C_FLAGS := -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fuse-ld=lld -fno-sanitize-recover=all \
	-fsanitize=fuzzer,address,undefined -ISources/CorralControl/include
FUZZ_C_TARGETS := init spawn
FUZZ_TARGETS := $(sort $(notdir $(wildcard Tests/fuzz/corpus/*)))
SECONDS ?= 60
SMOKE_SECONDS ?= 10

.PHONY: fuzz fuzz-smoke fuzz-all fuzz-programs sanitize $(addprefix sanitize-,address thread c)

$(FUZZ_BUILD)/init: Sources/corral-init/control.c Sources/corral-init/init.h
$(FUZZ_BUILD)/spawn: Sources/corral-spawn/message.c Sources/corral-spawn/support.c Sources/corral-spawn/spawn.h
$(addprefix $(FUZZ_BUILD)/,$(FUZZ_C_TARGETS)): $(FUZZ_BUILD)/%: Tests/fuzz/programs/%_fuzz.c \
		Sources/CorralControl/include/corral_control.h
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_C_FLAGS) -ISources/corral-$* $(filter %.c,$^) -o $@

# In a build directory of its own: the flags differ, and other builds need not be built anew.
fuzz-programs: bpf programs $(addprefix $(FUZZ_BUILD)/,$(FUZZ_C_TARGETS))
	CORRAL_FUZZ=$(FUZZ_RUNTIME) $(SWIFT) build --scratch-path $(FUZZ_BUILD)/swift $(SWIFT_FLAGS) --product corral-fuzz

fuzz: fuzz-programs
	Tests/fuzz/run.sh $(SECONDS) $(or $(TARGET),$(error TARGET: one of $(FUZZ_TARGETS)))

fuzz-smoke: fuzz-programs
	Tests/fuzz/run.sh $(SMOKE_SECONDS) $(FUZZ_TARGETS)

fuzz-all: fuzz-programs
	Tests/fuzz/run.sh $(SECONDS) $(FUZZ_TARGETS)

# CORRAL_PURE_ROOMS=1: the rooms without a kernel alone, in a tenth of the time.
SANITIZE ?= c address thread
sanitize: $(addprefix sanitize-,$(SANITIZE))
sanitize-address sanitize-thread: sanitize-%: bpf programs
	CORRAL_LINK_TESTS=1 $(SWIFT) build --scratch-path build/sanitize/$* --sanitize $* --build-tests
	Tests/fuzz/sanitize.sh $*

# The programs that are static on musl elsewhere, with glibc and the sanitizers. They run as in every other build, corral-init
# in a mount namespace that has the host's libraries, as pid 1 of its sandbox.
SANITIZED := build/sanitize/bin
sanitize-c: build/bin/spawn-test
	@mkdir -p $(SANITIZED)
	for program in corral-spawn corral-init; do \
	    $(CLANG) -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fuse-ld=lld -fsanitize=undefined -fsanitize-trap=undefined \
	        -static -ISources/CorralControl/include Sources/$$program/*.c -o $(SANITIZED)/$$program || exit 1; \
	done
	build/bin/spawn-test $(SANITIZED) | tail -n 1
