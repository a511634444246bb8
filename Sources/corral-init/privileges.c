#include "init.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Raw system calls: libc's setuid family signals its threads first, of which there are none. */
#define CALL(name, ...) syscall(SYS_##name, __VA_ARGS__)

#define NOTHING_FROM_UID                                                                                               \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |               \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static _Bool clear_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	const struct __user_cap_data_struct none[2] = {{0}};
	return CALL(capset, &header, none) == 0;
}

/* Makes what is permitted effective and inheritable too. */
static _Bool raise_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (CALL(capget, &header, data) != 0)
		return 0;
	for (int half = 0; half < 2; half++)
		data[half].inheritable = data[half].effective = data[half].permitted;
	return CALL(capset, &header, data) == 0;
}

static _Bool set_user(uint32_t uid, uint32_t gid)
{
	return CALL(setgroups, 0, NULL) == 0 && CALL(setresgid, gid, gid, gid) == 0 && CALL(setresuid, uid, uid,
		uid) == 0;
}

_Bool shed_privileges(uint32_t uid)
{
	/* Not inheritable any more without the bounding set; keep_all_privileges() needs it. */
	if (!raise_capabilities())
		return 0;
	/* The bounding set goes here, once, and not in each command's start; our own permitted set does not suffer. */
	for (long capability = 0; CALL(prctl, PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
		capability++;
	if (errno != EINVAL)
		return 0;
	return CALL(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       CALL(prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0 && set_user(uid, uid) &&
	       CALL(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) == 0; /* the change of user resets it */
}

_Bool drop_all_privileges(uint32_t uid, uint32_t gid)
{
	return set_user(uid, gid) && CALL(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	       CALL(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
	       CALL(prctl, PR_SET_SECUREBITS, NOTHING_FROM_UID, 0, 0, 0) == 0 && clear_capabilities();
}

_Bool keep_all_privileges(uint32_t uid, uint32_t gid)
{
	/* The bounding set is empty: root's capabilities come through the inheritable set, which the command has from us. */
	return set_user(uid, gid) && CALL(prctl, PR_SET_SECUREBITS, 0, 0, 0, 0) == 0;
}
