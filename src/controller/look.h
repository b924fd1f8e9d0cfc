/*
 * look.h - one volume or snapshot as journal, header and directory have it:
 * what lists and the like tell of it. Changes nothing.
 */
#ifndef CONTROLLER_LOOK_H
#define CONTROLLER_LOOK_H

#include "ceph/image_summary.h"
#include "ceph/journal.h"

enum look_state {
	LOOK_START = 0,
	LOOK_ENTRY_READ,  /* the journal's entry has answered */
	LOOK_PLACED,      /* where name and id are */
	LOOK_FOUND,       /* its id is known */
	LOOK_HEADER_READ, /* size, creation time and nodes */
	LOOK_NODES_READ,  /* all of the metadata: there are many nodes */
	LOOK_KNOWN,       /* all but whether there is room */
	LOOK_ROOM_ASKED,  /* whether the pool of its data is full */
	LOOK_END,
};

/* Pools that are full or are not, as far as was asked. */
struct look_rooms {
	size_t n;
	struct {
		const struct ceph_pool *pool;
		bool full;
	} room[16];
};

struct look {
	struct op op;
	enum look_state state;

	/* set by the caller, everything else zeroed */
	const struct journal_kind *kind;
	struct ceph_pool *pool;
	const char *uuid;
	const char *source; /* only if its source image's name ends so; NULL */
	struct look_rooms *rooms; /* NULL: its health is not wanted */
	struct arena *arena;      /* of all strings */

	struct journal_read entry;
	struct image_meta_list list;

	/* the answer */
	bool known;                   /* the journal has it */
	bool damaged;                 /* ... but its entry cannot be read */
	const char *image, *image_id; /* NULL: not known */
	struct image_place place;     /* for its health, or without an id */
	bool has_header;
	bool broken_header; /* it is there, and makes no sense */
	struct image_summary summary;
	bool full;
	const char **node; /* that it is published to */
	size_t nnodes;
	struct ceph_pool *data_pool; /* NULL: that of the image */
};

/*
 * Wakes `waiter` with 0 or with what is in op.err: only when the cluster does
 * not answer, or not us. What is not there or damaged is an answer.
 */
void look_start(struct look *look, struct wake *waiter);

#endif
