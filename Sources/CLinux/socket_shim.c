#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int named_socket(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address->sun_path, path);
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

/* Closes it, and keeps errno. */
static int give_up(int fd)
{
	int number = errno;

	if (fd >= 0)
		close(fd);
	errno = number;
	return -1;
}

int corral_socket_listen(const char *path)
{
	struct sockaddr_un address;
	int fd = named_socket(path, &address);

	if (fd < 0 || (unlink(path) != 0 && errno != ENOENT) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4) != 0)
		return give_up(fd);
	return fd;
}

int corral_socket_connect(const char *path)
{
	struct sockaddr_un address;
	int fd = named_socket(path, &address);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return give_up(fd);
	return fd;
}
