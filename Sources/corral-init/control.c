#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 3u
#define SIGNAL_MAX 64

static _Bool gone;
static int listening = -1;

_Bool control_is_open(void)
{
	return !gone;
}

int successor_socket(void)
{
	return listening;
}

/* The one that connected last is corrald: nobody but the host's root can, and an instance has one at a time. */
_Bool take_successor(void)
{
	int control = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (control < 0)
		return 0;
	/* The number is free when its predecessor is known to be gone. */
	if (control != CORRAL_CONTROL_FD) {
		int there = dup3(control, CORRAL_CONTROL_FD, O_CLOEXEC);
		close_fd(&control);
		if (there < 0)
			return 0;
	}
	gone = 0;
	return 1;
}

/* corrald died. What runs goes on; there is just nobody to tell. */
static void lose_control(void)
{
	int control = CORRAL_CONTROL_FD;
	if (!gone) {
		close_fd(&control);
		hold_output();
	}
	gone = 1;
}

enum sent send_control(const void *message, size_t bytes, const int *descriptors, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
		struct cmsghdr alignment;
	} ancillary;
	struct iovec vector = {(void *)message, bytes};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

	if (gone)
		return SENT_GONE;
	if (count > 0) {
		memset(&ancillary, 0, sizeof ancillary);
		header.msg_control = ancillary.bytes;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
	}
	if (sendmsg(CORRAL_CONTROL_FD, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return SENT;
	/* Anything else (a full buffer, no memory, too many descriptors in flight) passes. */
	if (errno != EPIPE && errno != ECONNRESET && errno != ENOTCONN)
		return SENT_FULL;
	lose_control();
	return SENT_GONE;
}

/* How many zero-terminated strings fill `bytes` exactly; -1 when the last one has no end. */
static int64_t count_strings(const char *text, size_t bytes)
{
	int64_t count = 0;

	if (bytes == 0 || text[bytes - 1] != 0)
		return -1;
	for (const char *end = text + bytes; text < end; text += strlen(text) + 1)
		count++;
	return count;
}

static _Bool are_variables(const char *text, uint32_t count)
{
	for (; count > 0; count--, text += strlen(text) + 1)
		if (text[0] == '=' || !strchr(text, '='))
			return 0;
	return 1;
}

/* `size` is that of the header; the message behind it is as long as it says. */
static void receive_exec(const struct corral_exec *exec)
{
	const struct failure malformed = {EINVAL, CORRAL_STAGE_REQUEST};
	uint64_t tag = exec->header.tag;
	size_t rest = exec->header.size - sizeof *exec;
	/* struct sock_filter has 8 bytes; the kernel takes 4,096 of them (BPF_MAXINSNS). */
	const uint32_t known = CORRAL_EXEC_STDIN | CORRAL_EXEC_KEEP_CAPABILITIES | CORRAL_EXEC_TERMINAL;
	_Bool both = (exec->flags & CORRAL_EXEC_STDIN) && (exec->flags & CORRAL_EXEC_TERMINAL);
	/* What is not below our own number is us, nobody, or setresuid(2)'s "leave it". */
	_Bool sound = exec->argc >= 1 && exec->seccomp_bytes % 8 == 0 && exec->seccomp_bytes <= 4096 * 8 &&
		      exec->seccomp_bytes <= rest &&
		      (exec->flags & ~known) == 0 && !both && exec->uid < getuid() &&
		      exec->gid < getgid();

	if (!sound) {
		refuse(tag, malformed);
		return;
	}
	struct execution execution = {
		.tag = tag,
		.flags = exec->flags,
		.argc = exec->argc,
		.envc = exec->envc,
		.filter_bytes = exec->seccomp_bytes,
		.filter = exec + 1,
		.strings = (const char *)(exec + 1) + exec->seccomp_bytes,
		.strings_bytes = rest - exec->seccomp_bytes,
		.upper_bytes = exec->upper_bytes,
		.open_files = exec->open_files,
		.uid = exec->uid,
		.gid = exec->gid,
		.rows = exec->rows,
		.columns = exec->columns,
		.processes = exec->processes,
	};
	if (count_strings(execution.strings,
		execution.strings_bytes) != (int64_t)exec->argc + (int64_t)exec->envc + 1) {
		refuse(tag, malformed);
		return;
	}
	const char *variables = execution.strings;
	for (uint32_t i = 0; i < exec->argc; i++)
		variables += strlen(variables) + 1;
	if (!are_variables(variables, exec->envc)) {
		refuse(tag, malformed);
		return;
	}
	if (secrets_are_missing()) {
		refuse(tag, (struct failure){ECANCELED, CORRAL_STAGE_SECRETS});
		return;
	}
	start_command(&execution);
}

static void receive_signal(const struct corral_signal *message)
{
	if (message->zero == 0 && message->signal >= 1 && message->signal <= SIGNAL_MAX)
		signal_command(message->header.tag, message->signal);
}

/* A socket that listens; what else may come is closed by the caller. */
static void receive_listen(int *descriptor)
{
	int is_listening = 0;
	socklen_t size = sizeof is_listening;

	if (listening < 0 && *descriptor >= 0 &&
	    getsockopt(*descriptor, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) == 0 && is_listening) {
		listening = *descriptor;
		*descriptor = -1;
	}
}

/* The descriptor of a message, or -1. */
static int received_descriptor(struct msghdr *message)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	int descriptor = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof descriptor))
		memcpy(&descriptor, CMSG_DATA(c), sizeof descriptor);
	return descriptor;
}

void receive_control(void)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr alignment;
	} ancillary;

	/* Only the pages that a message fills are ever backed by memory, and only until it has been dealt with. */
	void *buffer = mmap(NULL, CORRAL_CONTROL_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec vector = {buffer, CORRAL_CONTROL_MAX};
	/* Room for one descriptor: the kernel drops any more that come, and says so. */
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = CMSG_LEN(sizeof(int)),
	};
	const struct corral_control_header *header = buffer;

	if (buffer == MAP_FAILED) {
		poll(NULL, 0, 1);
		return;
	}
	ssize_t length = recvmsg(CORRAL_CONTROL_FD, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int descriptor = length < 0 ? -1 : received_descriptor(&message);
	if (length < 0 && errno != EAGAIN && errno != EINTR)
		lose_control();
	if (length == 0) {
		/* The end, or a message without bytes. */
		struct pollfd shut = {CORRAL_CONTROL_FD, POLLRDHUP, 0};
		if (poll(&shut, 1, 0) > 0)
			lose_control();
	}
	if (length >= (ssize_t)sizeof *header && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    header->version == CORRAL_CONTROL_VERSION && header->size == (size_t)length) {
		if (header->type == CORRAL_LISTEN && header->size == sizeof(struct corral_listen))
			receive_listen(&descriptor);
		else if (descriptor >= 0)
			; /* no other message has one */
		else if (header->type == CORRAL_EXEC && header->size >= sizeof(struct corral_exec))
			receive_exec(buffer);
		else if (header->type == CORRAL_SECRET && header->size >= sizeof(struct corral_secret))
			receive_secret(buffer);
		else if (header->type == CORRAL_SIGNAL && header->size == sizeof(struct corral_signal))
			receive_signal(buffer);
		else if (header->type == CORRAL_FORGET && header->size == sizeof(struct corral_forget))
			forget_command(header->tag);
	}
	close_fd(&descriptor);
	munmap(buffer, CORRAL_CONTROL_MAX);
}
