/* Makes system calls for the trace to tell of: calls GETPPIDS ADD_KEYS */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	for (long i = atol(arguments[1]); i > 0; i--)
		syscall(SYS_getppid);
	for (long i = atol(arguments[2]); i > 0; i--)
		syscall(SYS_add_key, NULL, NULL, NULL, 0, 0);
	return 0;
}
