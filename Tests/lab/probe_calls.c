// SPDX-License-Identifier: Apache-2.0
// Ordinary sockets by less ordinary calls.
#include "probe.h"

#include <net/if.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/io_uring.h>

struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
};

static struct ring ring_open(void) {
	struct io_uring_params params = {0};
	struct ring ring = {.fd = (int)syscall(SYS_io_uring_setup, 4, &params)};
	if (ring.fd < 0) failed("io_uring_setup");
	char *sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
	ring.entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring.entries == MAP_FAILED) failed("mmap");
	ring.sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring.sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(sq + params.sq_off.array);
	ring.cq_head = (unsigned *)(cq + params.cq_off.head);
	ring.cq_tail = (unsigned *)(cq + params.cq_off.tail);
	ring.cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
	ring.completions = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return ring;
}

/// Submits one operation and waits for its result: as a system call's, negative for an error.
static int ring_perform(struct ring *ring, const struct io_uring_sqe *operation) {
	unsigned slot = *ring->sq_tail & *ring->sq_mask;
	ring->entries[slot] = *operation;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) failed("io_uring_enter");
	if (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == *ring->cq_head) finish("io_uring_enter", ETIME, 0);
	int result = ring->completions[*ring->cq_head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
	return result;
}

/// No connect(2) is called: the kernel connects on behalf of the ring.
_Noreturn void ring_connect(void) {
	struct target t = target_of(address, 0);
	struct ring ring = ring_open();
	int fd = socket_for(&t, SOCK_STREAM, 0);
	int result = ring_perform(&ring, &(struct io_uring_sqe){
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uint64_t)(uintptr_t)&t.address, .off = t.size});
	if (result < 0) finish("connect", -result, 0);
	result = ring_perform(&ring, &(struct io_uring_sqe){
		.opcode = IORING_OP_SEND, .fd = fd, .addr = (uint64_t)(uintptr_t)"ping", .len = 4, .msg_flags = MSG_NOSIGNAL});
	if (result < 0) finish("send", -result, 0);
	expect_answer(fd);
}

/// A datagram from OTHER, an address that is not ours; no capability is needed for that.
_Noreturn void free_bind(void) {
	struct target t = target_of(address, 0), source;
	uint16_t to = port;
	port = 0;
	source = target_of(other, 0);
	port = to;
	int fd = socket_for(&t, SOCK_DGRAM, 0), on = 1, ipv4 = t.address.ss_family == AF_INET;
	if (setsockopt(fd, ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_FREEBIND : IPV6_FREEBIND, &on, sizeof on)) failed("setsockopt");
	if (bind(fd, (struct sockaddr *)&source.address, source.size)) failed("bind");
	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	expect_answer(fd);
}

_Noreturn void bind_to_device(void) {
	struct target t = target_of(address, 0);
	int fd = socket_for(&t, SOCK_DGRAM, 0);
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5)) failed("setsockopt");
	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	expect_answer(fd);
}

/// Connected to OTHER, which is permitted, then to nobody, then to ADDRESS.
_Noreturn void reconnect(void) {
	struct target t = target_of(address, 0), first = target_of(other, 0);
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	int fd = socket_for(&t, SOCK_DGRAM, 0);
	if (connect(fd, (struct sockaddr *)&first.address, first.size)) failed("first connect");
	if (connect(fd, &nobody, sizeof nobody)) failed("disconnect");
	if (connect(fd, (struct sockaddr *)&t.address, t.size)) failed("connect");
	if (send(fd, "ping", 4, 0) < 0) failed("send");
	expect_answer(fd);
}
