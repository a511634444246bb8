/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The path of a file as the mount namespace has it, whatever directory a process may have made its root: dentries are walked to the
 * namespace's own root. Of a path that is longer than what rules speak of, the front is kept.
 */
#ifndef CORRAL_PATH_BPF_H
#define CORRAL_PATH_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "abi/corral_abi.h"
#include "lib/kernel_types.bpf.h"

/* Directories and mounts on the way up at most; of a file that is deeper nothing is known. */
#define PATH_STEPS 4096
/* The most that a name has, with the slash before it (NAME_MAX). */
#define PATH_COMPONENT 256
/* A path is written from its end to its front. */
#define PATH_ROOM 1024

enum path_kind {
	PATH_UNKNOWN = 0, /* not below this namespace's root */
	PATH_KNOWN = 1,
	PATH_NONE = 2, /* memory that has no place in any directory */
};

/* Of the task: a program can be preempted, and then others run on its processor. */
struct path_room {
	struct corral_path_key names[2];
	__u8 name[PATH_COMPONENT];
	/* The end stays zero. */
	__u8 walk[PATH_ROOM + PATH_COMPONENT];
};

struct path_walk {
	struct path_room *room;
	struct dentry *dentry;
	struct mount *mount;
	struct mnt_namespace *namespace;
	__u32 front; /* of `walk`, where the path begins so far */
	__u8 kind;   /* enum path_kind */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct path_room);
} path_rooms SEC(".maps");

static __always_inline __u8 kind_of_root(struct mount *mount, struct mnt_namespace *wanted)
{
	struct mnt_namespace *namespace = BPF_CORE_READ(mount, mnt_ns);

	if ((long)namespace < 0 && (long)namespace >= -4095)
		return PATH_NONE;
	return namespace && namespace == wanted ? PATH_KNOWN : PATH_UNKNOWN;
}

/* For bpf_loop: 1 ends it. */
static long walk_up(__u32 step, void *context)
{
	struct path_walk *walk = context;
	struct path_room *room = walk->room;
	struct dentry *dentry = walk->dentry;
	struct mount *mount = walk->mount;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	const unsigned char *name;
	__u32 front;
	long length;

	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *outer = BPF_CORE_READ(mount, mnt_parent);

		if (!outer || outer == mount) {
			walk->kind = kind_of_root(mount, walk->namespace);
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = outer;
		return 0;
	}
	/* It hangs in no directory. */
	if (dentry == parent) {
		if (kind_of_root(mount, NULL) == PATH_NONE)
			walk->kind = PATH_NONE;
		return 1;
	}
	front = walk->front;
	if (front < PATH_COMPONENT) {
		/* Rules speak of the front alone. */
		bpf_probe_read_kernel(&room->walk[PATH_ROOM - PATH_COMPONENT], PATH_COMPONENT,
				      &room->walk[front & (PATH_ROOM - 1)]);
		front = PATH_ROOM - PATH_COMPONENT;
	}
	name = BPF_CORE_READ(dentry, d_name.name);
	length = bpf_probe_read_kernel_str(room->name, sizeof(room->name), name);
	if (length <= 1)
		return 1;
	length = (length - 1) & (PATH_COMPONENT - 1);
	front = (front - (__u32)length - 1) & (PATH_ROOM - 1);
	room->walk[front] = '/';
	bpf_probe_read_kernel(&room->walk[front + 1], length, room->name);
	walk->front = front;
	walk->dentry = parent;
	return 0;
}

/* Writes the path of @dentry below @vfsmount into a key. @open: it is a directory that was opened. */
static __always_inline __u8 find_path(struct path_room *room, struct corral_path_key *key, struct vfsmount *vfsmount,
				      struct dentry *dentry, int open)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct path_walk walk = {
		.room = room,
		.dentry = dentry,
		.mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt),
		.namespace = BPF_CORE_READ(task, nsproxy, mnt_ns),
		.front = PATH_ROOM,
	};

	if (open)
		room->walk[--walk.front] = '/';
	bpf_loop(PATH_STEPS, walk_up, &walk, 0);
	/* The root itself. */
	if (walk.front == PATH_ROOM)
		room->walk[--walk.front] = '/';
	if (walk.kind == PATH_KNOWN)
		bpf_probe_read_kernel(key->path, sizeof(key->path), &room->walk[walk.front & (PATH_ROOM - 1)]);
	else
		key->path[0] = 0;
	return walk.kind;
}

#endif
