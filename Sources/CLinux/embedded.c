#include "linux_shim.h"

/* Static programs, embedded so that the daemon needs no file at run time. `#embed` lets the build see when they change. */

#if !__has_embed("../../build/bin/corral-spawn") || !__has_embed("../../build/bin/corral-init")
#error "build/bin/corral-spawn and build/bin/corral-init are missing: run `make programs` before `swift build`"
#endif

/* clang has #embed in every C mode, and says so once a use. */
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char spawn[] = {
#embed "../../build/bin/corral-spawn"
};

static const unsigned char init[] = {
#embed "../../build/bin/corral-init"
};

const void *corral_embedded_spawn(size_t *count)
{
	*count = sizeof(spawn);
	return spawn;
}

const void *corral_embedded_init(size_t *count)
{
	*count = sizeof(init);
	return init;
}
