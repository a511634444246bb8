/*
 * Fills a pinned BPF hash map with entries of a sandbox that there is none of, or takes them out again:
 *   fill add|remove|show MAP
 * Prints how many entries were added or removed; `show`: size of a key, of a value, and how many there may be. Exits with 1 when the map was not full at the end of `add`.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

int main(int count, char **arguments)
{
	if (count != 3) {
		fprintf(stderr, "usage: fill add|remove|show MAP\n");
		return 2;
	}
	int adds = !strcmp(arguments[1], "add");
	union bpf_attr open = {.pathname = (uint64_t)(uintptr_t)arguments[2]};
	int map = bpf(BPF_OBJ_GET, &open);
	struct bpf_map_info info = {0};
	union bpf_attr ask = {.info = {.bpf_fd = (uint32_t)map, .info_len = sizeof info, .info = (uint64_t)(uintptr_t)&info}};

	if (map < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) < 0 || info.key_size < 4) {
		perror(arguments[2]);
		return 2;
	}
	if (!strcmp(arguments[1], "show")) {
		printf("%u %u %u\n", info.key_size, info.value_size, info.max_entries);
		return 0;
	}
	/* No slot, interface or cgroup has a number like this; the last bytes tell the entries apart. */
	unsigned char *key = calloc(1, info.key_size), *value = calloc(1, info.value_size);
	uint32_t number = 0, done = 0;
	union bpf_attr entry = {.map_fd = (uint32_t)map, .key = (uint64_t)(uintptr_t)key};

	if (adds)
		entry.value = (uint64_t)(uintptr_t)value;
	memset(key, 0xf0, info.key_size);
	for (errno = 0; number <= info.max_entries; number++) {
		memcpy(key + info.key_size - 3, &number, 3);
		if (bpf(adds ? BPF_MAP_UPDATE_ELEM : BPF_MAP_DELETE_ELEM, &entry) == 0)
			done++;
		else if (adds)
			break;
	}
	int full = errno == E2BIG;

	printf("%u\n", done);
	return adds && !full;
}
