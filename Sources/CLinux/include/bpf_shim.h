#ifndef CORRAL_BPF_SHIM_H
#define CORRAL_BPF_SHIM_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>

/* The BPF objects built into this program. */
const void *corral_embedded_cgroup(size_t *count);
const void *corral_embedded_egress(size_t *count);
const void *corral_embedded_files(size_t *count);
const void *corral_embedded_lsm(size_t *count);
const void *corral_embedded_trace(size_t *count);
const void *corral_embedded_veth(size_t *count);

/* Keeps what libbpf prints on this thread, verifier logs included, instead of writing it to stderr. */
void corral_bpf_log_begin(void);

/* What was kept since, at most 64 KiB, the last of it; valid until this thread begins again. */
const char *corral_bpf_log_end(void);

struct bpf_object *corral_bpf_open(const char *name, const void *bytes, size_t count);
struct bpf_object *corral_bpf_open_file(const char *path);

/*
 * Attaches a SCHED_CLS program to an interface through a clsact qdisc, in direct-action mode. It goes with the interface. Not by tcx:
 * the kernel holds the lock of all interfaces while it waits for a grace period, some 10 ms for each attachment.
 */
int corral_clsact_attach(int program, uint32_t ifindex, int ingress, int replace);

/* How a map is laid out. */
struct corral_map_layout {
	uint32_t type;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
};

void corral_map_wanted(const struct bpf_map *map, struct corral_map_layout *layout);
/* Of the map of that descriptor; -1 with errno. */
int corral_map_found(int fd, struct corral_map_layout *layout);

/* The number of the program that a link has attached. */
int corral_link_program(int link, uint32_t *id);

/* Programs attached to a cgroup: how many, and the number of the first. */
int corral_bpf_attached(int cgroup, int type, uint32_t *count, uint32_t *first_id);

/* Number of the program that `corral_clsact_attach` put on an interface. ENOENT: there is none. */
int corral_clsact_attached(uint32_t ifindex, int ingress, uint32_t *id);

/* Kernel-wide number of a program. */
int corral_bpf_program_id(int program, uint32_t *id);

/* How many instructions the verifier went through before it accepted a program, those of each path it took counted. */
int corral_bpf_verified(int program, uint32_t *instructions);

/* Sets the first four bytes of an object's .rodata, before it is loaded. -1 with errno. */
int corral_bpf_set_constant(struct bpf_object *object, uint32_t value);

/* errno of bpf(2) with a command and empty attributes; 0: it did something. */
int corral_bpf_command(uint32_t command);

/* Runs a SCHED_CLS program on a frame as if it had come from `ifindex`; `answer` gets the four words of skb->cb. */
int corral_bpf_test_run(int program, const void *frame, size_t count, uint32_t ifindex, uint32_t answer[4], uint32_t *result);

struct ring_buffer *corral_ring_open(int map, ring_buffer_sample_fn function, void *context);

#endif
