/*
 * worker.h - one ceph-worker process as its session sees it: started with a
 * channel and a Hello, then asked and answered in frames of worker.proto.
 *
 * The rule that holds it together: after worker_let_go(), or once `failed`
 * (before `ready`) or `gone` was called, nothing of it reaches the session any
 * more.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "daemon/sessions.h"

#include <sys/types.h>

struct worker;

struct worker_hello {
	const struct sessions_setup *setup;
	const char *cluster_id, *monitors, *user, *netns;
	const struct secret *key;
};

/*
 * `arg` is the session. ready or failed comes once, before anything else;
 * failed may come after ready, too: what runs is brought to its end then, and
 * nothing new succeeds.
 */
struct worker_ops {
	void (*ready)(void *arg, const char *fsid, const char *address);
	void (*failed)(
	    void *arg, enum err_code code, const char *step, const char *text);

	/* A frame is about this call; NULL when there is none such. */
	struct session_call *(*call_of)(void *arg, uint64_t id);

	/* call->err, reply and states are set. */
	void (*replied)(void *arg, struct session_call *call);

	/* The process is gone, or speaks nonsense. */
	void (*gone)(void *arg);
};

/* NULL with `err` (UNAVAILABLE) when the program cannot be started. */
struct worker *worker_new(const struct worker_hello *hello,
    const struct worker_ops *ops, void *arg, struct err *err);

/* Tells it to end, which it may take its time for; killed after a minute. */
void worker_let_go(struct worker *worker);
void worker_kill(struct worker *worker); /* SIGKILL; still to be let go */
pid_t worker_pid(const struct worker *worker);

/* Images that it purges, or is to purge: work, too, as it has told last. */
bool worker_has_purges(const struct worker *worker);
struct sessions_purges worker_purges(void); /* those of all workers */

int worker_send_request(struct worker *worker, const struct session_call *call,
    struct err *err) must_check;
void worker_send_cancel(struct worker *worker, uint64_t id);

/* At our own end: stops watching those that were let go. */
void worker_forget_all(void);

#endif
