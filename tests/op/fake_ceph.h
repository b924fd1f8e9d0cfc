/*
 * fake_ceph.h - stands in for src/ceph below the journal: a store in shared
 * memory, and one place through which every call passes, so that a test can
 * fail the n-th one, drop the caller at it, or die there.
 */
#ifndef TESTS_FAKE_CEPH_H
#define TESTS_FAKE_CEPH_H

#include "base/str.h"
#include "core/op.h"

#include <sys/types.h>

enum fake_fault {
	FAKE_NONE = 0,
	FAKE_FAIL,      /* the n-th call fails and has done nothing */
	FAKE_FAIL_DONE, /* the n-th call fails, but has been carried out */
	FAKE_DROP,      /* the caller leaves during the n-th call */
	FAKE_KILL,      /* the process dies before the n-th call is done */
	FAKE_KILL_DONE, /* the process dies after it was done */
};

#define FAKE_KILLED 77 /* exit status of a process that died so */

/* Of user csi, with the one pool that there is, "rbd". */
struct ceph_connection *fake_connection(void);

/* Makes the store; call once, before any fork. */
void fake_init(void);
void fake_clear(void); /* empties the store */

/* The next calls are counted from 1; the n-th meets `fault`. */
void fake_script(enum fake_fault fault, unsigned n, int rc);
void fake_kill_at(unsigned n); /* and die before this call, too */
void fake_before(unsigned n, void (*fn)(void)); /* what happens before it */
void fake_set_victim(struct op *op);            /* whom FAKE_DROP detaches */

unsigned fake_calls(void);  /* since fake_script() */
const char *fake_log(void); /* their names, joined by blanks */

/* What the store holds, as one line of sorted text. */
const char *fake_store(void);

/* ---- arranging things ---- */
void fake_put_key(const char *object, const char *key, const char *value);
void fake_put_object(const char *object);
bool fake_has_key(const char *object, const char *key, const char *value);
bool fake_has_image(const char *name, uint64_t *size_bytes);
/* Addresses with a comma between; NULL: nobody; "leaving": gone when asked. */
void fake_watch(const char *name, const char *address);
/* NULL: the key goes. */
void fake_set_meta(const char *name, const char *key, const char *value);
const char *fake_meta(const char *name, const char *key); /* NULL: none */
/* "client" or "range": how it is shut out; NULL: it is not. */
const char *fake_fenced(const char *address);
/* What stands for the caps of a user ("client.x"); NULL: no such user. */
const char *fake_user(const char *name);
/* Why image_empty says that it is not, "": it is. */
void fake_fill(const char *name, const char *why);
void fake_set_parent(const char *name, bool has);
void fake_put_image(const char *name); /* of 1 MiB, with an id of its own */
void fake_set_parent_of(const char *name, const char *parent);
/* Adds one, or finds it; removing leaves it in the trash while it has clones. */
void fake_set_clone_of(const char *name, const char *parent, uint64_t snap);
void fake_resize(const char *name, uint64_t size_bytes);
const char *fake_image_id(const char *name); /* "": no such image */
uint64_t fake_snapshot(const char *name, const char *snapshot);
void fake_unsnapshot(const char *name, const char *snapshot);
void fake_flatten_slowly(unsigned slices); /* the next one */
/* So many times when a clone is to part from its parent it is still in use. */
void fake_read(unsigned times);
unsigned fake_trashed(const char *name); /* how many snapshots in its trash */
/* As an administrator does it: */
void fake_rename(const char *name, const char *to);
void fake_trash(const char *name);
/* Why librbd has to handle it: an enum image_obstacle. */
void fake_set_obstacle(const char *name, int obstacle);

#endif
