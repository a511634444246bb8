#ifndef CORRAL_LINUX_SHIM_H
#define CORRAL_LINUX_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Before the kernel's headers, which then leave out what both define. */
#include <netinet/in.h>

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/neighbour.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/veth.h>

/* Unless it says otherwise, each function does what the system call of its name does: -1 and errno on failure. Every
 * descriptor made here is close-on-exec. */

/* "EPERM" and "Operation not permitted"; NULL for a number that is no errno. Both live forever. */
const char *corral_errno_name(int number);
const char *corral_errno_text(int number);

/* ---- sockets and descriptors that travel ---- */

/* SOCK_SEQPACKET over AF_UNIX. */
int corral_socketpair(int *first, int *second);
/* Sockets of the same kind with a name in the file system: one that listens there, in the place of what is there, and one that
 * connects. */
int corral_socket_listen(const char *path);
int corral_socket_connect(const char *path);

/* One message with `fd_count` descriptors (at most 16). Never raises SIGPIPE. */
ssize_t corral_send_message(int fd, const void *bytes, size_t count, const int *fds, size_t fd_count);

/*
 * One message of at most `capacity` bytes and `fd_capacity` (at most 16) descriptors. A message that carries more of
 * either is taken off the queue, its descriptors are closed, and the call fails with EMSGSIZE. 0: the peer has closed.
 */
ssize_t corral_receive_message(int fd, void *bytes, size_t capacity, int *fds, size_t fd_capacity, size_t *fd_count);

/* Waits until one of POLLIN, POLLHUP, POLLERR. 1 when it came, 0 after `milliseconds` (-1: no limit). */
int corral_wait_readable(int fd, int milliseconds);

/* ---- readiness ---- */

int corral_epoll_create(void);

/*
 * Reports `key` once when `fd` can be read (or written, with `writable`), or has hung up. A descriptor that is watched
 * already is watched for this instead.
 */
int corral_epoll_arm(int epoll, int fd, bool writable, uint64_t key);

/* No more reports of `fd`; nothing happens when it is not watched. */
void corral_epoll_disarm(int epoll, int fd);

/* Waits for reports: their keys, at most `capacity` and 64. -1 and errno; EINTR among others. */
int corral_epoll_wait(int epoll, uint64_t *keys, size_t capacity);

/* ---- probes ---- */

/* One byte from an AF_INET6 socket to an address (IPv4 as ::ffff:a.b.c.d), without waiting. */
ssize_t corral_datagram_send(int fd, const uint8_t address[16], uint16_t port);

/* A socket for sending whole frames in the calling thread's network namespace; it receives nothing. */
int corral_frame_socket(void);
ssize_t corral_frame_send(int fd, uint32_t ifindex, const void *frame, size_t count);

/* ---- netlink ---- */

/* A netlink socket that answers with extended errors, and without the request's own bytes. */
int corral_netlink_open(int protocol);

/* The same options for a socket that somebody else has opened. */
int corral_netlink_prepare(int fd);

/* A netlink socket of the network namespace `netns`, whatever the calling thread's is. */
int corral_netlink_open_in(int netns, int protocol);

/* A UDP socket and one that listens for TCP, at one port of the loopback address. */
struct corral_name_sockets {
	int family; /* AF_INET or AF_INET6 */
	int udp;
	int tcp;
	uint16_t port; /* host order */
	uint64_t cookie; /* of the network namespace */
};
int corral_name_sockets_in(int netns, struct corral_name_sockets *sockets);
int corral_netlink_join(int fd, uint32_t group);
ssize_t corral_netlink_send(int fd, const void *bytes, size_t count);

/* Does not wait. The result is the message's full length even where it exceeds `capacity`. Messages that do not come from the kernel are dropped. */
ssize_t corral_netlink_receive(int fd, void *bytes, size_t capacity);

/* ---- raw IP ---- */

/* A socket that sends whole packets of `family`, IP header included, with any source address. */
int corral_raw_socket(int family);
int corral_send_packet(int fd, int family, const void *destination, const void *packet, size_t count);

/* ---- processes ---- */

int corral_pidfd_open(pid_t pid);
int corral_pidfd_send_signal(int pidfd, int signal);

/* Starts `executable` (a memfd) with `control` at descriptor 3 and `init` at 4, in a session of its own, with an empty environment. */
int corral_start_helper(int executable, const char *name, int control, int init, pid_t *pid);

/* An executable memfd that holds `bytes`, sealed against any change. */
int corral_executable_memfd(const char *name, const void *bytes, size_t count);

/* The programs built into this one. */
const void *corral_embedded_spawn(size_t *count);
const void *corral_embedded_init(size_t *count);

/* ---- namespaces, mounts, cgroups ---- */

int corral_unshare_network(void);
int corral_enter_network_namespace(int fd);

/* f_type of statfs(2), 0 on failure. */
uint64_t corral_file_system_type(const char *path);

/* A mount of `type` with nosuid, nodev and noexec. */
int corral_mount_pseudo(const char *type, const char *target);

/* A BPF file system that only root may enter. */
int corral_mount_bpffs(const char *target);

/* The number that BPF knows the cgroup by: its 8-byte file handle. */
int corral_cgroup_id(int directory, uint64_t *id);

/* ---- memory and time ---- */

/* NULL and errno on failure. */
void *corral_map_shared(int fd, size_t count, bool writable);

/* Relaxed; the memory may change at any time under the kernel's or another process's hand. Aligned to 8. */
uint64_t corral_atomic_load(const void *word);
void corral_atomic_store(void *word, uint64_t value); /* what was written before is seen before */
uint64_t corral_atomic_add(void *word, uint64_t amount); /* the value before */

/* CLOCK_BOOTTIME. */
uint64_t corral_boottime_ns(void);

/* The calling thread is SCHED_BATCH from now on, if that is permitted. */
void corral_schedule_as_batch(void);

int corral_eventfd(void);

#endif
