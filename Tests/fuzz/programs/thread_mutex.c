/*
 * What ThreadSanitizer must be told of Swift's Mutex. Taking and giving back a free one is compiled into who does it, and seen
 * there; a thread that had to wait goes through the library Synchronization, which is not instrumented: what the lock protects
 * would be reported as a race. The linker leads these calls here (--wrap, Tests/fuzz/fuzz.mk).
 */
#include <stdbool.h>
#include <stdint.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context))
// Of _MutexHandle: _lockSlow(UInt32), _tryLockSlow() -> Bool, _unlockSlow().
#define LOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF
#define TRY_LOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF
#define UNLOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV11_unlockSlowyyF

// Weak: a program without any Mutex does not link the library.
#define WEAK __attribute__((weak))
SWIFT WEAK void LOCK_SLOW(__real_)(uint32_t thread, SELF void *handle);
SWIFT WEAK bool TRY_LOCK_SLOW(__real_)(SELF void *handle);
SWIFT WEAK void UNLOCK_SLOW(__real_)(SELF void *handle);

SWIFT void LOCK_SLOW(__wrap_)(uint32_t thread, SELF void *handle)
{
	LOCK_SLOW(__real_)(thread, handle);
	__tsan_acquire(handle);
}

SWIFT bool TRY_LOCK_SLOW(__wrap_)(SELF void *handle)
{
	bool taken = TRY_LOCK_SLOW(__real_)(handle);
	if (taken)
		__tsan_acquire(handle);
	return taken;
}

SWIFT void UNLOCK_SLOW(__wrap_)(SELF void *handle)
{
	__tsan_release(handle);
	UNLOCK_SLOW(__real_)(handle);
}
