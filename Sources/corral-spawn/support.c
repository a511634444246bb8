#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct failure failed(enum corral_stage stage)
{
	return (struct failure){errno, stage};
}

void close_fd(int *fd)
{
	int error = errno;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = error;
}

_Bool write_file(int directory, const char *path, const char *text)
{
	autofd file = openat(directory, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t length = strlen(text);
	ssize_t written;

	if (file < 0)
		return 0;
	written = write(file, text, length);
	if (written >= 0 && (size_t)written != length)
		errno = EIO;
	return written == (ssize_t)length;
}

char *append_text(char *text, const char *more)
{
	while ((*text = *more++) != 0)
		text++;
	return text;
}

char *append_decimal(char *text, uint64_t value)
{
	char digits[21];
	char *first = digits + sizeof digits - 1;

	*first = 0;
	do
		*--first = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	return append_text(text, first);
}
