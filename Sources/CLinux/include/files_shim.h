#ifndef CORRAL_FILES_SHIM_H
#define CORRAL_FILES_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- decompression ---- */

enum corral_compression { CORRAL_GZIP = 1, CORRAL_XZ = 2, CORRAL_ZSTD = 3 };

struct corral_decoder;

/* NULL with errno. Takes at most 256 MiB, whatever the stream asks for. */
struct corral_decoder *corral_decoder_open(enum corral_compression compression);

/*
 * Takes some of `*in` and gives some of `*out`; both counts become what was taken and given. `last`: nothing follows.
 * 0: go on; 1: the stream is complete here, though another may follow; -1: errno is EILSEQ for damaged data, ENOMEM.
 */
int corral_decoder_run(struct corral_decoder *decoder, const void *in, size_t *in_count, void *out, size_t *out_count,
		       bool last);
void corral_decoder_close(struct corral_decoder *decoder);

/* ---- files of a sandbox ---- */

enum corral_resolve {
	CORRAL_RESOLVE_IN_ROOT = 1,   /* links and .. stay below `directory`, as if it were the root */
	CORRAL_RESOLVE_NO_LINKS = 2,  /* no symbolic link at all */
	CORRAL_RESOLVE_BENEATH = 3,   /* links are followed, and one that leads out fails */
};

/* O_PATH of open(2): names a file without opening it. */
enum { CORRAL_OPEN_NAME = 010000000 };

/* openat2(2), close-on-exec, never through a magic link. */
int corral_open_resolved(int directory, const char *path, int flags, uint32_t mode, enum corral_resolve resolve);

/*
 * Files that the calling thread makes from now on belong to these, while its capabilities stay. A file system mounted in a
 * user namespace takes no files of owners that it has not. 0, 0 puts it back. -1 with errno.
 */
int corral_make_files_as(uint32_t uid, uint32_t gid);

/* Writes what is cached of the file system that `fd` is on to its disk. */
int corral_sync_file_system(int fd);

#endif
