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

#include "attach.pb-c.h"
#include "attach/table.h"
#include "core/peer.h"
#include "node/userspace_io.h"
#include "node/userspace_mount.h"
#include "node/userspace_watch.h"

enum attach_state {
	ATTACH_MOUNTING = 0, /* directory and FUSE mount are being made */
	ATTACH_JOINING, /* found at our start, its table is not known yet */
	ATTACH_SERVED,  /* has a process, or will have: see peer.state */
	ATTACH_ENDING,  /* has none; unmounting */
};

struct attach_session {
	enum attach_state state;
	struct peer peer; /* rbd-attachd */
	char dir[SESSION_DIR_MAX];
	struct table *table; /* NULL: not known yet */
	bool lost;           /* its images are dead, and it is about to end */

	/* private */
	int fuse_fd, table_fd;
	TAILQ_HEAD(, attach_call) waiting; /* calls, not sent yet */
	struct err err; /* why the last start failed, or why it is lost */
	int64_t ready_ms;
	bool ends;          /* drained for good */
	bool retired;       /* takes no new images */
	bool spawned;       /* its process is ours, not a predecessor's */
	struct timer timer; /* no channel: the next try; UP: idle end */
	struct userspace_mount mount;
	struct wake mounted;
	struct watch watch;
	struct timer watch_timer;
	LIST_ENTRY(attach_session) link;
};

/* One command. Embed it; zeroed is valid. */
struct attach_call {
	Attach__Target target; /* set by the caller, its strings live */

	/* valid when woken */
	Attach__Attached *attached; /* of ATTACH, with 0 */
	struct err err;             /* with less */
	bool lost;                  /* with less: so was the session */

	/* private */
	struct peer_call peer_call;
	Attach__Call what;
	struct attach_session *session;
	struct wake *waiter;
	bool waits; /* not sent yet */
	unsigned tries;
	TAILQ_ENTRY(attach_call) link;
};

struct attach_session_ops {
	/* Its table can be looked at. */
	void (*found)(struct attach_session *session);
	/* rbd-attachd serves (again). */
	void (*ready)(struct attach_session *session);
	/* An image has a new size. */
	void (*resized)(
	    struct attach_session *session, uint64_t ino, uint64_t size_bytes);
	/* The session serves nothing any more; may be called twice. */
	void (*gone)(struct attach_session *session);
};

/*
 * At the start. Sessions that an earlier rbd-csid has left are joined or, when their
 * rbd-attachd is dead, taken down.
 */
int attach_session_init(const char *state_dir, const char *program,
    const struct attach_session_ops *ops, struct err *err) must_check;

/* For the sessions that exist: start with NULL, ends with NULL. */
struct attach_session *attach_session_next(struct attach_session *session);

/*
 * The session for this identity that takes new images, made and started if
 * need be. NULL while one that may be it has not answered yet, or one that is
 * lost still ends: `waiter` is woken when that changed, and should try again.
 */
struct attach_session *attach_session_get(
    const struct table_identity *who, struct wake *waiter, struct err *err);

/* Wakes `waiter` when any session's state changes. One wait at a time. */
void attach_session_wait_start(struct wake *waiter);

/*
 * Sends a command for call->target, also when rbd-attachd is being replaced
 * just now: it is sent to the successor then. All commands may be repeated. The
 * waiter is woken with the answer, or when no session can be had.
 */
void attach_call_start(struct attach_session *session, struct attach_call *call,
    Attach__Call what, struct wake *waiter);
void attach_call_fini(struct attach_call *call); /* frees the answer */

/*
 * Ends rbd-attachd and starts a successor. `clean`: drained first; else it is
 * killed, which fences whatever it still had under way.
 */
void attach_session_replace(struct attach_session *session, bool clean);

/* What all of them have done since the start. */
struct userspace_io attach_session_io(void);

/* For people: "ready", "down". */
const char *attach_session_state(const struct attach_session *session);

#endif
