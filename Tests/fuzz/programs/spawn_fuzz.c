/*
 * Requests to corral-spawn: the first byte says how many descriptors come along, the rest is the message. Runs the receiving
 * half of message.c over a real socket pair.
 */
#include "spawn.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SENT_MAX 40u

static int pair[2] = {-1, -1};
static int spare = -1;

static void require(_Bool holds, const char *promise)
{
	if (!holds) {
		fprintf(stderr, "broken: %s\n", promise);
		abort();
	}
}

static unsigned open_descriptors(void)
{
	/* The lowest free number tells whether anything was left open. */
	int lowest = fcntl(spare, F_DUPFD_CLOEXEC, 0);
	close(lowest);
	return (unsigned)lowest;
}

static void send_request(const uint8_t *bytes, size_t size, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(SENT_MAX * sizeof(int))];
		struct cmsghdr alignment;
	} ancillary = {{0}};
	struct iovec vector = {(void *)bytes, size};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

	if (count > 0) {
		message.msg_control = ancillary.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &spare, sizeof(int));
	}
	require(sendmsg(pair[0], &message, MSG_NOSIGNAL) == (ssize_t)size, "the message is sent");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct corral_spawn_request request;
	struct request_descriptors descriptors = {0};

	if (size == 0)
		return 0;
	if (pair[0] < 0) {
		require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
		spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	unsigned before = open_descriptors();
	send_request(data + 1, size - 1, data[0] % (SENT_MAX + 1));
	enum received received = receive_request(pair[1], &request, &descriptors);

	require(received != RECEIVED_END, "the conversation goes on");
	if (received == RECEIVED_REQUEST) {
		unsigned wanted = 1 + request.v1_count;
		for (uint32_t i = 0; i < request.mount_count; i++)
			wanted += (request.mounts[i].flags & CORRAL_MOUNT_DESCRIPTOR) != 0;
		require(descriptors.count == wanted, "a request has its descriptors");
		require(strlen(request.hostname) < CORRAL_HOSTNAME_BYTES && request.image[0] == '/', "its texts end");
		require(request.uid_base >= CORRAL_UID_BASE_MIN && request.uid_base + request.uid_count > request.uid_base,
			"its user ids are no host's own");
		for (uint32_t i = 0; i < request.mount_count; i++)
			require(strlen(request.mounts[i].source) < CORRAL_PATH_BYTES &&
				strlen(request.mounts[i].target) < CORRAL_PATH_BYTES, "its paths end");
	} else {
		require(descriptors.count == 0, "what is refused leaves nothing");
	}
	for (unsigned i = 0; i < descriptors.count; i++)
		close_fd(&descriptors.fd[i]);
	require(open_descriptors() == before, "no descriptor is left open");
	return 0;
}
