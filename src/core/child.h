/*
 * child.h - programs that we start: a tool that runs to its end under
 * supervision (mkfs, fsck), and a helper that lives on and talks over a
 * descriptor (ceph-worker, rbd-attachd).
 */
#ifndef CORE_CHILD_H
#define CORE_CHILD_H

#include "base/buf.h"
#include "core/io.h"
#include "core/op.h"
#include "core/timer.h"

#include <sys/types.h>

#define TOOL_OUTPUT_MAX 4096 /* what is kept of a tool's output */

/* Embed it; zeroed is valid. One run at a time. */
struct tool {
	int status; /* exit status, or 128 + signal; valid when woken with 0 */
	char output[TOOL_OUTPUT_MAX]; /* stdout and stderr, NUL terminated */
	struct err err; /* why it could not be started or was killed */

	/* private */
	const char *name;
	struct wake *waiter;
	pid_t pid;
	struct io out, pidfd;
	size_t got;
	bool reaped, killed;
	struct timer deadline;
	int64_t timeout_ms;
};

/*
 * Both are started with the signals of signal_requests() blocked: a tool dies
 * of none of them, a helper unblocks them by process_begin().
 */

/*
 * Runs argv (argv[0] is found in PATH; NULL terminated; copied by the kernel
 * before this returns) with standard input from /dev/null. Wakes `waiter`
 * with 0 when it has ended by itself (see status), -ETIMEDOUT when it had to
 * be killed after timeout_ms, or another negative errno when it could not be
 * started.
 */
void tool_start(struct tool *tool, const char *const argv[], int64_t timeout_ms,
    struct wake *waiter);
uint64_t tool_execs(void); /* programs started since the start */

/*
 * Starts argv[0] (a path) with `fds` as its descriptors 3, 4, … and every
 * other one but standard error closed (standard input and output are
 * /dev/null), in a session of its own: it outlives our terminal and signals to
 * our group. Returns a pidfd, which tells its end and is the caller's, or a
 * negative errno. core/peer.h supervises it.
 */
int helper_spawn(pid_t *pid, const char *const argv[], const int *fds,
    size_t nfds) must_check;

#endif
