#include "spawn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than any message may carry, so that a surplus is seen and closed rather than cut off. */
#define DESCRIPTORS_MAX 48u

union descriptor_message {
	char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
	struct cmsghdr alignment;
};

static void close_all(int *descriptors, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close_fd(&descriptors[i]);
}

/* One message with its descriptors; *truncated when either did not fit. Length, 0 at the end, or -1 with errno. */
static ssize_t receive(int socket, void *data, size_t room, int *descriptors, unsigned *count, _Bool *truncated)
{
	union descriptor_message ancillary;
	struct iovec vector = {data, room};
	struct msghdr message = {
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = ancillary.bytes,
		.msg_controllen = sizeof ancillary.bytes,
	};
	ssize_t length;

	*count = 0;
	do
		length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned came = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		if (came > DESCRIPTORS_MAX - *count)
			came = DESCRIPTORS_MAX - *count;
		memcpy(descriptors + *count, CMSG_DATA(c), came * sizeof(int));
		*count += came;
	}
	*truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
	return length;
}

static _Bool send_with(int socket, const void *data, size_t length, const int *descriptors, unsigned count)
{
	union descriptor_message ancillary;
	struct iovec vector = {(void *)data, length};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	ssize_t sent;

	if (count > 0) {
		memset(&ancillary, 0, sizeof ancillary);
		message.msg_control = ancillary.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
	}
	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)length;
}

/* Tells the end of a conversation from a message without bytes. */
static _Bool is_shut(int socket)
{
	struct pollfd wait = {socket, POLLRDHUP, 0};
	return poll(&wait, 1, 0) > 0;
}

static _Bool is_terminated(const char *text, size_t room)
{
	return memchr(text, 0, room) != NULL;
}

static _Bool is_absolute_path(const char *text)
{
	return is_terminated(text, CORRAL_PATH_BYTES) && text[0] == '/';
}

/* A host name's label: letters, digits and inner hyphens. */
static _Bool is_hostname(const char *text)
{
	size_t length;

	if (!is_terminated(text, CORRAL_HOSTNAME_BYTES))
		return 0;
	length = strlen(text);
	if (length == 0 || text[0] == '-' || text[length - 1] == '-')
		return 0;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
			return 0;
	}
	return 1;
}

#define MOUNT_FLAGS ((uint32_t)(CORRAL_MOUNT_READ_ONLY | CORRAL_MOUNT_DESCRIPTOR | CORRAL_MOUNT_OWNED))

static _Bool is_sound(const struct corral_spawn_request *request, unsigned descriptors)
{
	if (request->uid_base < CORRAL_UID_BASE_MIN || request->uid_count < CORRAL_UID_COUNT_MIN ||
	    request->uid_count > UINT32_MAX - request->uid_base)
		return 0;
	if (request->v1_count > CORRAL_SPAWN_CGROUPS || request->mount_count > CORRAL_SPAWN_MOUNTS ||
	    request->layer_count > CORRAL_SPAWN_LAYERS || request->zero != 0)
		return 0;
	unsigned wanted = 1 + request->v1_count;
	if (!is_hostname(request->hostname) || !is_absolute_path(request->image))
		return 0;
	for (uint32_t i = 0; i < request->mount_count; i++) {
		const struct corral_mount *mount = &request->mounts[i];
		if (!is_absolute_path(mount->source) || !is_absolute_path(mount->target) || mount->zero != 0 ||
		    (mount->flags & ~MOUNT_FLAGS) != 0)
			return 0;
		wanted += (mount->flags & CORRAL_MOUNT_DESCRIPTOR) != 0;
	}
	for (uint32_t i = 0; i < request->layer_count; i++)
		if (!is_absolute_path(request->layers[i]))
			return 0;
	return descriptors == wanted;
}

enum received receive_request(int socket, struct corral_spawn_request *request, struct request_descriptors *descriptors)
{
	int came[DESCRIPTORS_MAX];
	unsigned count;
	_Bool truncated;
	ssize_t length = receive(socket, request, sizeof *request, came, &count, &truncated);

	descriptors->count = 0;
	if (length < 0 || (length == 0 && is_shut(socket)))
		return RECEIVED_END;
	if ((size_t)length != sizeof *request || request->header.version != CORRAL_CONTROL_VERSION ||
	    request->header.type != CORRAL_SPAWN_REQUEST || request->header.size != sizeof *request) {
		close_all(came, count);
		return RECEIVED_NOTHING;
	}
	if (truncated || !is_sound(request, count)) {
		close_all(came, count);
		return RECEIVED_MALFORMED;
	}
	memcpy(descriptors->fd, came, count * sizeof(int));
	descriptors->count = count;
	return RECEIVED_REQUEST;
}

void send_reply(int socket, uint64_t tag, struct failure failure, const struct sandbox *sandbox)
{
	struct corral_spawn_reply reply = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_SPAWN_REPLY, sizeof reply, tag},
		.error = failure.error,
		.stage = failure.stage,
		.pid = failure.error ? 0 : sandbox->pid,
		.refused = failure.error ? 0 : sandbox->refused,
	};
	const int descriptors[] = {sandbox->pidfd, sandbox->control, sandbox->netlink, sandbox->netns,
		sandbox->datagram};

	/* A reply that cannot be delivered means that corrald is gone; the next receive says so too. */
	(void)send_with(socket, &reply, sizeof reply, descriptors, failure.error ? 0 : 5);
}

_Bool send_setup(int socket, const struct setup_message *message, const int *descriptors, unsigned count)
{
	return send_with(socket, message, sizeof *message, descriptors, count);
}

_Bool receive_setup(int socket, struct setup_message *message, int *descriptors, unsigned *count)
{
	int came[DESCRIPTORS_MAX];
	unsigned arrived;
	_Bool truncated = 0;
	ssize_t length = receive(socket, message, sizeof *message, came, &arrived, &truncated);

	if (length < 0)
		return 0;
	if (length != sizeof *message || truncated || arrived > *count) {
		close_all(came, arrived);
		errno = length == 0 ? ECONNRESET : EPROTO;
		return 0;
	}
	memcpy(descriptors, came, arrived * sizeof(int));
	*count = arrived;
	return 1;
}
