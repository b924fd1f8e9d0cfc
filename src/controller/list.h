/*
 * list.h - a page of what the journals of a cluster's pools have: volumes, or
 * snapshots, which are just another kind. One engine for all lists.
 *
 * Listed are the pools that may have images (ceph/pools.h), in the namespace
 * that config.json gives the cluster, with a directory of this instance.
 */
#ifndef CONTROLLER_LIST_H
#define CONTROLLER_LIST_H

#include "controller/look.h"
#include "csi/rpc.h"

#define LIST_LOOKS 32 /* at the same time */

enum list_state {
	LIST_START = 0,
	LIST_POOL,      /* a pool, or the end of all, has been reached */
	LIST_PAGE_READ, /* its directory has answered */
	LIST_LOOKED,    /* each of the page has been looked at */
	LIST_POOL_DONE, /* the next pool is due */
	LIST_END,
};

/* One that a directory names. */
struct list_key {
	const char *key;
	struct ceph_pool *pool;
	char uuid[JOURNAL_UUID_LEN + 1];
	void *entry; /* NULL: it is none */
};

struct list {
	struct op op;
	enum list_state state;

	/* set by the caller, everything else zeroed */
	struct csi_rpc *rpc; /* its in->page is what is wanted */
	const struct journal_kind *kind;
	bool health;
	/* Only what is of this volume, and in its pool; NULL: all. */
	const struct csi_volume_id *source;
	/*
	 * The entry of the reply, in the request's arena, or NULL to leave it
	 * out. What `look` has goes with it.
	 */
	void *(*entry)(const struct csi_rpc *rpc, const struct look *look);

	/* the answer, in the request's arena */
	void **entries;
	size_t n;
	char *next_token; /* NULL: this was the last page */

	/* private */
	struct ceph_pool *pool;
	const char *after; /* the last key that was taken, or "" */
	const char *last;  /* of the page */
	struct rados_read *read;
	struct arena *arena; /* of one page of a directory */
	struct list_key *key;
	size_t nkeys, next, looking;
	bool more;              /* the directory has others */
	bool refused, answered; /* some pools have */
	size_t bytes;
	struct look_rooms rooms;
	struct err failure; /* of a look: the first one */
	struct list_slot {
		struct wake wake;
		struct list *list;
		size_t at;
		struct look look;
	} * slot;
};

/* Wakes `waiter` with 0 or with what is in op.err. */
void list_start(struct list *list, struct wake *waiter);

#endif
