/* Many sandboxes: nothing adds up. Prints how long one takes and what one costs. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPAWNS = 300 };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static unsigned long resident_kib(pid_t pid, const char *field)
{
	char path[64], line[256];
	unsigned long value = 0;
	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, field, strlen(field)) == 0)
			sscanf(line + strlen(field), "%lu", &value);
	if (file)
		fclose(file);
	return value;
}

void test_endurance(void)
{
	double times[SPAWNS];
	unsigned left = 0, refused = 0;

	printf("endurance\n");
	struct spawner spawner = start_spawner();
	struct sandbox first = make_sandbox(&spawner);
	check(destroy(&first), "the first leaves nothing");
	unsigned before = count_fds(spawner.pid), own = count_fds(getpid());
	for (unsigned i = 0; i < SPAWNS; i++) {
		struct corral_spawn_request request = usual_request();
		double start = now_ms();
		/* One in ten fails half-way. */
		if (i % 10 == 9)
			strcpy(request.mounts[0].target, "/etc/passwd/below");
		struct sandbox sandbox = request_spawn(&spawner, &request);
		times[i] = now_ms() - start;
		refused += sandbox.reply.error != 0;
		if (i == 0)
			printf("  a parked init: RSS %lu KiB, PSS %lu KiB, private %lu KiB\n",
				resident_kib(sandbox.reply.pid, "Rss:"),
			       resident_kib(sandbox.reply.pid, "Pss:"), resident_kib(sandbox.reply.pid,
				"Private_Dirty:"));
		left += !destroy(&sandbox);
	}
	qsort(times, SPAWNS, sizeof times[0], by_value);
	printf("  SPAWN_REQUEST to reply: median %.3f ms, p99 %.3f ms\n", times[SPAWNS / 2], times[SPAWNS * 99 / 100]);
	if (pids_root[0]) {
		enum { JOINS = 60 };
		for (unsigned i = 0; i < JOINS; i++) {
			struct corral_spawn_request request = usual_request();
			request.v1_count = 1;
			double start = now_ms();
			struct sandbox sandbox = request_spawn(&spawner, &request);
			times[i] = now_ms() - start;
			left += sandbox.reply.error != 0 || !destroy(&sandbox);
		}
		qsort(times, JOINS, sizeof times[0], by_value);
		printf("  the same with one v1 cgroup to join: median %.3f ms, p99 %.3f ms\n", times[JOINS / 2],
			times[JOINS * 99 / 100]);
	}
	check(refused == SPAWNS / 10, "%d spawns, of which %u were to fail", SPAWNS, refused);
	check(left == 0, "none leaves a process or a cgroup");
	check(count_fds(spawner.pid) == before && before > 0, "corral-spawn's descriptors stay at %u (%u)", before,
		count_fds(spawner.pid));
	check(count_fds(getpid()) == own, "and so do corrald's");
	stop_spawner(&spawner);
}
