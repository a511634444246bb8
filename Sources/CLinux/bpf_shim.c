#define _GNU_SOURCE
#include "bpf_shim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !__has_embed("../../build/bpf/cgroup.bpf.o") || !__has_embed("../../build/bpf/egress.bpf.o") || \
	!__has_embed("../../build/bpf/files.bpf.o") || !__has_embed("../../build/bpf/lsm.bpf.o") || \
	!__has_embed("../../build/bpf/trace.bpf.o") || !__has_embed("../../build/bpf/veth.bpf.o")
#error "build/bpf/*.bpf.o are missing: run `make bpf` before `swift build`"
#endif

#pragma clang diagnostic ignored "-Wc23-extensions"

_Alignas(8) static const unsigned char cgroup[] = {
#embed "../../build/bpf/cgroup.bpf.o"
};

_Alignas(8) static const unsigned char egress[] = {
#embed "../../build/bpf/egress.bpf.o"
};

_Alignas(8) static const unsigned char files[] = {
#embed "../../build/bpf/files.bpf.o"
};

_Alignas(8) static const unsigned char lsm[] = {
#embed "../../build/bpf/lsm.bpf.o"
};

_Alignas(8) static const unsigned char trace[] = {
#embed "../../build/bpf/trace.bpf.o"
};

_Alignas(8) static const unsigned char veth[] = {
#embed "../../build/bpf/veth.bpf.o"
};

enum { LOG_BYTES = 64 << 10 };
static _Thread_local char *log_text;
static _Thread_local size_t log_used;

const void *corral_embedded_cgroup(size_t *count)
{
	*count = sizeof(cgroup);
	return cgroup;
}

const void *corral_embedded_egress(size_t *count)
{
	*count = sizeof(egress);
	return egress;
}

const void *corral_embedded_files(size_t *count)
{
	*count = sizeof(files);
	return files;
}

const void *corral_embedded_lsm(size_t *count)
{
	*count = sizeof(lsm);
	return lsm;
}

const void *corral_embedded_trace(size_t *count)
{
	*count = sizeof(trace);
	return trace;
}

const void *corral_embedded_veth(size_t *count)
{
	*count = sizeof(veth);
	return veth;
}

/* A verifier log comes as one message, of which the end says what was wrong: room is made by dropping what is oldest. */
static int keep(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text;
	int length;

	if (level == LIBBPF_DEBUG || !log_text)
		return 0;
	length = vasprintf(&text, format, arguments);
	if (length < 0)
		return 0;
	size_t added = (size_t)length;
	const char *from = text;

	if (added >= LOG_BYTES) {
		from += added - (LOG_BYTES - 1);
		added = LOG_BYTES - 1;
	}
	if (log_used + added >= LOG_BYTES) {
		size_t dropped = log_used + added - (LOG_BYTES - 1);

		memmove(log_text, log_text + dropped, log_used - dropped);
		log_used -= dropped;
	}
	memcpy(log_text + log_used, from, added + 1);
	log_used += added;
	free(text);
	return 0;
}

void corral_bpf_log_begin(void)
{
	if (!log_text)
		log_text = malloc(LOG_BYTES);
	if (log_text)
		log_text[0] = 0;
	log_used = 0;
	libbpf_set_print(keep);
}

const char *corral_bpf_log_end(void)
{
	return log_text ? log_text : "";
}

struct bpf_object *corral_bpf_open(const char *name, const void *bytes, size_t count)
{
	struct bpf_object_open_opts options = { .sz = sizeof(options), .object_name = name };

	return bpf_object__open_mem(bytes, count, &options);
}

struct bpf_object *corral_bpf_open_file(const char *path)
{
	struct bpf_object_open_opts options = { .sz = sizeof(options) };

	return bpf_object__open_file(path, &options);
}

/* Before any other filter of its hook, in direct-action mode. */
static struct bpf_tc_hook clsact_hook(uint32_t ifindex, int ingress)
{
	return (struct bpf_tc_hook){
		.sz = sizeof(struct bpf_tc_hook),
		.ifindex = (int)ifindex,
		.attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS,
	};
}

enum { CLSACT_HANDLE = 1, CLSACT_PRIORITY = 1 };

int corral_clsact_attach(int program, uint32_t ifindex, int ingress, int replace)
{
	struct bpf_tc_hook hook = clsact_hook(ifindex, ingress);
	struct bpf_tc_opts options = {
		.sz = sizeof(options), .prog_fd = program, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY,
		.flags = replace ? BPF_TC_F_REPLACE : 0,
	};
	int error = bpf_tc_hook_create(&hook);

	if (error == 0 || error == -EEXIST)
		error = bpf_tc_attach(&hook, &options);
	if (error < 0) {
		errno = -error;
		return -1;
	}
	return 0;
}

void corral_map_wanted(const struct bpf_map *map, struct corral_map_layout *layout)
{
	*layout = (struct corral_map_layout){
		.type = bpf_map__type(map),
		.key_size = bpf_map__key_size(map),
		.value_size = bpf_map__value_size(map),
		.max_entries = bpf_map__max_entries(map),
		.flags = bpf_map__map_flags(map),
	};
}

int corral_map_found(int fd, struct corral_map_layout *layout)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -1;
	*layout = (struct corral_map_layout){
		.type = info.type,
		.key_size = info.key_size,
		.value_size = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags,
	};
	return 0;
}

int corral_link_program(int link, uint32_t *id)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		return -1;
	*id = info.prog_id;
	return 0;
}

int corral_clsact_attached(uint32_t ifindex, int ingress, uint32_t *id)
{
	struct bpf_tc_hook hook = clsact_hook(ifindex, ingress);
	struct bpf_tc_opts options = { .sz = sizeof(options), .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY };
	int error = bpf_tc_query(&hook, &options);

	if (error < 0) {
		errno = -error;
		return -1;
	}
	*id = options.prog_id;
	return 0;
}

int corral_bpf_attached(int target, int type, uint32_t *count, uint32_t *first_id)
{
	uint32_t ids[64] = { 0 };
	uint32_t flags = 0;

	*count = 64;
	if (bpf_prog_query(target, (enum bpf_attach_type)type, 0, &flags, ids, count) < 0)
		return -1;
	*first_id = *count ? ids[0] : 0;
	return 0;
}

int corral_bpf_program_id(int program, uint32_t *id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) < 0)
		return -1;
	*id = info.id;
	return 0;
}

int corral_bpf_verified(int program, uint32_t *instructions)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) < 0)
		return -1;
	*instructions = info.verified_insns;
	return 0;
}

int corral_bpf_set_constant(struct bpf_object *object, uint32_t value)
{
	static const char section[] = ".rodata";
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		const char *name = bpf_map__name(map);
		size_t length = strlen(name), count = 0;
		const void *data = bpf_map__initial_value(map, &count);
		unsigned char *changed;
		int error;

		if (length < sizeof(section) - 1 || strcmp(name + length - (sizeof(section) - 1), section) || !data ||
		    count < sizeof(value))
			continue;
		changed = malloc(count);
		if (!changed)
			return -1;
		memcpy(changed, data, count);
		memcpy(changed, &value, sizeof(value));
		error = bpf_map__set_initial_value(map, changed, count);
		free(changed);
		if (error < 0)
			errno = -error;
		return error < 0 ? -1 : 0;
	}
	errno = ENOENT;
	return -1;
}

int corral_bpf_command(uint32_t command)
{
	union bpf_attr attributes = { 0 };

	return syscall(SYS_bpf, command, &attributes, sizeof(attributes)) < 0 ? errno : 0;
}

int corral_bpf_test_run(int program, const void *frame, size_t count, uint32_t ifindex, uint32_t answer[4], uint32_t *result)
{
	struct __sk_buff in = { .ifindex = ifindex }, out = { 0 };
	struct bpf_test_run_opts options = {
		.sz = sizeof(options),
		.data_in = frame,
		.data_size_in = (uint32_t)count,
		.ctx_in = &in,
		.ctx_size_in = sizeof(in),
		.ctx_out = &out,
		.ctx_size_out = sizeof(out),
		.repeat = 1,
	};

	if (bpf_prog_test_run_opts(program, &options) < 0)
		return -1;
	memcpy(answer, out.cb, 4 * sizeof(*answer));
	*result = options.retval;
	return 0;
}

struct ring_buffer *corral_ring_open(int map, ring_buffer_sample_fn function, void *context)
{
	return ring_buffer__new(map, function, context, NULL);
}
