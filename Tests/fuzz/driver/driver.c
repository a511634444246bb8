#include "fuzz_driver.h"

/* What libFuzzer takes for coverage beside that of instrumented code; it clears them before each input. */
#ifdef CORRAL_FUZZ_BARE
__attribute__((section("__libfuzzer_extra_counters"))) static volatile uint8_t pairs[4096];
#endif

void corral_fuzz_note(const uint8_t *data, size_t size)
{
#ifdef CORRAL_FUZZ_BARE
	for (size_t i = 0; i + 1 < size; i++)
		pairs[(data[i] * 31u + data[i + 1]) % sizeof(pairs)] = 1;
#else
	(void)data;
	(void)size;
#endif
}
