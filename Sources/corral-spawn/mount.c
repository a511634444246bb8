#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

int new_file_system(const char *type, const char *const *options, uint64_t attributes)
{
	autofd context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);

	if (context < 0)
		return -1;
	for (; options && options[0]; options += 2) {
		/* A key without a value is a flag. */
		unsigned command = options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
		if (syscall(SYS_fsconfig, context, command, options[0], options[1], 0) != 0)
			return -1;
	}
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return -1;
	return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
}

_Bool attach(int mount, int directory, const char *path)
{
	return syscall(SYS_move_mount, mount, "", directory, path,
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
}

_Bool set_mount_attributes(int mount, uint64_t attributes)
{
	struct mount_attr change = {.attr_set = attributes};
	return syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &change, sizeof change) == 0;
}

int clone_mount(int directory, const char *path, uint64_t attributes)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
	int tree = (int)syscall(SYS_open_tree, directory, path, flags);

	if (tree >= 0 && !set_mount_attributes(tree, attributes))
		close_fd(&tree);
	return tree;
}
