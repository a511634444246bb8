#include "init.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Terminals belong to this group, as the sandbox's devpts is mounted. */
#define TTY_GROUP 5

_Bool open_terminal(uint32_t uid, uint16_t rows, uint16_t columns, int *master, int *slave)
{
	const struct winsize size = {.ws_row = rows, .ws_col = columns};
	int unlocked = 0;

	*master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (*master < 0 || ioctl(*master, TIOCSPTLCK, &unlocked) != 0 || ioctl(*master, TIOCSWINSZ, &size) != 0)
		return 0;
	/* Not by its name, which says nothing in whose devpts it is (Linux 4.13). */
	*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	/* The command may open it by name, and change its mode as mesg(1) does. */
	return *slave >= 0 && fchown(*slave, uid, TTY_GROUP) == 0;
}

_Bool take_terminal(void)
{
	return ioctl(STDIN_FILENO, TIOCSCTTY, 0) == 0;
}
