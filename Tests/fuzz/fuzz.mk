# Hostile input and sanitizers; docs/RELIABILITY.md says what they found.
#   make fuzz TARGET=policy SECONDS=600     one target; what breaks it is kept in build/fuzz/found
#   make fuzz-smoke                         every target over its corpus, and SMOKE_SECONDS of new inputs
#   make test                               the same, of two seconds; the Swift targets not instrumented, which spares a build
#   make fuzz-all SECONDS=600               every target in turn
#   make sanitize                           SANITIZE="c address thread" picks; ThreadSanitizer is no part of the default

FUZZ_BUILD := build/fuzz
FUZZ_RUNTIME := $(shell $(CLANG) -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer_no_main-$(shell uname -m).a
FUZZ_C_FLAGS := -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fuse-ld=lld -fno-sanitize-recover=all \
	-fsanitize=fuzzer,address,undefined -ISources/CorralControl/include
FUZZ_C_TARGETS := init spawn
FUZZ_TARGETS := $(sort $(notdir $(wildcard Tests/fuzz/corpus/*)))
SECONDS ?= 60
SMOKE_SECONDS ?= 10

.PHONY: fuzz fuzz-c fuzz-smoke fuzz-all fuzz-programs sanitize $(addprefix sanitize-,address thread c)

# secret.c: a part of init_fuzz.c.
$(FUZZ_BUILD)/init: Sources/corral-init/control.c Sources/corral-init/secret.c Sources/corral-init/init.h
$(FUZZ_BUILD)/spawn: Sources/corral-spawn/message.c Sources/corral-spawn/support.c Sources/corral-spawn/spawn.h
$(addprefix $(FUZZ_BUILD)/,$(FUZZ_C_TARGETS)): $(FUZZ_BUILD)/%: Tests/fuzz/programs/%_fuzz.c \
		Sources/CorralControl/include/corral_control.h
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_C_FLAGS) -ISources/corral-$* $(filter-out %/secret.c,$(filter %.c,$^)) -o $@

# Where the toolchain has no libFuzzer there are none, and the suite `fuzz` says so.
fuzz-c: $(if $(wildcard $(FUZZ_RUNTIME)),$(addprefix $(FUZZ_BUILD)/,$(FUZZ_C_TARGETS)))

# In a build directory of its own: the flags differ, and other builds need not be built anew.
fuzz-programs: bpf programs fuzz-c
	CORRAL_FUZZ=$(FUZZ_RUNTIME) $(SWIFT) build --scratch-path $(FUZZ_BUILD)/swift $(SWIFT_FLAGS) --product corral-fuzz

fuzz: fuzz-programs
	Tests/fuzz/run.sh $(SECONDS) $(or $(TARGET),$(error TARGET: one of $(FUZZ_TARGETS)))

fuzz-smoke: fuzz-programs
	Tests/fuzz/run.sh $(SMOKE_SECONDS)

fuzz-all: fuzz-programs
	Tests/fuzz/run.sh $(SECONDS)

# CORRAL_INNER_ROOMS=1: the rooms that need no package of a server alone, in a fraction of the time.
SANITIZE ?= c address
SANITIZE_BUILD := build/sanitize
# Optimised, as the tests run elsewhere; their bounds of time hold for nothing slower, and position-dependent code is not for
# ThreadSanitizer.
SANITIZE_FLAGS := $(filter-out -Xlinker -no-pie,$(SWIFT_FLAGS))
SANITIZE_C_FLAGS := -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fuse-ld=lld -ISources/CorralControl/include
sanitize: $(addprefix sanitize-,$(SANITIZE))
# What orders threads in libraries of Swift that are not instrumented.
SANITIZE_LINK_thread := -Xlinker $(CURDIR)/$(SANITIZE_BUILD)/thread_swift.o -Xlinker --wrap=swift_continuation_await $(foreach call, \
	V9_lockSlowyys6UInt32VF V12_tryLockSlowSbyF V11_unlockSlowyyF, -Xlinker '--wrap=$$s15Synchronization12_MutexHandle$(call)')
$(SANITIZE_BUILD)/thread_swift.o: Tests/fuzz/programs/thread_swift.c
	@mkdir -p $(@D)
	$(CLANG) -O1 -g -std=c11 -Wall -Wextra -Werror -c $< -o $@
sanitize-thread: $(SANITIZE_BUILD)/thread_swift.o
sanitize-address sanitize-thread: sanitize-%: bpf programs
	CORRAL_LINK_TESTS=1 $(SWIFT) build $(SANITIZE_FLAGS) $(SANITIZE_LINK_$*) --build-tests --sanitize $* \
	    --scratch-path $(SANITIZE_BUILD)/$*$(if $(CORRAL_INNER_ROOMS),-inner)
	CORRAL_SWIFT_FLAGS="$(SANITIZE_FLAGS)" Tests/fuzz/sanitize.sh $* $(SANITIZE_BUILD)/$*$(if $(CORRAL_INNER_ROOMS),-inner)

# Both programs are static on musl elsewhere, which no sanitizer's run time is for. Inside a sandbox none lives at all:
# corral-init traps instead.
sanitize-c: build/bin/spawn-test
	@mkdir -p $(SANITIZE_BUILD)/bin
	$(CLANG) $(SANITIZE_C_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
	    Sources/corral-spawn/*.c Tests/fuzz/programs/asan_options.c -o $(SANITIZE_BUILD)/bin/corral-spawn
	$(CLANG) $(SANITIZE_C_FLAGS) -static -fsanitize=undefined -fsanitize-trap=undefined \
	    Sources/corral-init/*.c -o $(SANITIZE_BUILD)/bin/corral-init
	build/bin/spawn-test $(SANITIZE_BUILD)/bin >$(SANITIZE_BUILD)/c.log || { grep -v '^  ok' $(SANITIZE_BUILD)/c.log; exit 1; }
	@echo "sanitize: c: $$(tail -n 1 $(SANITIZE_BUILD)/c.log)"
