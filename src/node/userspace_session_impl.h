/*
 * userspace_session_impl.h - what userspace_session.c (which sessions there
 * are, how they begin and end) and userspace_process.c (the process of one,
 * its successors, the commands to it) share. For nobody else.
 */
#ifndef NODE_USERSPACE_SESSION_IMPL_H
#define NODE_USERSPACE_SESSION_IMPL_H

#include "core/channel.h"
#include "core/child.h"
#include "core/timer.h"
#include "node/userspace_session.h"
#include "node/userspace_watch.h"

TAILQ_HEAD(call_list, session_call);

struct session {
	enum session_state state;
	char dir[SESSION_DIR_MAX];
	int fuse_fd, table_fd;
	struct table *table;
	struct channel *channel;
	struct helper helper; /* of a process that we started */
	struct io pidfd;      /* of one that we found */
	pid_t pid;
	struct call_list calls; /* sent or not, in order */
	uint64_t last_id;
	struct timer timer; /* DOWN: next start; READY: idle end */
	unsigned failures;  /* starts in a row */
	int64_t ready_ms;
	struct err err; /* why the last start failed, or why it is lost */
	struct watch watch;
	struct timer watch_timer;
	bool ends;    /* DRAINING: for good */
	bool retired; /* takes no new images */
	bool lost;    /* ends although images are attached */
	LIST_ENTRY(session)
	link;
};

extern struct session_shared {
	char *root; /* STATEDIR/attach */
	char *program;
	const struct session_ops *ops;
	LIST_HEAD(, session) sessions;
	struct wake **waiting;
	size_t nwaiting, waiting_room;
} session_shared;

static inline void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* ---- userspace_session.c ---- */

void session_set_state(struct session *s, enum session_state state);
unsigned session_used(const struct session *s); /* images in the table */

/*
 * Its images are dead from now on, whatever becomes of the process. That is
 * given the time to close them, which frees their locks.
 */
void session_lose(struct session *s, const struct err *why);
void session_lose_if_aborted(struct session *s);

/* It serves what it has; the next image goes to another session. */
void session_retire(struct session *s, const char *why);

/* No process serves and none will: gives everything back. */
void session_begin_end(struct session *s);

void session_free(struct session *s);

/* ---- userspace_process.c ---- */

void process_timer(struct timer *timer); /* of a session */
void process_watch(struct timer *timer); /* the watch_timer of one */
void process_spawn(struct session *s);
void process_kill(struct session *s);
void process_drain(struct session *s);

/* A process that we have found: its end, its descriptors, its commands. */
void process_found_gone(struct io *io, int what);
int process_seize(struct session *s, int pidfd, struct err *err) must_check;
void process_hello(struct session *s, int fd, bool want_descriptors);
void process_connect(struct session *s);

void session_fail_calls(struct session *s, const struct err *err);

#endif
