#define _GNU_SOURCE
#include "files_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define MEMORY_LIMIT (256u << 20)
/* 2^27: 128 MiB of window, as much as zstd(1) takes without being asked. */
#define ZSTD_WINDOW_LOG 27

struct corral_decoder {
	enum corral_compression compression;
	z_stream gzip;
	lzma_stream xz;
	ZSTD_DCtx *zstd;
	bool at_end; /* gzip: between two members */
};

struct corral_decoder *corral_decoder_open(enum corral_compression compression)
{
	struct corral_decoder *decoder = calloc(1, sizeof(*decoder));
	bool opened = false;

	if (!decoder)
		return NULL;
	decoder->compression = compression;
	switch (compression) {
	case CORRAL_GZIP:
		/* 16: a gzip header, and no other. */
		opened = inflateInit2(&decoder->gzip, MAX_WBITS + 16) == Z_OK;
		break;
	case CORRAL_XZ:
		decoder->xz = (lzma_stream)LZMA_STREAM_INIT;
		opened = lzma_stream_decoder(&decoder->xz, MEMORY_LIMIT, LZMA_CONCATENATED) == LZMA_OK;
		break;
	case CORRAL_ZSTD:
		decoder->zstd = ZSTD_createDCtx();
		opened = decoder->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax,
									       ZSTD_WINDOW_LOG));
		break;
	}
	if (opened)
		return decoder;
	corral_decoder_close(decoder);
	errno = ENOMEM;
	return NULL;
}

static int run_gzip(struct corral_decoder *decoder, const uint8_t *in, size_t *in_count, void *out, size_t *out_count)
{
	z_stream *stream = &decoder->gzip;
	size_t room = *out_count, given = *in_count, skipped = 0;

	/* Members follow each other; zeros may fill up the last block. */
	if (decoder->at_end) {
		while (skipped < given && in[skipped] == 0)
			skipped++;
		if (skipped == given) {
			*out_count = 0;
			return 1;
		}
		if (inflateReset(stream) != Z_OK) {
			errno = EILSEQ;
			return -1;
		}
		decoder->at_end = false;
	}
	/* At most 128 KiB a call: no count overflows zlib's. */
	stream->next_in = (Bytef *)in + skipped;
	stream->avail_in = (uInt)(given - skipped);
	stream->next_out = out;
	stream->avail_out = (uInt)room;
	int result = inflate(stream, Z_NO_FLUSH);
	*in_count = given - stream->avail_in;
	*out_count = room - stream->avail_out;
	if (result == Z_STREAM_END) {
		decoder->at_end = true;
		return 1;
	}
	if (result == Z_OK || result == Z_BUF_ERROR)
		return 0;
	errno = result == Z_MEM_ERROR ? ENOMEM : EILSEQ;
	return -1;
}

static int run_xz(struct corral_decoder *decoder, const void *in, size_t *in_count, void *out, size_t *out_count,
		  bool last)
{
	lzma_stream *stream = &decoder->xz;
	size_t room = *out_count, given = *in_count;

	stream->next_in = in;
	stream->avail_in = given;
	stream->next_out = out;
	stream->avail_out = room;
	lzma_ret result = lzma_code(stream, last ? LZMA_FINISH : LZMA_RUN);
	*in_count = given - stream->avail_in;
	*out_count = room - stream->avail_out;
	if (result == LZMA_STREAM_END)
		return 1;
	if (result == LZMA_OK || (result == LZMA_BUF_ERROR && !last))
		return 0;
	errno = result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR ? ENOMEM : EILSEQ;
	return -1;
}

static int run_zstd(struct corral_decoder *decoder, const void *in, size_t *in_count, void *out, size_t *out_count)
{
	ZSTD_inBuffer source = { in, *in_count, 0 };
	ZSTD_outBuffer target = { out, *out_count, 0 };
	size_t result = ZSTD_decompressStream(decoder->zstd, &target, &source);

	*in_count = source.pos;
	*out_count = target.pos;
	if (!ZSTD_isError(result))
		return result == 0;
	errno = EILSEQ;
	return -1;
}

int corral_decoder_run(struct corral_decoder *decoder, const void *in, size_t *in_count, void *out, size_t *out_count,
		       bool last)
{
	switch (decoder->compression) {
	case CORRAL_GZIP:
		return run_gzip(decoder, in, in_count, out, out_count);
	case CORRAL_XZ:
		return run_xz(decoder, in, in_count, out, out_count, last);
	case CORRAL_ZSTD:
		return run_zstd(decoder, in, in_count, out, out_count);
	}
	errno = EINVAL;
	return -1;
}

void corral_decoder_close(struct corral_decoder *decoder)
{
	switch (decoder->compression) {
	case CORRAL_GZIP:
		inflateEnd(&decoder->gzip);
		break;
	case CORRAL_XZ:
		lzma_end(&decoder->xz);
		break;
	case CORRAL_ZSTD:
		ZSTD_freeDCtx(decoder->zstd);
		break;
	}
	free(decoder);
}

int corral_open_resolved(int directory, const char *path, int flags, uint32_t mode, enum corral_resolve resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_NO_MAGICLINKS,
	};

	switch (resolve) {
	case CORRAL_RESOLVE_IN_ROOT:
		how.resolve |= RESOLVE_IN_ROOT;
		break;
	case CORRAL_RESOLVE_NO_LINKS:
		how.resolve |= RESOLVE_NO_SYMLINKS;
		break;
	case CORRAL_RESOLVE_BENEATH:
		how.resolve |= RESOLVE_BENEATH;
		break;
	}
	for (;;) {
		int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
		/* EAGAIN: something was renamed while the path was walked, which a sandbox can do as often as it likes. */
		if (fd >= 0 || errno != EINTR)
			return fd;
	}
}

/* What is permitted becomes effective again: a change of the file system's uid takes it away. */
static int raise_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	return (int)syscall(SYS_capset, &header, data);
}

int corral_make_files_as(uint32_t uid, uint32_t gid)
{
	/* Neither call tells of its failure; asking for an impossible id shows the one in force. */
	setfsgid(gid);
	setfsuid(uid);
	if ((uint32_t)setfsgid((gid_t)-1) != gid || (uint32_t)setfsuid((uid_t)-1) != uid) {
		errno = EPERM;
		return -1;
	}
	return raise_capabilities();
}

int corral_sync_file_system(int fd)
{
	return syncfs(fd);
}
