#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define INERT (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* A directory of the root to mount on: made if the image lacks it, never a symbolic link's target. */
static int open_mount_point(int root, const char *name)
{
	int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int directory = openat(root, name, flags);

	if (directory < 0 && errno == ENOENT && mkdirat(root, name, 0755) == 0)
		directory = openat(root, name, flags);
	return directory;
}

/* Like attach(), for a path that this kernel may not have. */
static _Bool attach_if_present(int mount, int directory, const char *path)
{
	return attach(mount, directory, path) || errno == ENOENT;
}

/* Covers what is at `path`, if anything: a directory by an empty one, anything else by /dev/null. */
static _Bool hide(int directory, const char *path, int store, int dev)
{
	struct stat status;

	if (fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT;
	autofd cover = S_ISDIR(status.st_mode) ? clone_mount(store, STORE_EMPTY, INERT | MOUNT_ATTR_RDONLY)
					       : clone_mount(dev, "null", MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY);
	return cover >= 0 && attach(cover, directory, path);
}

static struct failure mount_dev(int root, int store, int *dev)
{
	static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
	static const char *const links[][2] = {
		{"pts/ptmx", "ptmx"},		{"/proc/self/fd", "fd"},	 {"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	};
	static const char *const terminals[] = {
		/* All sandboxes draw on one number of terminals (kernel.pty.max): none may take most of them. */
		"newinstance", NULL, "gid", "5", "mode", "0620", "ptmxmode", "0666", "max", "128", NULL,
	};
	autofd content = openat(store, STORE_DEV, O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd point = open_mount_point(root, "dev");

	if (content < 0 || point < 0)
		return failed(CORRAL_STAGE_DEV);
	for (size_t i = 0; i < LENGTH(nodes); i++) {
		autofd place = openat(content, nodes[i], O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (place < 0)
			return failed(CORRAL_STAGE_DEV);
	}
	for (size_t i = 0; i < LENGTH(links); i++)
		if (symlinkat(links[i][0], content, links[i][1]) != 0)
			return failed(CORRAL_STAGE_DEV);
	if (mkdirat(content, "pts", 0755) != 0 || mkdirat(content, "shm", 0755) != 0)
		return failed(CORRAL_STAGE_DEV);

	*dev = clone_mount(store, STORE_DEV, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
	if (*dev < 0 || !attach(*dev, point, ""))
		return failed(CORRAL_STAGE_DEV);
	for (size_t i = 0; i < LENGTH(nodes); i++) {
		char path[32];
		append_text(append_text(path, "/dev/"), nodes[i]);
		/* Read-only keeps the host's inode as it is; a device can be written through it all the same. */
		autofd node = clone_mount(AT_FDCWD, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
		if (node < 0 || !attach(node, *dev, nodes[i]))
			return failed(CORRAL_STAGE_DEV);
	}
	autofd pts = new_file_system("devpts", terminals, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	autofd shm = clone_mount(store, STORE_SHM, INERT);
	if (pts < 0 || !attach(pts, *dev, "pts") || shm < 0 || !attach(shm, *dev, "shm"))
		return failed(CORRAL_STAGE_DEV);
	return SUCCESS;
}

/*
 * Network settings that need no privilege inside because the namespace is the sandbox's own; what leaves it is judged
 * elsewhere. Low ports for servers, ping without raw sockets, and no address or route but those it is given.
 */
static struct failure set_network_defaults(int proc, const struct corral_spawn_request *request)
{
	char ping_groups[32];
	const struct {
		const char *path, *value;
	} settings[] = {
		{"sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"sys/net/ipv4/ping_group_range", ping_groups},
		{"sys/net/ipv6/conf/default/accept_ra", "0"},
		{"sys/net/ipv6/conf/default/autoconf", "0"},
		{"sys/net/ipv6/conf/default/accept_dad", "0"},
	};

	append_decimal(append_text(ping_groups, "0 "), request->uid_count - 1);
	for (size_t i = 0; i < LENGTH(settings); i++)
		if (!write_file(proc, settings[i].path, settings[i].value) && errno != ENOENT)
			return failed(CORRAL_STAGE_PROC);
	return SUCCESS;
}

static struct failure mount_proc(int root, int store, int dev, const struct corral_spawn_request *request)
{
	static const char *const read_only[] = {"sys", "sysrq-trigger", "irq", "bus", "fs"};
	static const char *const hidden[] = {
		"interrupts", "kcore", "keys", "latency_stats", "timer_list", "sched_debug", "acpi", "scsi", "asound",
	};
	autofd point = open_mount_point(root, "proc");
	autofd proc = new_file_system("proc", NULL, INERT);

	if (point < 0 || proc < 0 || !attach(proc, point, ""))
		return failed(CORRAL_STAGE_PROC);
	struct failure failure = set_network_defaults(proc, request);
	if (failure.error)
		return failure;
	for (size_t i = 0; i < LENGTH(read_only); i++) {
		autofd copy = clone_mount(proc, read_only[i], INERT | MOUNT_ATTR_RDONLY);
		if (copy < 0 ? errno != ENOENT : !attach_if_present(copy, proc, read_only[i]))
			return failed(CORRAL_STAGE_PROC);
	}
	for (size_t i = 0; i < LENGTH(hidden); i++)
		if (!hide(proc, hidden[i], store, dev))
			return failed(CORRAL_STAGE_PROC);
	return SUCCESS;
}

static struct failure mount_sys(int root, int store, int dev)
{
	static const char *const hidden[] = {
		"firmware", "fs", "kernel", "power", "module", "bus", "block", "hypervisor",
		"devices/virtual/dmi", "devices/virtual/powercap",
	};
	autofd point = open_mount_point(root, "sys");
	autofd sys = new_file_system("sysfs", NULL, INERT | MOUNT_ATTR_RDONLY);

	/* Where the host itself sees only part of sysfs, the kernel lets nobody inside see more: then none at all. */
	_Bool refused = sys < 0 && errno == EPERM;
	if (refused)
		sys = clone_mount(store, STORE_EMPTY, INERT | MOUNT_ATTR_RDONLY);
	if (point < 0 || sys < 0 || !attach(sys, point, ""))
		return failed(CORRAL_STAGE_SYS);
	for (size_t i = 0; i < LENGTH(hidden) && !refused; i++)
		if (!hide(sys, hidden[i], store, dev))
			return failed(CORRAL_STAGE_SYS);
	return SUCCESS;
}

struct failure mount_kernel_filesystems(int root, int store, const struct corral_spawn_request *request)
{
	autofd dev = -1;
	struct failure failure = mount_dev(root, store, &dev);

	if (!failure.error)
		failure = mount_proc(root, store, dev, request);
	if (!failure.error)
		failure = mount_sys(root, store, dev);
	return failure;
}
