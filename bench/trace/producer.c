/*
 * Makes getppid calls at a rate: producer CALLS-A-SECOND SECONDS (0.3, say). A rate of 0 is as fast as it can. Prints how many it made,
 * how long it took, and what the calls cost while it made them, in nanoseconds: on average, and in the quickest batch. A batch of
 * 1,000 takes so little time that among many some are disturbed by nobody.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int count, char **arguments)
{
	uint64_t rate, length, end, start, calls = 0, busy = 0, best = UINT64_MAX;

	if (count != 3)
		return 2;
	rate = strtoull(arguments[1], NULL, 10);
	length = (uint64_t)(strtod(arguments[2], NULL) * 1e9);
	start = now();
	end = start + length;
	for (uint64_t begun = start; begun < end; begun = now()) {
		/* As many as are due by now, of a batch of 10 ms at most, so that a pause is not made good by a flood. */
		uint64_t due = rate ? (begun - start) / 1000 * rate / 1000000 : calls + 1000;
		uint64_t most = rate ? rate / 100 + 1 : 1000;
		uint64_t batch = due > calls ? due - calls : 0;

		if (rate && batch > most) {
			start += (batch - most) * 1000000 / rate * 1000;
			batch = most;
		}
		for (uint64_t i = 0; i < batch; i++)
			syscall(SYS_getppid);
		calls += batch;
		uint64_t took = now() - begun;
		busy += took;
		if (batch >= 1000 && took / batch < best)
			best = took / batch;
		if (rate)
			usleep(500);
	}
	printf("%llu calls in %llu ms, %llu ns each, %llu ns at best\n", (unsigned long long)calls,
	       (unsigned long long)((now() - (end - length)) / 1000000),
	       (unsigned long long)(calls ? busy / calls : 0), (unsigned long long)best);
	return 0;
}
