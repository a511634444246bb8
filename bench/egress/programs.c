// What BPF programs cost, by what the kernel tells of them.
//
//   programs run REPEAT INTERFACE PROGRAM HEX     BPF_PROG_TEST_RUN with a frame; prints nanoseconds a run. PROGRAM is a pin, or
//                                                 "empty", a program that returns; it has to let the frame pass
//   programs stats PROGRAM...                     counts runs (BPF_ENABLE_STATS) until standard input has a line or ends; prints
//                                                 NAME RUNS NANOSECONDS-A-RUN of each pin whose program ran. "ready" comes first
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 64, LONGEST = 2048 };

static void fail(const char *what) {
    fprintf(stderr, "programs: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int bpf(enum bpf_cmd command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int open_program(const char *path) {
    union bpf_attr attributes = {.pathname = (uint64_t)(uintptr_t)path};
    int fd = bpf(BPF_OBJ_GET, &attributes);
    if (fd < 0) fail(path);
    return fd;
}

static int empty_program(void) {
    struct bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_SCHED_CLS, .insns = (uint64_t)(uintptr_t)code, .insn_cnt = 2, .license = (uint64_t)(uintptr_t) "GPL"};
    int fd = bpf(BPF_PROG_LOAD, &attributes);
    if (fd < 0) fail("BPF_PROG_LOAD");
    return fd;
}

static int run(uint32_t repeat, const char *interface, const char *path, const char *hex) {
    uint8_t frame[LONGEST];
    size_t length = strlen(hex) / 2;
    struct __sk_buff context = {.ifindex = if_nametoindex(interface)};
    if (!context.ifindex) fail(interface);
    for (size_t i = 0; i < length && i < sizeof frame; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &frame[i]) != 1) { errno = EINVAL; fail(hex); }
    union bpf_attr attributes = {.test = {
        .prog_fd = (uint32_t)(strcmp(path, "empty") ? open_program(path) : empty_program()),
        .data_in = (uint64_t)(uintptr_t)frame, .data_size_in = (uint32_t)length, .repeat = repeat,
        .ctx_in = (uint64_t)(uintptr_t)&context, .ctx_size_in = sizeof context}};
    if (bpf(BPF_PROG_TEST_RUN, &attributes)) fail("BPF_PROG_TEST_RUN");
    if (attributes.test.retval != 0) {
        fprintf(stderr, "programs: %s does not let the frame pass: %u\n", path, attributes.test.retval);
        return 1;
    }
    printf("%u\n", attributes.test.duration);
    return 0;
}

static struct bpf_prog_info info_of(int fd) {
    struct bpf_prog_info info = {0};
    union bpf_attr attributes = {.info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof info, .info = (uint64_t)(uintptr_t)&info}};
    if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)) fail("BPF_OBJ_GET_INFO_BY_FD");
    return info;
}

static int stats(int count, char **paths) {
    int fds[MOST];
    struct bpf_prog_info before[MOST];
    union bpf_attr attributes = {.enable_stats = {.type = BPF_STATS_RUN_TIME}};
    char byte;
    if (bpf(BPF_ENABLE_STATS, &attributes) < 0) fail("BPF_ENABLE_STATS");
    for (int i = 0; i < count; i++) {
        fds[i] = open_program(paths[i]);
        before[i] = info_of(fds[i]);
    }
    printf("ready\n");
    fflush(stdout);
    if (read(0, &byte, 1) < 0) fail("read");
    for (int i = 0; i < count; i++) {
        struct bpf_prog_info after = info_of(fds[i]);
        uint64_t runs = after.run_cnt - before[i].run_cnt;
        if (runs) printf("%s %llu %.1f\n", after.name, (unsigned long long)runs, (double)(after.run_time_ns - before[i].run_time_ns) / (double)runs);
    }
    printf("end\n");
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "run") == 0) return run((uint32_t)strtoul(argv[2], NULL, 10), argv[3], argv[4], argv[5]);
    if (argc > 2 && argc - 2 <= MOST && strcmp(argv[1], "stats") == 0) return stats(argc - 2, argv + 2);
    return fprintf(stderr, "usage: see programs.c\n"), 2;
}
