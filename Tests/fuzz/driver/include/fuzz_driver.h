#ifndef CORRAL_FUZZ_DRIVER_H
#define CORRAL_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry for programs that have a main of their own; compiler-rt, lib/fuzzer/FuzzerMain.cpp. */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

/*
 * Where the code is not instrumented: pairs of bytes count as what an input reaches. Without anything that tells inputs apart libFuzzer
 * would change the empty one alone, whatever the corpus holds.
 */
void corral_fuzz_note(const uint8_t *data, size_t size);

#endif
