#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Linux 5.14; older C libraries do not name it. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum { MAX_DESCRIPTORS = 32 };

const char *corral_errno_name(int number)
{
	return strerrorname_np(number);
}

const char *corral_errno_text(int number)
{
	return strerrordesc_np(number);
}

int corral_socketpair(int *first, int *second)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	*first = pair[0];
	*second = pair[1];
	return 0;
}

union control {
	struct cmsghdr align;
	unsigned char bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
};

ssize_t corral_send_message(int fd, const void *bytes, size_t count, const int *fds, size_t fd_count)
{
	struct iovec part = { .iov_base = (void *)bytes, .iov_len = count };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;

	if (fd_count > MAX_DESCRIPTORS) {
		errno = E2BIG;
		return -1;
	}
	if (fd_count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t corral_receive_message(int fd, void *bytes, size_t capacity, int *fds, size_t fd_capacity, size_t *fd_count)
{
	struct iovec part = { .iov_base = bytes, .iov_len = capacity };
	union control control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int received[MAX_DESCRIPTORS];
	size_t count = 0;

	*fd_count = 0;
	ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (length < 0)
		return -1;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (here > MAX_DESCRIPTORS - count)
			here = MAX_DESCRIPTORS - count;
		memcpy(received + count, CMSG_DATA(header), here * sizeof(int));
		count += here;
	}
	if (count > fd_capacity || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		for (size_t i = 0; i < count; i++)
			close(received[i]);
		/* The kernel cuts off descriptors too that this process has no room for. */
		errno = message.msg_flags & MSG_CTRUNC && count < MAX_DESCRIPTORS ? EMFILE : EMSGSIZE;
		return -1;
	}
	memcpy(fds, received, count * sizeof(int));
	*fd_count = count;
	return length;
}

int corral_wait_readable(int fd, int milliseconds)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return poll(&entry, 1, milliseconds);
}

ssize_t corral_datagram_send(int fd, const uint8_t address[16], uint16_t port)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memcpy(&to.sin6_addr, address, sizeof(to.sin6_addr));
	return sendto(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to));
}

int corral_frame_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

ssize_t corral_frame_send(int fd, uint32_t ifindex, const void *frame, size_t count)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)ifindex };

	return sendto(fd, frame, count, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to));
}

int corral_netlink_prepare(int fd)
{
	int on = 1;
	int room = 4 << 20;

	/* An older kernel answers without the text; that is no reason to fail. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return 0;
}

int corral_netlink_open(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -1;
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	if (corral_netlink_prepare(fd) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Runs `open` in a network namespace on a thread of its own, which ends there: the caller's namespace never changes. */
struct opening {
	int netns;
	int (*open)(void *context);
	void *context;
	int result;
	int error;
};

static void *open_there(void *context)
{
	struct opening *opening = context;

	if (setns(opening->netns, CLONE_NEWNET) == 0)
		opening->result = opening->open(opening->context);
	opening->error = errno;
	return NULL;
}

static int open_in(int netns, int (*open)(void *context), void *context)
{
	struct opening opening = { .netns = netns, .open = open, .context = context, .result = -1 };
	pthread_t thread;
	int error = pthread_create(&thread, NULL, open_there, &opening);

	if (error == 0)
		error = pthread_join(thread, NULL);
	errno = error ? error : opening.error;
	return error ? -1 : opening.result;
}

static int open_netlink(void *protocol)
{
	return corral_netlink_open(*(int *)protocol);
}

int corral_netlink_open_in(int netns, int protocol)
{
	return open_in(netns, open_netlink, &protocol);
}

/* Bound to the loopback address, at any port or the one given. */
static int bound_socket(int family, int type, uint16_t *port)
{
	struct sockaddr_in ipv4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) }, .sin_port = htons(*port) };
	struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(*port) };
	struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6;
	socklen_t size = family == AF_INET ? sizeof(ipv4) : sizeof(ipv6);
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (bind(fd, address, size) < 0 || getsockname(fd, address, &size) < 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	*port = ntohs(family == AF_INET ? ipv4.sin_port : ipv6.sin6_port);
	return fd;
}

static int open_name_sockets(void *context)
{
	struct corral_name_sockets *sockets = context;
	socklen_t size = sizeof(sockets->cookie);

	/* A port that is free for one transport may be taken for the other. */
	for (int attempt = 0; attempt < 10; attempt++) {
		sockets->port = 0;
		sockets->udp = bound_socket(sockets->family, SOCK_DGRAM, &sockets->port);
		if (sockets->udp < 0)
			return -1;
		sockets->tcp = bound_socket(sockets->family, SOCK_STREAM, &sockets->port);
		if (sockets->tcp >= 0)
			break;
		int saved = errno;
		close(sockets->udp);
		errno = saved;
	}
	if (sockets->tcp < 0)
		return -1;
	if (listen(sockets->tcp, 64) < 0 ||
	    getsockopt(sockets->udp, SOL_SOCKET, SO_NETNS_COOKIE, &sockets->cookie, &size) < 0) {
		int saved = errno;
		close(sockets->udp);
		close(sockets->tcp);
		errno = saved;
		return -1;
	}
	return 0;
}

int corral_name_sockets_in(int netns, struct corral_name_sockets *sockets)
{
	return open_in(netns, open_name_sockets, sockets);
}

int corral_netlink_join(int fd, uint32_t group)
{
	return setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group));
}

ssize_t corral_netlink_send(int fd, const void *bytes, size_t count)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(fd, bytes, count, 0, (struct sockaddr *)&kernel, sizeof(kernel));
}

ssize_t corral_netlink_receive(int fd, void *bytes, size_t capacity)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t size = sizeof(from);
		ssize_t length = recvfrom(fd, bytes, capacity, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from, &size);

		if (length < 0 || (size == sizeof(from) && from.nl_pid == 0))
			return length;
	}
}

int corral_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int corral_pidfd_send_signal(int pidfd, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int corral_start_helper(int executable, const char *name, int control, int init, pid_t *pid)
{
	/* Above the numbers they are put at, so that no dup2 overwrites another's source. */
	int sources[3] = { executable, control, init };
	int moved[3] = { -1, -1, -1 };
	int result = 0;

	for (int i = 0; i < 3; i++) {
		moved[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, 10);
		if (moved[i] < 0)
			result = errno;
	}

	if (result == 0) {
		posix_spawn_file_actions_t actions;
		posix_spawnattr_t attributes;
		char path[64];
		char *arguments[] = { (char *)name, NULL };
		char *environment[] = { NULL };
		sigset_t none, all;

		sigemptyset(&none);
		sigfillset(&all);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", moved[0]);
		posix_spawn_file_actions_init(&actions);
		posix_spawnattr_init(&attributes);
		posix_spawnattr_setsigmask(&attributes, &none);
		posix_spawnattr_setsigdefault(&attributes, &all);
		posix_spawnattr_setflags(&attributes,
					 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
		result = posix_spawn_file_actions_adddup2(&actions, moved[1], 3);
		if (result == 0)
			result = posix_spawn_file_actions_adddup2(&actions, moved[2], 4);
		if (result == 0)
			result = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
		posix_spawnattr_destroy(&attributes);
		posix_spawn_file_actions_destroy(&actions);
	}

	for (int i = 0; i < 3; i++)
		if (moved[i] >= 0)
			close(moved[i]);
	if (result == 0)
		return 0;
	errno = result;
	return -1;
}

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

int corral_executable_memfd(const char *name, const void *bytes, size_t count)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	size_t done = 0;
	while (done < count) {
		ssize_t written = write(fd, (const char *)bytes + done, count - done);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			goto failed;
		done += (size_t)written;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto failed;
	return fd;
failed:;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int corral_unshare_network(void)
{
	return unshare(CLONE_NEWNET);
}

int corral_enter_network_namespace(int fd)
{
	return setns(fd, CLONE_NEWNET);
}

uint64_t corral_file_system_type(const char *path)
{
	struct statfs info;

	return statfs(path, &info) < 0 ? 0 : (uint64_t)info.f_type;
}

int corral_mount_pseudo(const char *type, const char *target)
{
	return mount(type, target, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

int corral_mount_bpffs(const char *target)
{
	return mount("bpf", target, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700");
}

int corral_cgroup_id(int directory, uint64_t *id)
{
	union {
		struct file_handle handle;
		unsigned char room[sizeof(struct file_handle) + sizeof(uint64_t)];
	} buffer = { .handle = { .handle_bytes = sizeof(uint64_t) } };
	int mount_id;

	if (name_to_handle_at(directory, "", &buffer.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return -1;
	if (buffer.handle.handle_bytes != sizeof(uint64_t)) {
		errno = EOVERFLOW;
		return -1;
	}
	memcpy(id, buffer.handle.f_handle, sizeof(*id));
	return 0;
}

void *corral_map_shared(int fd, size_t count, bool writable)
{
	void *memory = mmap(NULL, count, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

uint64_t corral_atomic_load(const void *word)
{
	return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}

void corral_atomic_store(void *word, uint64_t value)
{
	__atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE);
}

uint64_t corral_atomic_add(void *word, uint64_t amount)
{
	return __atomic_fetch_add((uint64_t *)word, amount, __ATOMIC_RELAXED);
}

void corral_schedule_as_batch(void)
{
	const struct sched_param none = { .sched_priority = 0 };

	sched_setscheduler(0, SCHED_BATCH, &none);
}

uint64_t corral_boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int corral_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int corral_raw_socket(int family)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW), on = 1;

	if (fd >= 0 && family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &on, sizeof(on)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int corral_send_packet(int fd, int family, const void *destination, const void *packet, size_t count)
{
	struct sockaddr_in ipv4 = { .sin_family = AF_INET };
	struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };
	const struct sockaddr *address = (struct sockaddr *)&ipv4;
	socklen_t size = sizeof(ipv4);

	if (family == AF_INET6) {
		memcpy(&ipv6.sin6_addr, destination, sizeof(ipv6.sin6_addr));
		address = (struct sockaddr *)&ipv6;
		size = sizeof(ipv6);
	} else {
		memcpy(&ipv4.sin_addr, destination, sizeof(ipv4.sin_addr));
	}
	return sendto(fd, packet, count, MSG_NOSIGNAL, address, size) < 0 ? -1 : 0;
}
