/*
 * condition.h - how a published or staged volume fares, for statistics and
 * health alike. Blocking, for offload children only.
 *
 * The rule that holds it together: nothing here does I/O on the volume. What
 * the kernel and the mappers know tells whether it is dead, or was made
 * read-only; so looking never hangs on what hangs already.
 */
#ifndef NODE_CONDITION_H
#define NODE_CONDITION_H

#include "node/attachment.h"
#include "node/stash.h"

enum condition_kind {
	CONDITION_WELL = 0,
	CONDITION_DEAD,   /* nothing can be read or written there */
	CONDITION_STUCK,  /* requests wait, and none ends */
	CONDITION_TURNED, /* the kernel has made the file system read-only */
};

struct condition {
	enum condition_kind kind;
	char text[200];      /* of all but WELL: for people */
	char path[PATH_MAX]; /* without links */
	struct mount_point point;
	struct attachment at; /* if that is mounted and alive */
	struct stash stash;   /* of the staging path; zeroed: none is known */
};

/*
 * Looks at the volume at `path`, or without one at its staging path
 * (`staging`), or without either where it is found. With `wait_ms` requests that
 * are under way are given so long to make some progress. NOT_FOUND: no volume
 * is mounted there.
 */
int condition_look(const char *volume_id, const char *path, const char *staging,
    int64_t wait_ms, struct condition *out, struct err *err) must_check;

#endif
