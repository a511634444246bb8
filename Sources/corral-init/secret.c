#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIRECTORY "/run/secrets"

/* The root of their file system, once there is one. */
static int directory = -1;
static _Bool missing;

_Bool secrets_are_missing(void)
{
	return missing;
}

static _Bool is_name(const char name[CORRAL_SECRET_NAME_BYTES])
{
	size_t length = strnlen(name, CORRAL_SECRET_NAME_BYTES);

	if (length == 0 || length == CORRAL_SECRET_NAME_BYTES || name[0] == '.')
		return 0;
	for (size_t i = 0; i < length; i++) {
		char c = name[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '-' || c == '.'))
			return 0;
	}
	return 1;
}

/*
 * A file system of its own, so that it is in no layer and no snapshot, and takes nothing from the limit of what may be
 * written. Made only when there is a secret; pid 1 still has this user namespace's capabilities.
 */
static _Bool make_directory(void)
{
	static const char *const options[][2] = {{"size", "4194304"}, {"nr_inodes", "64"}, {"mode", "0755"}};
	int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int mounted = -1;

	if (context < 0)
		return 0;
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) != 0)
			goto out;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		goto out;
	mounted = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
			       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mounted < 0)
		goto out;
	if ((mkdir("/run", 0755) != 0 && errno != EEXIST) || (mkdir(DIRECTORY, 0755) != 0 && errno != EEXIST) ||
	    syscall(SYS_move_mount, mounted, "", AT_FDCWD, DIRECTORY, MOVE_MOUNT_F_EMPTY_PATH) != 0)
		close_fd(&mounted);
out:
	close_fd(&context);
	directory = mounted;
	return directory >= 0;
}

static _Bool write_secret(const struct corral_secret *secret)
{
	const char *content = (const char *)(secret + 1);
	uint32_t written = 0;
	int file;

	if (directory < 0 && !make_directory())
		return 0;
	file = openat(directory, secret->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (file < 0)
		return 0;
	while (written < secret->bytes) {
		ssize_t count = write(file, content + written, secret->bytes - written);
		if (count <= 0)
			break;
		written += (uint32_t)count;
	}
	_Bool done = written == secret->bytes && fchown(file, secret->uid, secret->gid) == 0;
	close_fd(&file);
	return done;
}

void receive_secret(const struct corral_secret *secret)
{
	_Bool sound = secret->zero == 0 && secret->bytes <= CORRAL_SECRET_BYTES &&
		      secret->header.size == sizeof *secret + secret->bytes && secret->uid < getuid() &&
		      secret->gid < getgid() && is_name(secret->name);

	if (sound && write_secret(secret))
		return;
	missing = 1;
	refuse(secret->header.tag, sound ? failed(CORRAL_STAGE_SECRETS) : (struct failure){EINVAL, CORRAL_STAGE_REQUEST});
}
