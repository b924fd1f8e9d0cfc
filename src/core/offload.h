/*
 * offload.h - one blocking C function in a forked child.
 *
 * The daemon has no threads, so fork() without exec is safe: the child sees
 * the arguments as they are, closes every inherited descriptor but the ones
 * named, runs the function, sends its result through a pipe and ends. It is
 * complete only when the pipe is at its end AND the child is reaped.
 */
#ifndef CORE_OFFLOAD_H
#define CORE_OFFLOAD_H

#include "core/io.h"
#include "core/op.h"
#include "core/timer.h"

#include <sys/types.h>

/*
 * Runs in the child. `args` is what was given, `result` is zeroed memory of
 * result_size bytes that the parent gets back (no pointers in it). Returns 0
 * or a negative errno; err tells why. May block; must not use the loop.
 */
typedef int (*offload_fn)(const void *args, void *result, struct err *err);

/* Embed it; zeroed is valid. One call at a time. */
struct offload {
	struct err err; /* the function's, valid after the wake */
	int keep_fd[4]; /* descriptors the child keeps; 0 ends the list */

	/* private */
	const char *what;
	offload_fn fn;
	const void *args;
	void *result;
	size_t result_size;
	struct wake *waiter;
	pid_t pid;
	struct io pipe, pidfd;
	unsigned char *reply;
	size_t got, want;
	bool reaped, killed, slow, late;
	int status;
	struct timer deadline;
	int64_t timeout_ms;
	STAILQ_ENTRY(offload) link;
};

/*
 * Queues the call and wakes `waiter` with what fn returned. `what` names it
 * in logs ("mount /x"); all pointers must stay valid until the wake. A child
 * that is not done after timeout_ms is reported and killed; the wake then
 * has -ETIMEDOUT, but comes only when the child is really gone (it may be in
 * an uninterruptible sleep: its caller's lock must stay). A child that dies
 * without an answer wakes with -EIO.
 */
void offload_start(struct offload *off, const char *what, offload_fn fn,
    const void *args, void *result, size_t result_size, int64_t timeout_ms,
    struct wake *waiter);

/*
 * How many children may run at once (default 64), but for those that have run
 * for 10 s, which are eight times as many in all at most; the others wait, FIFO.
 */
void offload_set_max(unsigned max);

/* For tests and metrics. */
struct offload_stats {
	unsigned max, running;
	unsigned slow;  /* of these, those that have lent their place */
	unsigned stuck; /* running past their time */
	uint64_t forks; /* since the start */
};
struct offload_stats offload_stats(void);

#endif
