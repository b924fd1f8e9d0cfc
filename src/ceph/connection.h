/*
 * connection.h - one session with a Ceph cluster: credentials, connecting,
 * and the pools in use.
 *
 * The rule: ceph_connection_open() blocks and is called once, at the start of
 * a process which serves nobody yet. After it nothing here waits for the
 * cluster but the look-up of a pool that the cluster map does not have.
 *
 * Nothing is read from the environment, and no file but the one that is given.
 */
#ifndef CEPH_CONNECTION_H
#define CEPH_CONNECTION_H

#include "base/err.h"
#include "base/map.h"
#include "base/secret.h"

struct ceph_option {
	const char *name, *value;
};

struct ceph_settings {
	const char *monitors;     /* "a:6789,[v2:b:3300,v1:b:6789]"; NULL: from
				   conf_file */
	const char *user;         /* without "client." */
	const struct secret *key; /* base64; never written anywhere */
	const char *conf_file;    /* a ceph.conf to read first; NULL: none */
	const struct ceph_option *options; /* set last, over everything else */
	size_t noptions;
	unsigned connect_timeout_s; /* 0: CEPH_CONNECT_TIMEOUT_S */
	unsigned op_timeout_s;      /* of each operation; 0: none */
};

#define CEPH_CONNECT_TIMEOUT_S 10

/*
 * What waits longer for an OSD than this is given up with -ETIME where
 * somebody waits with a lock in his hands. librados never sends such an
 * operation again. Never for users' data.
 */
#define CEPH_OP_TIMEOUT_S 30

/* Which step of opening failed: for the text and for tests. */
enum ceph_step {
	CEPH_STEP_SETTINGS = 0, /* an option, file or value is not valid */
	CEPH_STEP_KEY,          /* the key is not a Ceph key that we can use */
	CEPH_STEP_RESOLVE,      /* no monitor's name could be resolved */
	CEPH_STEP_CONNECT,      /* no monitor answered in time */
	CEPH_STEP_AUTHENTICATE, /* a monitor refused the user or the key */
	CEPH_STEP_DONE,
};

const char *ceph_step_name(enum ceph_step step); /* "resolve" ... */

/* Read only: connection.c keeps them. */
struct ceph_connection {
	void *cluster;     /* the rados_t, for librbd in a lane */
	char *user;        /* without "client." */
	uint64_t instance; /* librados' number of it in the cluster */
	char *address;     /* ours as the cluster sees it, "10.0.0.1:0/123": for
			  fencing */
#define CEPH_FSID_SIZE 37
	char fsid[CEPH_FSID_SIZE];
	struct map pools; /* "id/namespace" -> struct ceph_pool */
	struct map named; /* a name that was opened -> its pool's id */
	unsigned renamed; /* how often such a name had another pool since */
};

/*
 * A pool with a RADOS namespace in it. It belongs to the connection, is the
 * same pointer each time that it is opened, and lives as long.
 */
struct ceph_pool {
	struct ceph_connection *conn;
	void *io; /* the rados_ioctx_t; never set a snapshot context on it */
	int64_t id;
	char *rados_namespace; /* "": the default one */
	/* Found fit for images (image_create.c), as long as the connection. */
	bool validated;
	void *snap_ids; /* of snap_ids.c; freed with the pool */
	/* The newest first: who has got one keeps it over a rename. */
	struct pool_name {
		char *name, *label;
		struct pool_name *older;
	} * name;
};

/*
 * Connects. On failure *step (may be NULL) is the step that failed, and err
 * has it in words:
 *	INVALID_ARGUMENT   settings or key, which one and why
 *	FAILED_PRECONDITION  the key is of a type that librados cannot use
 *	UNAVAILABLE        monitors not resolved or not reached in time
 *	UNAUTHENTICATED    user or key refused
 * The settings are copied; the key is wiped from memory that is ours.
 */
int ceph_connection_open(const struct ceph_settings *settings,
    struct ceph_connection **conn, enum ceph_step *step,
    struct err *err) must_check;

/*
 * Ends the session. No operation may be under way: a process that cannot
 * wait for them ends by _exit(). NULL is fine.
 */
void ceph_connection_close(struct ceph_connection *conn);

/*
 * What an image gets whose creator does not say: the cluster's option
 * rbd_default_features, so that a volume has the features that librbd would
 * give it; features_created() if the option makes no sense to us.
 */
uint64_t ceph_connection_features(const struct ceph_connection *conn);

/*
 * Opens a pool by name or by id; NULL is the default namespace. NOT_FOUND
 * names the pool. A pool that was deleted and made anew under the same name
 * has another id and is another ceph_pool.
 *
 * A name or id that our copy of the cluster map lacks costs a round trip to
 * the monitors, for which these wait.
 */
int ceph_pool_open(struct ceph_connection *conn, const char *name,
    const char *rados_namespace, struct ceph_pool **pool,
    struct err *err) must_check;
int ceph_pool_open_id(struct ceph_connection *conn, int64_t id,
    const char *rados_namespace, struct ceph_pool **pool,
    struct err *err) must_check;

/*
 * The pool as it was at a snapshot, for reading alone. The caller closes it;
 * NULL is fine.
 */
int ceph_pool_open_snapshot(struct ceph_pool *pool, uint64_t snap,
    struct ceph_pool **at, struct err *err) must_check;
void ceph_pool_close_snapshot(struct ceph_pool *at);

/*
 * How many of the names that pools were opened by lead elsewhere now. librados'
 * copy of the cluster map is as old as the last answer of an OSD: a name may
 * lead to a pool that was made anew meanwhile. Whatever is done in that one is
 * -ENOENT, and the map is new from then on: who fails so opens the name again
 * if this number has changed since.
 */
unsigned ceph_connection_renamed(struct ceph_connection *conn);

/* The name of now: a pool may be renamed. What was told lives like the pool. */
const char *ceph_pool_name(const struct ceph_pool *pool);

/*
 * Brings the cluster's map of now, for who has to know a pool's name of now.
 * A round trip to the monitors that blocks, as a look-up of a pool that the
 * map of then does not have: only where that has failed already.
 */
int ceph_connection_refresh(
    struct ceph_connection *conn, struct err *err) must_check;

/* For people: "pool rbd" or "pool rbd/ns1". */
const char *ceph_pool_label(const struct ceph_pool *pool);

/* A key in maps for `what` in this pool and namespace; the caller frees it. */
static inline char *
ceph_pool_key(const struct ceph_pool *pool, const char *what)
{
	return str_fmt(
	    "%lld/%s/%s", (long long)pool->id, pool->rados_namespace, what);
}

#endif
