/*
 * purge.h - removing the images of deleted volumes in the background: a
 * bounded number at once, taken up again by the next worker from the notes in
 * the journal, tried again later when something is in the way.
 */
#ifndef CONTROLLER_PURGE_H
#define CONTROLLER_PURGE_H

#include "ceph/trash.h"

#define PURGES_MAX 16 /* at once, as far as the pace lets them (core/pace.h) */

/*
 * Purges an image that `move` has just moved to the trash, as soon as it is not
 * to be kept any more, and that has its note. One that is queued or running
 * already is not taken twice.
 */
void purge_submit(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *image, const struct trash_move *move);

/*
 * Takes up the notes that an earlier worker has left in the pool; only the
 * first call for a pool and instance does anything.
 */
void purge_resume(struct ceph_pool *pool, const char *instance_id);

/*
 * A clone has gone, or needs its parent no more: if that lies in the trash with
 * a note, whichever worker has put it there, it is tried now. A parent without
 * an id: there is none.
 */
void purge_parent(
    struct ceph_connection *conn, const struct cls_parent *parent);

/*
 * How many are under way, with images whose snapshots are reaped; those that
 * wait for another try do not count.
 */
unsigned purge_running(void);

struct purge_counts {
	unsigned running;      /* as purge_running() */
	unsigned waiting;      /* for another try */
	unsigned blocked;      /* for the image's clones to go */
	uint64_t done, failed; /* tries, since the worker has started */
};

void purge_count(struct purge_counts *counts);

/* Forgets what is queued. No operation may run. */
void purge_fini(void);

#endif
