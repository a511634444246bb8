/*
 * open(2) as all of this program calls it, libdispatch included.
 *
 * Once a second libdispatch opens /proc/THREAD/stat of its worker threads, and ends the process when it cannot: a daemon that had used
 * up its descriptors would die of it. So these files alone are opened beyond the soft limit, which has to be below the hard one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int is_stat_of_thread(const char *path)
{
	size_t length = strlen(path);

	return length > 11 && !memcmp(path, "/proc/", 6) && !memcmp(path + length - 5, "/stat", 5);
}

static int open_beyond_limit(const char *path, int flags)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct rlimit limit, raised;
	int fd = -1, error = EMFILE;

	pthread_mutex_lock(&lock);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		raised = limit;
		raised.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
			fd = openat(AT_FDCWD, path, flags);
			error = errno;
			setrlimit(RLIMIT_NOFILE, &limit);
		}
	}
	pthread_mutex_unlock(&lock);
	errno = error;
	return fd;
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {
		va_list arguments;

		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	int fd = openat(AT_FDCWD, path, flags, mode);

	if (fd >= 0 || errno != EMFILE || !is_stat_of_thread(path))
		return fd;
	return open_beyond_limit(path, flags);
}
