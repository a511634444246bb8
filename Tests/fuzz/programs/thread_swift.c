/*
 * What ThreadSanitizer must be told of Swift, whose libraries are not instrumented: what they order would be reported as a race.
 */
#include <stdbool.h>
#include <stdint.h>

#define SWIFT __attribute__((swiftcall))
// Not every program links the libraries that have these.
#define WEAK __attribute__((weak))

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/*
 * Tasks and continuations: the runtime tells by itself, once the sanitizer has called this function of libswiftCore. On Linux it calls
 * its own, empty one, which the program carries.
 */
extern bool _swift_tsan_enabled;
extern void (*_swift_tsan_acquire)(void *address);
extern void (*_swift_tsan_release)(void *address);
void __tsan_on_initialize(void);
void __tsan_on_initialize(void)
{
	_swift_tsan_enabled = true;
	_swift_tsan_acquire = __tsan_acquire;
	_swift_tsan_release = __tsan_release;
}

/*
 * What the runtime leaves out: an `await` that finds its continuation resumed already goes on without telling. The one who resumed it has
 * told of the task. Between here and there it may still be resumed: thread.suppressions.
 */
#define ASYNC __attribute__((swiftasynccall))
WEAK SWIFT void *swift_task_getCurrent(void);
WEAK ASYNC void __real_swift_continuation_await(void *context);
ASYNC void __wrap_swift_continuation_await(void *context)
{
	__tsan_acquire(swift_task_getCurrent());
	__attribute__((musttail)) return __real_swift_continuation_await(context);
}

/*
 * Mutex: taking and giving back a free one is compiled into who does it, and seen there; a thread that has to wait goes through the
 * library Synchronization. The linker leads these calls here (--wrap, Tests/fuzz/fuzz.mk).
 */
#define SELF __attribute__((swift_context))
// Of _MutexHandle: _lockSlow(UInt32), _tryLockSlow() -> Bool, _unlockSlow().
#define LOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF
#define TRY_LOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF
#define UNLOCK_SLOW(prefix) prefix##$s15Synchronization12_MutexHandleV11_unlockSlowyyF

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
