// A supervisor by seccomp user notification: what the kernel offers for telling calls without BPF and without ptrace.
//
//   notify FILE COMMAND...     runs COMMAND; each of its getppid calls waits, becomes a line of JSON in FILE, and goes on
//
// What it cannot tell is the result and the duration: the call is made after the answer.
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Linux 6.6: the supervisor wakes on the processor of the caller. Older headers lack it.
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

static void fail(const char *what) {
    fprintf(stderr, "notify: %s: %s\n", what, strerror(errno));
    exit(1);
}

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_descriptor(int channel, int fd) {
    union control control = {.head = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec byte = {"", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    if (sendmsg(channel, &message, 0) != 1) fail("sendmsg");
}

static int receive_descriptor(int channel) {
    union control control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd;
    if (recvmsg(channel, &message, 0) != 1 || message.msg_controllen < CMSG_LEN(sizeof fd)) fail("recvmsg");
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    return fd;
}

static _Noreturn void supervised(int channel, char **command) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("prctl");
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0) fail("seccomp");
    send_descriptor(channel, listener);
    close(listener);
    close(channel);
    execvp(command[0], command);
    fail(command[0]);
    abort();
}

int main(int argc, char **argv) {
    int channel[2], status;
    if (argc < 3) return fprintf(stderr, "usage: see notify.c\n"), 2;
    FILE *out = fopen(argv[1], "w");
    if (!out) fail(argv[1]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel)) fail("socketpair");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) supervised(channel[1], argv + 2);
    close(channel[1]);
    int listener = receive_descriptor(channel[0]);
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);

    for (;;) {
        struct seccomp_notif call = {0};
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (poll(&ready, 1, -1) < 0 && errno != EINTR) fail("poll");
        if (ready.revents & POLLHUP) break; // nobody is left under the filter
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) {
            if (errno == EINTR || errno == ENOENT) continue;
            fail("SECCOMP_IOCTL_NOTIF_RECV");
        }
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        fprintf(out, "{\"time\":%lld.%09ld,\"pid\":%u,\"name\":\"getppid\",\"args\":[%llu,%llu,%llu,%llu,%llu,%llu]}\n",
            (long long)t.tv_sec, t.tv_nsec, call.pid, call.data.args[0], call.data.args[1], call.data.args[2], call.data.args[3],
            call.data.args[4], call.data.args[5]);
        struct seccomp_notif_resp answer = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) && errno != ENOENT) fail("SECCOMP_IOCTL_NOTIF_SEND");
    }
    if (fclose(out)) fail(argv[1]);
    if (waitpid(child, &status, 0) < 0) fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
