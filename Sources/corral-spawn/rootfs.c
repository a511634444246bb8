#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* umount2(2); no user-space kernel header has it, and libc's own does not go with linux/mount.h everywhere. */
#define MNT_DETACH 2

/* The host's root, the store over it, and whatever the host itself may have stacked there. */
#define STACKED_MAX 16

static _Bool is_same_directory(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The tmpfs, attached over the host's root in our own namespace, where nothing but its descriptor finds it. */
static struct failure make_store(const struct corral_spawn_request *request, int *store)
{
	static const struct {
		const char *name;
		mode_t mode;
	} directories[] = {
		{STORE_LOWER, 0755}, {STORE_UPPER, 0755}, {STORE_WORK, 0755},  {STORE_ROOT, 0755},
		{STORE_DEV, 0755},   {STORE_SHM, 01777},  {STORE_EMPTY, 0555},
	};
	char bytes[24], inodes[24];
	const char *options[7] = {"mode", "0755"};
	unsigned count = 2;

	if (request->upper_bytes) {
		append_decimal(bytes, request->upper_bytes);
		options[count++] = "size";
		options[count++] = bytes;
	}
	if (request->upper_inodes) {
		append_decimal(inodes, request->upper_inodes);
		options[count++] = "nr_inodes";
		options[count++] = inodes;
	}
	*store = new_file_system("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (*store < 0 || !attach(*store, AT_FDCWD, "/"))
		return failed(CORRAL_STAGE_UPPER);
	for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
		if (mkdirat(*store, directories[i].name, directories[i].mode) != 0 ||
		    fchmodat(*store, directories[i].name, directories[i].mode, 0) != 0)
			return failed(CORRAL_STAGE_UPPER);
	return SUCCESS;
}

/* `trees`: the lowest layer, then the others from the topmost down. */
static struct failure make_overlay(int store, const int *trees, uint32_t layers, int *root)
{
	/* Relative to the store, so that mountinfo inside shows no path of the host. */
	char lower[(CORRAL_SPAWN_LAYERS + 1) * 8];
	const char *const options[] = {
		"lowerdir", lower, "upperdir", STORE_UPPER, "workdir", STORE_WORK, "userxattr", NULL, NULL,
	};
	char *end = lower;

	for (uint32_t i = 0; i < layers; i++) {
		char *name = end;
		end = append_decimal(append_text(end, STORE_LAYER), i);
		if (mkdirat(store, name, 0755) != 0 || !attach(trees[1 + i], store, name))
			return failed(CORRAL_STAGE_LOWER);
		end = append_text(end, ":");
	}
	append_text(end, STORE_LOWER);
	if (!attach(trees[0], store, STORE_LOWER))
		return failed(CORRAL_STAGE_LOWER);
	if (fchdir(store) != 0)
		return failed(CORRAL_STAGE_OVERLAY);
	*root = new_file_system("overlay", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (*root < 0 || !attach(*root, store, STORE_ROOT))
		return failed(CORRAL_STAGE_OVERLAY);
	return SUCCESS;
}

/* The image is not trusted: its symbolic links are followed inside it only. */
static int open_inside(int root, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Makes the last name of `path`, whose parent exists: a directory, or an empty file. */
static _Bool make_name(int root, const char *path, _Bool directory)
{
	char parent[CORRAL_PATH_BYTES];
	char *slash;

	append_text(parent, path);
	slash = strrchr(parent, '/');
	*slash = 0;
	autofd at = open_inside(root, parent[0] ? parent : "/");
	if (at < 0)
		return 0;
	if (directory)
		return mkdirat(at, slash + 1, 0755) == 0;
	autofd file = openat(at, slash + 1, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	return file >= 0;
}

/* What a mount goes on. The names of its path that are missing are made. */
static int open_target(int root, const char *path, _Bool directory)
{
	char part[CORRAL_PATH_BYTES];
	int target = open_inside(root, path);

	if (target >= 0 || errno != ENOENT)
		return target;
	for (const char *end = path; *end;) {
		end += 1 + strcspn(end + 1, "/");
		memcpy(part, path, (size_t)(end - path));
		part[end - path] = 0;
		autofd there = open_inside(root, part);
		if (there < 0 && (errno != ENOENT || !make_name(root, part, *end || directory)))
			return -1;
	}
	return open_inside(root, path);
}

static struct failure attach_inside(int tree, int root, const char *path)
{
	struct stat at_tree, at_target, at_root;

	if (fstat(tree, &at_tree) != 0)
		return failed(CORRAL_STAGE_BIND);
	autofd target = open_target(root, path, S_ISDIR(at_tree.st_mode));
	if (target < 0 || fstat(target, &at_target) != 0 || fstat(root, &at_root) != 0)
		return failed(CORRAL_STAGE_BIND);
	if (is_same_directory(&at_target, &at_root))
		return (struct failure){EINVAL, CORRAL_STAGE_BIND};
	if (!attach(tree, target, ""))
		return failed(CORRAL_STAGE_BIND);
	return SUCCESS;
}

/* Leaves nothing of the host's mount tree in this namespace. */
static struct failure pivot(int root)
{
	struct stat at_root, top;

	if (fstat(root, &at_root) != 0 || fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0)
		return failed(CORRAL_STAGE_PIVOT);
	/*
	 * The old root is now stacked on the new one, and the store on the old root. A lookup of "." for umount2 goes
	 * to the top of the stack, and so does "/..", which tells when nothing is left on our root.
	 */
	for (int stacked = 0; stacked < STACKED_MAX; stacked++) {
		if (stat("/..", &top) != 0)
			return failed(CORRAL_STAGE_PIVOT);
		if (is_same_directory(&top, &at_root))
			return chdir("/") == 0 ? SUCCESS : failed(CORRAL_STAGE_PIVOT);
		if (syscall(SYS_umount2, ".", MNT_DETACH) != 0)
			return failed(CORRAL_STAGE_PIVOT);
	}
	return (struct failure){EBUSY, CORRAL_STAGE_PIVOT};
}

struct failure enter_root(const struct corral_spawn_request *request, const int *trees, int *upper)
{
	autofd root = -1;
	struct failure failure = make_store(request, upper);

	if (!failure.error)
		failure = make_overlay(*upper, trees, request->layer_count, &root);
	const int *mounts = trees + 1 + request->layer_count;
	for (uint32_t i = 0; i < request->mount_count && !failure.error; i++)
		failure = attach_inside(mounts[i], root, request->mounts[i].target);
	if (!failure.error)
		failure = mount_kernel_filesystems(root, *upper, request);
	if (!failure.error)
		failure = pivot(root);
	return failure;
}
