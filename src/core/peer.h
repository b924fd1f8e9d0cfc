/*
 * peer.h - a helper process of ours, from both ends of its channel. `struct
 * peer` is the side that starts the process, or finds it, and supervises it.
 * `struct peer_service` is the side of the helper.
 *
 * All protocols share one envelope (struct peer_frame). A body is a protobuf
 * message of the protocol, and `what` tells which one.
 *
 *	parent -> HELLO            first; `what` is the protocol's version
 *	helper -> READY            once: it serves; `what` is its version
 *	helper -> FAILED           a step has failed; `what` is the scope
 *	parent -> CALL, CANCEL     in any number, by id
 *	helper -> REPLY            to each call; `more`: another one follows
 *	helper -> EVENT            what nobody has asked for
 *	parent -> LEVEL            `what` is how much to log from now on
 *	parent -> DRAIN            finish and exit
 *
 * The end of the channel is the order to end, too. A helper that was told to
 * end, one way or the other, is killed when it has not ended in time.
 */
#ifndef CORE_PEER_H
#define CORE_PEER_H

#include "base/err.h"
#include "base/log.h"
#include "core/channel.h"
#include "core/timer.h"

#include <protobuf-c/protobuf-c.h>

#include <sys/queue.h>
#include <sys/types.h>

enum peer_frame_kind {
	PEER_HELLO = 0,
	PEER_READY,
	PEER_FAILED,
	PEER_CALL,
	PEER_CANCEL,
	PEER_REPLY,
	PEER_EVENT,
	PEER_DRAIN,
	PEER_LEVEL,
};

/* What a failure means; `what` of PEER_FAILED. */
enum peer_scope {
	PEER_SCOPE_START = 0, /* it does not serve (yet) */
	PEER_SCOPE_RETIRED,   /* it serves what it has, and takes nothing new */
	PEER_SCOPE_LOST,      /* nothing that it serves works again */
	PEER_SCOPE_VERSION,   /* it speaks another version of the protocol */
};

struct peer_frame {
	enum peer_frame_kind kind;
	unsigned what;
	uint64_t id; /* of a call */
	bool more;
	struct err err;   /* of REPLY and FAILED */
	const char *step; /* of FAILED: the step, in words */

	/* To be sent: a message or nothing. Descriptors are copied. */
	const ProtobufCMessage *message;

	/*
	 * Received: valid in the callback only, see peer_unpack(). Descriptors
	 * that the callee wants to keep it takes by take_fd(); the others are
	 * closed.
	 */
	const void *body;
	size_t len;

	int *fds;
	size_t nfds;
};

/* protobuf-c's strings are not const, but nobody writes to them. NULL is "". */
static inline char *
peer_text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

/* The body as a message, for the caller to free; NULL if it is none. */
void *peer_unpack(
    const struct peer_frame *frame, const ProtobufCMessageDescriptor *type);

/* ---- the side that supervises ------------------------------------------- */

struct peer;

enum peer_state {
	PEER_IDLE = 0, /* no process; one may be started */
	PEER_STARTING, /* it was told HELLO, or is to be told */
	PEER_UP,       /* READY has come */
	PEER_BACKOFF,  /* it has ended; the next process has to wait */
	PEER_DRAINING, /* it was told to end */
};

/* One kind of helper. Its callbacks may free the peer. */
struct peer_kind {
	const char *name; /* in the log and in texts: "ceph-worker" */
	unsigned version;
	uint64_t *starts; /* counts the processes; may be NULL */
	size_t max_frame, max_queued;
	int64_t start_ms; /* from start to READY or FAILED; 0: no bound */
	int64_t end_ms;   /* from the order to end to SIGKILL */

	/* The pause after the second end in a row, and what it doubles up to. */
	int64_t backoff_ms, backoff_max_ms;

	/*
	 * There must never be two: `gone` is called when the process has ended
	 * for certain, and one that closes its channel is killed. Else `gone`
	 * is called when all that it has said is read.
	 */
	bool exclusive;

	void (*ready)(struct peer *peer, const struct peer_frame *frame);

	/* Also when start_ms is over (the step is "" then). */
	void (*failed)(struct peer *peer, const struct peer_frame *frame);
	void (*event)(struct peer *peer, const struct peer_frame *frame);

	/*
	 * Instead of what is said above, when the channel ends before the
	 * process does. NULL: there is nothing to say instead.
	 */
	void (*closed)(struct peer *peer);

	/*
	 * Its process has ended, and peer_end() or peer_fini() is due. The
	 * state is still what it was, and calls that were not answered are
	 * still in the list, for the callee to take out.
	 */
	void (*gone)(struct peer *peer);

	/* The pause is over: IDLE. */
	void (*rested)(struct peer *peer);
};

/* Embed it; zeroed is valid. */
struct peer_call {
	/* Each reply; when frame->more is false it is the last one. */
	void (*reply)(struct peer_call *call, const struct peer_frame *frame);

	/* private */
	struct peer *peer; /* NULL: it is not open */
	uint64_t id;
	TAILQ_ENTRY(peer_call) link;
};

/* Embed it. */
struct peer {
	enum peer_state state;
	int64_t since_ms;   /* in this state */
	int64_t started_ms; /* its process */
	int64_t heard_ms;   /* when a frame came last */
	unsigned failures;  /* ends in a row; the owner forgets them */
	int status;         /* wait status of the process that ended last */
	TAILQ_HEAD(peer_calls, peer_call)
	calls; /* sent and not answered, oldest first */

	/* private */
	const struct peer_kind *kind;
	struct process *process;
	struct channel *channel;
	struct timer timer;
	uint64_t last_id;
};

void peer_init(struct peer *peer, const struct peer_kind *kind);

/* Lets its process go, without a word to the owner. No call may be open. */
void peer_fini(struct peer *peer);

/* The same, but the process is left alone, whatever it does. */
void peer_forget(struct peer *peer);

/*
 * Starts argv[0] with the channel as descriptor 3 and `fds` after it, and says
 * hello. 0, or `err`: peer_end() is due then.
 */
int peer_spawn(struct peer *peer, const char *const argv[], const int *fds,
    size_t nfds, const ProtobufCMessage *hello, struct err *err) must_check;

/* The same for a process that runs already; takes over the pidfd. */
void peer_adopt(struct peer *peer, pid_t pid, int pidfd);

/* Says hello over `fd`, the channel to a process that was adopted. */
void peer_greet(struct peer *peer, int fd, const ProtobufCMessage *hello);

/* A connection to the socket of a helper. The descriptor or -errno. */
int peer_socket(const char *path);

/*
 * Sends a call. On failure (-EMSGSIZE: it is too long; -EPIPE: not connected)
 * it is not open.
 */
int peer_call_send(struct peer *peer, struct peer_call *call, unsigned what,
    const ProtobufCMessage *message) must_check;
struct peer_call *peer_call_find(const struct peer *peer, uint64_t id);
void peer_call_cancel(const struct peer_call *call); /* asks for its end */
void peer_call_take(struct peer_call *call); /* no reply is wanted any more */

void peer_drain(struct peer *peer);           /* to end cleanly */
void peer_kill(struct peer *peer, int signo); /* `gone` follows */

/* It is of no use, or gone: lets its process go, and backs off. */
void peer_end(struct peer *peer);

/* The helper speaks nonsense: killed, and gone. */
void peer_broken(struct peer *peer, const char *text);

pid_t peer_pid(const struct peer *peer); /* 0: none */
bool peer_is_connected(const struct peer *peer);

/* Calls `each` for all processes that have not ended, with their kind's name. */
void peer_each_process(
    void (*each)(const char *name, pid_t pid, void *arg), void *arg);

/* Logs so much from now on, and so do all helpers, and theirs. */
void peer_log_level(enum log_level level);

/* At our own end: stops watching all processes. Those let go end alone. */
void peer_forget_all(void);

/* ---- the helper's side ---------------------------------------------------- */

/* Whom to answer, by number: one who has gone is answered nothing. */
struct peer_from {
	unsigned client;
	uint64_t id;
};

struct peer_service {
	const char *name;
	unsigned version;
	size_t max_frame, max_queued;
	void (*hello)(
	    const struct peer_from *from, const struct peer_frame *frame);
	void (*call)(
	    const struct peer_from *from, const struct peer_frame *frame);
	void (*cancel)(const struct peer_from *from); /* may be NULL */
	void (*drain)(void);                          /* may be NULL */

	/* A client has gone, or spoke nonsense (-EPROTO). */
	void (*closed)(int rc);
};

/* Serves a client; takes over the descriptor. */
void peer_serve(int fd, const struct peer_service *service);

/* Serves up to `max` clients that connect to the socket `path`. */
int peer_listen(const char *path, unsigned max,
    const struct peer_service *service, struct err *err) must_check;
unsigned peer_clients(void); /* connected just now */

/*
 * Sends a frame to one client, or (NULL) to all of them: READY then goes to
 * those who have said HELLO. peer_reply() is for the last reply to a call.
 */
void peer_answer(const struct peer_from *to, const struct peer_frame *frame);
void peer_reply(const struct peer_from *to, const struct err *err,
    const ProtobufCMessage *message);
void peer_serve_end(void); /* closes all */

#endif
