/*
 * userspace_session.h - rbd-csid's side of one rbd-attachd: its directory,
 * the FUSE mount, the process and its successors, and the commands to it.
 *
 * The rule that holds it together: rbd-csid and rbd-attachd each hold
 * /dev/fuse and the image table, so either may die. When rbd-attachd dies
 * while images are attached, the next one is started with the same two
 * descriptors. A session whose images can never be read or written again is
 * lost: both have died ("stale"), the FUSE connection was aborted, or the
 * cluster has shut its client out. It is taken down, never revived, and the
 * next stage begins another one.
 *
 * A session's directory is STATEDIR/attach/HASH-N with the socket "sock" and
 * the mount point "mnt". HASH stands for cluster ID, network namespace,
 * monitors and user; sessions of one user with different keys differ in N.
 */
#ifndef NODE_USERSPACE_SESSION_H
#define NODE_USERSPACE_SESSION_H

#include "attach/table.h"
#include "attach/wire.h"
#include "core/op.h"

#define SESSION_DIR_MAX 96

enum session_state {
	SESSION_MOUNTING = 0, /* directory and FUSE mount are being made */
	SESSION_STARTING,     /* rbd-attachd runs and has not answered yet */
	SESSION_JOINING,      /* found at our start, has not answered yet */
	SESSION_READY,        /* serves */
	SESSION_DOWN,         /* rbd-attachd is dead or dying, a successor
				   follows */
	SESSION_DRAINING,     /* is to end cleanly; then as after DOWN */
	SESSION_ENDING,       /* no process; unmounting, freeing loop devices */
};

struct session;

/* One command. Embed it; zeroed is valid. */
struct session_call {
	struct wire_request request; /* kind, image, ino; strings live */
	struct wire_answer answer;   /* valid when woken with 0 */
	struct err err;              /* valid when woken with less */
	bool lost;                   /* woken with less: so was the session */

	/* private */
	struct session *session;
	struct wake *waiter;
	bool sent;
	unsigned tries;
	TAILQ_ENTRY(session_call)
	link;
};

struct session_ops {
	/* Its table can be looked at. */
	void (*found)(struct session *session);
	/* rbd-attachd serves (again). */
	void (*ready)(struct session *session);
	/* An image has a new size. */
	void (*resized)(
	    struct session *session, uint64_t ino, uint64_t size_bytes);
	/* The session serves nothing any more; may be called twice. */
	void (*gone)(struct session *session);
};

/*
 * Once. Sessions that an earlier rbd-csid has left are joined (see
 * session_is_settled()) or, when their rbd-attachd is dead, taken down.
 */
int session_init(const char *state_dir, const char *program,
    const struct session_ops *ops, struct err *err) must_check;

/* For the sessions that exist: start with NULL, ends with NULL. */
struct session *session_next(struct session *session);

/*
 * The session for this identity that takes new images, made and started if
 * need be. NULL while one that may be it has not answered yet, or one that is
 * lost still ends: `waiter` is woken when that changed, and should try again.
 */
struct session *session_get(
    const struct table_identity *who, struct wake *waiter, struct err *err);

/* Wakes `waiter` when any session's state changes. One wait at a time. */
void session_wait_start(struct wake *waiter);

/*
 * Sends a command, also when rbd-attachd is being replaced just now: it is
 * sent to the successor then. All commands may be repeated. The waiter is
 * woken with the answer, or when no session can be had.
 */
void session_call_start(
    struct session *session, struct session_call *call, struct wake *waiter);

/*
 * Ends rbd-attachd and starts a successor. `clean`: drained first; else it is
 * killed, which fences whatever it still had under way.
 */
void session_replace(struct session *session, bool clean);

enum session_state session_state(const struct session *session);
const char *session_state_name(enum session_state state);
bool session_is_lost(const struct session *session);    /* and about to end */
const char *session_dir(const struct session *session); /* absolute path */
struct table *session_table(const struct session *session); /* or NULL */
pid_t session_pid(const struct session *session);           /* 0: none */

/* Whether `path` is in the session's FUSE directory. */
bool session_has_file(const struct session *session, const char *path);

#endif
