/*
 * userspace_watch.h - the last resort against a rbd-attachd that waits for
 * itself: one of its threads reclaims memory and waits there for a page, or
 * for a file system, that only it can write back. It sleeps uninterruptibly
 * then, for ever, and with it whoever syncs one of its volumes.
 *
 * The rule that holds it together: no rbd-attachd that is merely slow is
 * touched. Only one unbroken sleep in the reclaim of memory counts. A wait for
 * a disk, for a log or for a freezer does not, nor do many short sleeps.
 */
#ifndef NODE_USERSPACE_WATCH_H
#define NODE_USERSPACE_WATCH_H

#include "base/str.h"

#include <sys/types.h>

#define WATCH_LOOK_MS 5000
/* The kill loses nothing, a successor goes on. */
#define WATCH_KILL_MS 20000
/* After it. The abort fails all volumes of the process. */
#define WATCH_ABORT_MS 40000

/* Embed it; zeroed is valid. */
struct watch {
	pid_t pid;         /* the one that was looked at */
	pid_t thread;      /* found asleep each time; 0: none */
	uint64_t switches; /* of that thread; another number: it ran */
	unsigned looks;    /* so many times found so again */
	bool killed;
};

enum watch_advice {
	WATCH_FINE = 0,
	WATCH_KILL,
	WATCH_ABORT,
};

/*
 * To be called every WATCH_LOOK_MS while the process is there. `root` is ""
 * but in tests. What /proc does not tell us is fine: the stack of a thread
 * needs CAP_SYS_ADMIN and CAP_SYS_PTRACE.
 */
enum watch_advice watch_look(struct watch *watch, const char *root, pid_t pid);

#endif
