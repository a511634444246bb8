# Measurements. Included by the Makefile; bench/README.md says how they are made.

BENCH_PROGRAMS := build/bench/load build/bench/net build/bench/programs build/bench/notify
# Which: `make bench BENCHES=start`.
BENCHES ?=

.PHONY: bench bench-full bench-check bench-doc
build/bench/load: bench/start/load.c
build/bench/net: bench/egress/net.c bench/egress/datagrams.c bench/egress/net.h
build/bench/programs: bench/egress/programs.c
build/bench/notify: bench/trace/notify.c
$(BENCH_PROGRAMS):
	@mkdir -p $(@D)
	musl-gcc $(filter-out -Os,$(MUSL_FLAGS)) -O2 -D_DEFAULT_SOURCE $(filter %.c,$^) -o $@

bench: $(BENCH_PROGRAMS) lab
	bench/run.sh quick $(BENCHES)
	@$(MAKE) --no-print-directory bench-doc

bench-full: $(BENCH_PROGRAMS) lab
	bench/run.sh full $(BENCHES)
	@$(MAKE) --no-print-directory bench-doc

# Against bench/baseline.json, as ratios to the floor of the same run.
bench-check: $(BENCH_PROGRAMS) lab
	BENCH_RESULTS=build/bench/results bench/run.sh quick $(BENCHES)
	python3 -B bench/report.py check bench/baseline.json build/bench/results

bench-doc:
	python3 -B bench/report.py document bench/results docs
