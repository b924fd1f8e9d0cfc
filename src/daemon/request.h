/*
 * request.h - one execution of one RPC for any number of callers: its lock,
 * who waits for it, what runs it, its answer.
 *
 *	same as one that runs or waits: join it
 *	 -> else lock -> run (Node: here, Controller: in the session's worker)
 *	 -> answer all callers -> unlock
 *
 * The rule that holds it together: a lock belongs to the request, never to a
 * caller. Callers come and go; the request ends only when its execution has
 * reached a safe end, and whoever asks again meanwhile joins it.
 */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "core/keylock.h"
#include "csi/rpc.h"
#include "daemon/config.h"
#include "daemon/credentials.h"
#include "daemon/sessions.h"
#include "rpc/call.h"

struct kube_ask;
struct request;

struct requests_setup {
	const struct config *config;
	const char *credentials_dir; /* "": the driver has none */
	bool fencing;                /* of nodes that are out of service */
	const char *driver_name;     /* dispatch_init() sets it */
	const struct csi_impl *const *impls; /* of CSI_DAEMON, by csi_id */
	/* For metrics; may be NULL: a lock was waited for; one has ended. */
	void (*waited)(int64_t ms);
	void (*ended)(const struct request *r);
	int64_t slow_ms; /* report executions older than this; 0: never */
	size_t max;      /* executions at once; 0: 4096 */
};

void requests_init(const struct requests_setup *setup);
void requests_fini(void); /* nothing may run any more */

/*
 * Takes a call of an RPC that is served, and ends it now or later. Beyond
 * `max` executions, of which some may have lost their callers, it is refused:
 * who resets his streams at once cannot start work without end. UNAVAILABLE,
 * since external-provisioner takes RESOURCE_EXHAUSTED for a full node.
 */
void request_take(struct call *call, const struct csi_definition *def);

size_t requests_running(void); /* also those without a caller */

/* Executions: those of now, and all since the start. */
struct requests_stats {
	size_t running; /* also those that wait for a lock */
	size_t max;     /* of these */
	size_t large_bytes, large_bytes_max; /* of the larger ones */
	size_t waiting;                      /* ... of them: for their lock */
	size_t orphaned;                     /* ... of them: without a caller */
	int64_t oldest_ms; /* age of the oldest, 0 without any */
	uint64_t started;  /* that were not joined to another one */
	uint64_t joined;   /* calls that were */
	uint64_t refused;  /* beyond `max`, or of too many bytes */
	uint64_t waits;    /* executions that had to wait for their lock */
	int64_t waited_ms; /* ... and how long, those that wait no more */
};

struct requests_stats requests_stats(void);

/*
 * Calls `idle` from the loop whenever nothing runs any more, and soon if so
 * already. From now on what nobody waits for is told to stop where that is
 * safe.
 */
void requests_when_idle(void (*idle)(void));

/* ---- for request*.c and admin.c ------------------------------------------- */

enum request_state {
	REQUEST_NEW = 0,      /* nothing is held */
	REQUEST_LOCKED,       /* a lock is ours, or was given up */
	REQUEST_SECRET_KNOWN, /* Kubernetes has given the cluster's secret */
	REQUEST_NODE_KNOWN,   /* and said whether the node is out of service */
	REQUEST_ENTITLED,     /* all is known to ask the session */
	REQUEST_ANSWERED,     /* by the session, or there is none */
	REQUEST_RAN,          /* the operation in this process has ended */
	REQUEST_DONE,         /* one or the other: err or reply is the answer */
	REQUEST_END,          /* all is given back */
};

struct request_lock {
	struct keylock *locks; /* NULL: none */
	const char *key;
	struct keylock_claim claim;
	struct request *request;
};

struct request {
	struct op op;
	const struct requests_setup *setup;
	enum request_state state;
	struct csi_request in;
	unsigned char *body; /* CSI_WORKER: what is sent on */
	size_t len;
	struct request_lock lock[CSI_LOCKS_MAX]; /* in the order taken */
	const char *key;                         /* of the first */
	int64_t waits_since_ms;                  /* for a lock; 0: does not */
	TAILQ_HEAD(, caller) callers;
	unsigned joined; /* callers that came after the first one */
	struct timer linger;

	struct csi_rpc *rpc; /* CSI_DAEMON: while it runs */

	/* CSI_WORKER; strings are the request's or its arena's */
	struct session_key session;
	struct config_cluster cluster;
	const char *cluster_id; /* whose turn it is */
	int64_t pool_id;   /* the handle's pool there, if it is mapped; -1: its
			      handle has none; 0: it is not mapped */
	size_t places;     /* config_find_mapped()'s n */
	struct err missed; /* what the first one said, which has it not */
	struct secret secret;   /* the key, if it is the request's */
	struct credentials own; /* the cluster's, if they are used */
	struct kube_ask *kube;  /* NULL: Kubernetes is not asked */
	bool borrowed;          /* the credentials, of a session that works */
	struct session_call call;

	/* CSI_SESSION_OF_ALL */
	struct csi_join join;
	const char *answered; /* the last cluster that did; NULL: none yet */
	const void *part;     /* what the cluster of now is sent */
	size_t part_len;

	/* the result; a reply lives in the arena, or is the call's */
	struct err err;
	const void *reply;
	size_t reply_len;
	char states[SESSION_STATES_MAX];
	LIST_ENTRY(request) link;
};

/* One call that waits for a request; lives in the call's arena. */
struct caller {
	struct call *call;
	struct request *request;
	TAILQ_ENTRY(caller) link;
};

/*
 * Ends the call of a caller whose time is up: what is in the way, as a text
 * and as a google.rpc.ErrorInfo of `domain`.
 */
void request_fail_late(
    const struct request *r, const char *domain, struct call *call);

/* The request that is this operation, or NULL. */
const struct request *request_of(const struct op *op);

/* The lock that it waits for, or NULL. */
const struct request_lock *request_waits(const struct request *r);

/* Where it is, in one word. */
const char *request_state_name(const struct request *r);

/* "volume=... op=..." for the log line of an end. */
#define REQUEST_NOTE_MAX (SESSION_STATES_MAX + 800)
const char *request_note(const struct request *r, char *buf, size_t size);
void request_note_refused(struct call *call, const struct csi_definition *def);
void request_log_end(const struct request *r);
void request_log_slow(const struct request *r);

/* How long `op` was in each state it has passed, into r->states. */
void request_note_states(struct request *r, const struct op *op);

/* ---- request_session.c, for request.c --------------------------------------- */

/*
 * Turns to the cluster of the handle, or to one that it is mapped to if there
 * is none.
 */
void request_first_place(struct request *r);

/*
 * Turns to the next cluster that may have the volume or snapshot, by
 * cluster-mapping.json. False: there is no more.
 */
bool request_next_place(struct request *r);

/*
 * Is there nothing but the secret that config.json names for publishing
 * (controllerPublishSecretRef), which only Kubernetes has?
 */
bool request_needs_secret(struct request *r);

/* The node whose volume is taken away, if that may have to be fenced. */
const char *request_fences(const struct request *r);

/* A question to Kubernetes, the first of the request or another one. */
struct kube_ask *request_kube(struct request *r);

/*
 * Finds the session that the request's definition asks for, in r->session.
 * False: there is nobody to ask, and reply or err is the answer. An identifier
 * that is nobody's is success for what removes, NOT_FOUND for the rest. A
 * clusterID that config.json does not have is the fault of the StorageClass
 * where that names it, of the configuration for the rest.
 */
bool request_find_session(struct request *r);

/* Asks the session that was found. */
void request_ask_start(struct request *r, struct wake *waiter);

#endif
