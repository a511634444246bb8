#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <sys/epoll.h>

#define REPORTS_MAX 64

int corral_epoll_create(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

int corral_epoll_arm(int epoll, int fd, bool writable, uint64_t key)
{
	struct epoll_event event = {.events = EPOLLONESHOT | (writable ? EPOLLOUT : EPOLLIN), .data.u64 = key};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	return errno == EEXIST ? epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) : -1;
}

void corral_epoll_disarm(int epoll, int fd)
{
	(void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
}

int corral_epoll_wait(int epoll, uint64_t *keys, size_t capacity)
{
	struct epoll_event events[REPORTS_MAX];
	int count = epoll_wait(epoll, events, capacity < REPORTS_MAX ? (int)capacity : REPORTS_MAX, -1);

	for (int i = 0; i < count; i++)
		keys[i] = events[i].data.u64;
	return count;
}
