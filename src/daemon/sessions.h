/*
 * sessions.h - the Ceph sessions and their workers.
 *
 * A session is one user with one key at one set of monitors in one network
 * namespace, whatever clusterID it is asked for by; its ceph-worker is started
 * when a call first needs it and ends when nobody has used it for a while. A
 * rotated key is another session: the old one goes on beside it until it is
 * idle. Only so many connect at once, and idle ones make room: keys that do
 * not work are in nobody's way.
 *
 * The rule that holds it together: nobody waits for a worker. Calls queue
 * while it connects; when it fails, dies or falls silent, they end with its
 * words, and the next call starts a new one.
 */
#ifndef DAEMON_SESSIONS_H
#define DAEMON_SESSIONS_H

#include "base/secret.h"
#include "core/op.h"
#include "core/peer.h"

/* What all workers are told; strings live as long as the process. */
struct sessions_setup {
	const char *worker_path;
	const char *driver_name;
	const char *instance_id;
	const char *cluster_name;
	const char *node_id;   /* "" unless this daemon serves its node too */
	const char *ceph_conf; /* used when the file exists */
	const char *kms_config;
	int64_t idle_ms;
	unsigned max_lanes;
	int64_t purge_delay_ms;
	/* --rbdhardmaxclonedepth and the like */
	unsigned clone_depth_hard, clone_depth_soft;
	unsigned snapshots_max, snapshots_min;
	bool log_json;
};

/* Whose session; borrowed for the call only. */
struct session_key {
	const char *cluster_id;
	const char *monitors;
	const char *user;
	const char *netns; /* "" is our own */
	const struct secret *key;
};

struct ceph_session;

/*
 * The state of a session is that of its worker. IDLE: the next call starts
 * one; BACKOFF: calls wait for the next try; DRAINING does not occur.
 */
#define SESSION_STATE_COUNT (PEER_BACKOFF + 1)

const char *sessions_state_name(enum peer_state state);

#define SESSION_STATES_MAX 512

/* One request to a worker. Embed it; zeroed is valid. */
struct session_call {
	/* set by the owner, borrowed until the wake */
	const char *method; /* "/csi.v1.Controller/CreateVolume" */
	const char *cluster_id;
	const char *monitors;
	const char *rados_namespace;
	bool out_of_service; /* is the node that it is about */
	int64_t pool_id;     /* that the handle's is mapped to; 0: it is not */
	bool elsewhere;      /* what is not there may be in another cluster */
	const void *body;
	size_t len;
	int64_t deadline_ms; /* of clock_now_ms(), 0: none */

	/* the result, valid after the wake */
	struct err err;       /* ERR_OK: reply is valid */
	unsigned char *reply; /* the owner frees */
	size_t reply_len;
	char states[SESSION_STATES_MAX]; /* "NAME:ms,NAME:ms" */

	/* private */
	uint64_t id; /* in the order of their start */
	struct peer_call peer_call;
	struct ceph_session *session;
	struct wake *waiter;
	int64_t since_ms, sent_ms;
	bool waits, cancelled, repeated; /* waits: not sent yet */
	char state[48];                  /* from the worker, "" unknown */
	int64_t state_ms;                /* how long in it when last heard */
	TAILQ_ENTRY(session_call) link;
};

void sessions_init(const struct sessions_setup *setup);

/*
 * Lets go of all workers, which then end by themselves, after what they do in
 * the background (purges, at most 30 s). No call may be open, and none may
 * come. sessions_ending(): how many have not ended yet.
 */
void sessions_end(void);
unsigned sessions_ending(void);

void sessions_fini(void);

/*
 * Gives the call to the session of `key` and wakes `waiter` with 0, or with
 * call->err.rc when the worker answered with an error or there is none to
 * answer.
 */
void sessions_call_start(struct session_call *call,
    const struct session_key *key, struct wake *waiter);

/*
 * User and key of a session that works now, for a call that has none: at the
 * monitors of `key`, in its network namespace, as its user unless that is
 * empty. Borrowed for this turn; false: there is none.
 */
bool sessions_credentials(const struct session_key *key, const char **user,
    const struct secret **secret);

/*
 * Nobody wants the answer any more. A call that was not sent ends at once
 * (-ECANCELED); the worker of one that was is told, and the wake comes when
 * it has brought the operation to a safe end.
 */
void sessions_call_cancel(struct session_call *call);

/* Where it is, for people: "connecting to cluster a at m:6789 for 3 s". */
void sessions_call_where(
    const struct session_call *call, char *buf, size_t size);

/* The same in one word, for programs: the state that the worker told, or ours. */
const char *sessions_call_state(const struct session_call *call);

/* A session as it is now; strings are borrowed for this turn. */
struct session_info {
	const char *cluster_id, *monitors, *user, *state;
	enum peer_state state_is;
	int64_t state_ms, worker_ms; /* for how long; the worker: since start */
	int worker;                  /* pid, 0: none */
	size_t running, waiting;     /* calls */
	unsigned lanes, failures;
};

/* Fills in the i-th; false: there are not so many. */
bool sessions_at(size_t i, struct session_info *info);

/* One line for each session. */
void sessions_dump(struct buf *out);

/*
 * Images of deleted volumes: being purged, to be tried again, held by clones;
 * and tries that have ended.
 */
struct sessions_purges {
	uint32_t running, waiting, blocked;
	uint64_t done, failed;
};

/* Clones: being flattened, to be tried again; and tries that have ended. */
struct sessions_flattens {
	uint32_t running, waiting;
	uint64_t done, failed;
};

/* An operation of a worker that no request waits for, as it was at told_ms. */
struct session_background {
	uint64_t id; /* in its worker */
	char name[32], subject[256], state[64];
	uint64_t state_ms, age_ms;
	int64_t told_ms;
};

#define SESSION_BACKGROUND_MAX 16

/* What a worker has told last of what it does in the background. */
struct session_progress {
	struct sessions_purges purges;
	struct sessions_flattens flattens;
	unsigned lanes; /* processes, idle ones too */
	uint64_t lane_starts;
	size_t nbackground;
	struct session_background background[SESSION_BACKGROUND_MAX];
};

/* Calls `each` for what all sessions have told. */
void sessions_each_background(
    void (*each)(const struct session_background *background, void *arg),
    void *arg);

struct sessions_stats {
	size_t in_state[SESSION_STATE_COUNT]; /* sessions of now */
	struct sessions_purges purges;        /* of all; ends since the start */
	struct sessions_flattens flattens;    /* the same */
	size_t workers, lanes_most;          /* now; of the session with most */
	size_t lanes_max;                    /* of one session */
	uint64_t worker_starts, lane_starts; /* since the start */
	uint64_t
	    failures; /* workers that died, hung, were shut out or could not connect */
};

struct sessions_stats sessions_stats(void);

#define SESSIONS_WORKERS_MAX 256

#endif
