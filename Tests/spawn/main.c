#include "harness.h"

#include <stdio.h>
#include <unistd.h>

/* spawn-test DIRECTORY: where corral-spawn and corral-init are. */
int main(int argc, char **argv)
{
	if (argc != 2 || geteuid() != 0) {
		fprintf(stderr, "usage, as root: %s DIRECTORY-OF-PROGRAMS\n", argv[0]);
		return 2;
	}
	prepare_host(argv[1]);
	test_spawn();
	test_isolation();
	test_exec();
	test_hostile();
	test_endurance();
	test_successor();
	clean_host();
	printf("%u passed, %u failed\n", passed(), failed());
	return failed() != 0;
}
