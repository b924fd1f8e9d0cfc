/*
 * rados.h - asynchronous RADOS operations, and the one door from
 * librados' threads.
 *
 * The rule that holds it together: a librados callback does two things, it
 * reads the return value and calls loop_post_remote(). All else happens on
 * the loop's thread, which then wakes the waiter with 0 or a negative errno.
 * A `_start` function never wakes inside the call; its waiter has to live
 * until it is woken.
 */
#ifndef CEPH_RADOS_H
#define CEPH_RADOS_H

#include "ceph/cls_rbd.h"
#include "ceph/connection.h"
#include "core/op.h"

/*
 * A result of librados or librbd as waiters get it and base/err.h knows it: one
 * number for a full pool, whether by a quota or by its OSDs, and one for an
 * operation that was given up.
 */
int rados_answer(int rc);

/*
 * ---- Reading: several steps on one object in one operation ----
 *
 *	r = rados_read_new();
 *	id = rados_read_call(r, cls_call("get_id"));
 *	rados_read_start(r, pool, object, &op->wake);
 *	return op_await(...);
 *	...
 *	rc = rados_read_result(r, id, &dec);
 *	rados_read_free(r);
 *
 * The first step that fails fails the operation with its code, unless it is
 * marked by rados_read_may_fail(). A missing object is -ENOENT.
 */
#define RADOS_READ_STEPS 16

struct rados_read;

struct rados_read *rados_read_new(void);

/*
 * Frees it and all results. May be called at any time, also while the
 * operation runs: then the waiter is not woken any more and the memory goes
 * when librados has finished with it. NULL is fine.
 */
void rados_read_free(struct rados_read *r);
void rados_read_drop(struct rados_read **r); /* and sets it to NULL */

/* -ENOENT without the object, also where each step may fail. */
void rados_read_assert_exists(struct rados_read *r);

/* These add a step and return its number; one omap step is all there can be. */
unsigned rados_read_call(struct rados_read *r, struct cls_call call);
unsigned rados_read_data(struct rados_read *r, uint64_t offset, size_t len);
unsigned rados_read_omap_keys(
    struct rados_read *r, const char *const *keys, size_t n);
/* Up to `max` entries whose key is above `after` and starts with `prefix`. */
unsigned rados_read_omap_page(
    struct rados_read *r, const char *after, const char *prefix, unsigned max);

/* *written gets when the object was written last; lives until the wake. */
void rados_read_time(struct rados_read *r, time_t *written);

/* The step added last may fail without failing the operation. */
void rados_read_may_fail(struct rados_read *r);

void rados_read_start(struct rados_read *r, struct ceph_pool *pool,
    const char *object, struct wake *waiter);

/* One read of one call, as step 0. */
struct rados_read *rados_ask_start(struct ceph_pool *pool, const char *object,
    struct cls_call call, struct wake *waiter);

/*
 * Result of a step after the wake: its own code (0 or negative) and for calls
 * and data its bytes, which live until rados_read_free().
 */
int rados_read_result(
    const struct rados_read *r, unsigned step, struct dec *out);
/* The same for a step whose bytes are one string; "" after a failure. */
int rados_read_str(
    const struct rados_read *r, unsigned step, char *buf, size_t size);

/* The object's version when it was read: each write raises it. */
uint64_t rados_read_version(const struct rados_read *r);

struct rados_omap_entry {
	const char *key;   /* NUL terminated */
	const void *value; /* any bytes; a NUL follows them as well */
	size_t len;
};

/* What the omap step of a read has given; nothing if that failed. */
struct rados_omap {
	struct rados_omap_entry *entry; /* in the order of keys */
	size_t n;
	bool more; /* the page ended before the object's entries did */
};

const struct rados_omap *rados_read_omap(const struct rados_read *r);

/*
 * ---- Writing: several steps on one object, all or nothing ----
 *
 *	w = rados_write_new(RADOS_CREATE_NEW);
 *	rados_write_call(w, cls_call_str("set_id", id));
 *	rados_write_start(w, pool, object, &op->wake);		takes w
 *
 * Every input is copied as it is added. Class methods in one operation do not
 * see each other's omap writes, only that the object exists by now: never put
 * two in one that touch the same key.
 */
struct rados_write;

/* What becomes of the object first. */
enum rados_object {
	RADOS_ANY = 0,    /* nothing: made or not, as the steps do */
	RADOS_EXISTS,     /* -ENOENT unless it is there */
	RADOS_CREATE,     /* made if it is not there */
	RADOS_CREATE_NEW, /* made; -EEXIST */
};

struct rados_write *rados_write_new(enum rados_object object);

void rados_write_call(struct rados_write *w, struct cls_call call);
void rados_write_data(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len);
/* `bytes` are all of the object then. */
void rados_write_data_whole(
    struct rados_write *w, const void *bytes, size_t len);
void rados_write_remove(struct rados_write *w);
void rados_write_omap_set(
    struct rados_write *w, const struct rados_omap_entry *entries, size_t n);
void rados_write_omap_remove(struct rados_write *w, const char *key);

/*
 * Conditions: the operation ends with -ECANCELED, having done nothing, unless
 * the omap key has exactly this value (no bytes: is absent or empty), or
 * unless the object's data at `offset` are these bytes. The object has to be
 * there: RADOS_EXISTS or RADOS_CREATE.
 */
void rados_write_omap_expect(
    struct rados_write *w, const char *key, const void *value, size_t len);
void rados_write_data_expect(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len);

/*
 * The same unless the object has this version, as a read or a write has told:
 * unless nobody has written to it since.
 */
void rados_write_version_expect(struct rados_write *w, uint64_t version);

/* *version gets the one that it has after the write; lives until the wake. */
void rados_write_version_tell(struct rados_write *w, uint64_t *version);

/*
 * A write in a full pool ends with -EDQUOT at once, whether a quota or the
 * OSDs are full, if it would add an object or bytes of data; all others pass,
 * so also changes of an omap and removals (LIBRADOS_OPERATION_FULL_TRY; the
 * rule is in the OSD's PrimaryLogPG::prepare_transaction). Without that flag
 * librados would wait for room. This lets an operation pass that makes a small
 * object: only for what frees space in the end.
 */
void rados_write_although_full(struct rados_write *w);

/*
 * Sends it; `w` is gone. A failure that is not an answer of the OSD
 * (-ETIME, -ESHUTDOWN) may hide a write that has landed.
 */
void rados_write_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter);

/*
 * ---- Together, on an object that many operations write to ----
 *
 *	w = rados_write_new(RADOS_ANY);
 *	rados_write_call(w, cls_call_str2("dir_add_image", name, id));
 *	rados_write_about(w, name);
 *	rados_write_about(w, id);
 *	rados_write_together_start(w, pool, RBD_DIRECTORY, &op->wake);
 *
 * An OSD carries out what reads and writes one object one after the other, each
 * when the last one is on disk. So one operation on the object is under way,
 * and what comes meanwhile goes together in the next one. For each write this
 * is as if it had gone alone: an operation that is refused has done nothing,
 * and its writes go once more, one by one. When an operation gets no answer,
 * then the writes that wait for it get none either.
 */

/*
 * What a write reads or changes, for those that go together: never two about
 * the same thing in one operation, and they stay in their order.
 */
void rados_write_about(struct rados_write *w, const char *what);

/* Instead of rados_write_start(); not with RADOS_CREATE_NEW, nor a version. */
void rados_write_together_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter);

/* A write that is one call. */
void rados_tell_start(struct ceph_pool *pool, const char *object,
    enum rados_object first, struct cls_call call, struct wake *waiter);

/* Removes an object. -ENOENT: was not there. */
void rados_remove_start(
    struct ceph_pool *pool, const char *object, struct wake *waiter);

/*
 * Is there room in the pool? Wakes with 0, with -EDQUOT when the pool is full,
 * -ENOENT when there is no pool, or with another failure. Changes nothing: the same removal of an object
 * that is not there is sent twice, once in the way that waits for room. In a
 * full pool librados keeps that one back, and OSDs drop it, while the other
 * is answered, and the two go to one placement group by one connection: so
 * no clock is needed to tell a full pool from a slow one.
 *
 * `prefix` starts the name of that object: the user has to have the right to
 * write there.
 */
#define RADOS_OURS "rbd_csi" /* for who may write to the whole pool */
void rados_room_start(
    struct ceph_pool *pool, const char *prefix, struct wake *waiter);

/*
 * ---- Notifying the watchers of an object ----
 */
struct rados_notified {
	uint32_t acks;     /* watchers that answered */
	uint32_t timeouts; /* watchers that did not */
};

/*
 * Sends `payload` to everybody who watches the object and waits for their
 * answers up to timeout_ms. *result is filled also when rc is -ETIMEDOUT: not
 * all have answered. -ENOENT: no such object. -ETIME: the OSD has not answered
 * RADOS_NOTIFY_GRACE_MS after that. *result has to live as long as the waiter.
 */
#define RADOS_NOTIFY_GRACE_MS 30000

void rados_notify_start(struct ceph_pool *pool, const char *object,
    const void *payload, size_t len, unsigned timeout_ms,
    struct rados_notified *result, struct wake *waiter);

/*
 * ---- Removing many objects ----
 */
#define RADOS_IN_FLIGHT_MAX 64

struct rados_remove_many {
	struct ceph_pool *pool;
	int64_t until_ms; /* none is started after this time */
	/* Writes the name of the next object into buf[size]; false: no more. */
	bool (*next)(void *arg, char *buf, size_t size);
	void *arg; /* lives until the wake */
};

/*
 * Removes them at the pace of the background (core/pace.h), as one wait. A
 * missing object
 * is success. When the wait ends without a failure, all that `next` has named
 * are gone. After the first failure none is started; rc is
 * that failure, once those in flight are in.
 */
void rados_remove_many_start(
    const struct rados_remove_many *many, struct wake *waiter);

/*
 * ---- Looking for data in many objects ----
 */
struct rados_search {
	struct ceph_pool *pool;
	uint64_t count;     /* objects 0 ... count - 1 */
	unsigned in_flight; /* 1 ... RADOS_IN_FLIGHT_MAX */
	/* Writes the name of object i into buf[size]; false: leave it out. */
	bool (*name)(void *arg, uint64_t i, char *buf, size_t size);
	void *arg;
	uint64_t read_max; /* bytes that may be read to find only zeros */

	/* the answer */
	bool found;      /* `object` holds something but zeros … */
	bool unread;     /* … or may: read_max was not enough to tell */
	uint64_t object; /* its number, not always the lowest */
};

/*
 * Ends at the first object that holds data; objects that are not there, have
 * no bytes or hold nothing but zeros are empty. All of them are asked for,
 * so the time goes by `count`: some 10,000 a second. A failure is the rc of
 * the wake. The struct lives until then.
 */
void rados_search_start(struct rados_search *search, struct wake *waiter);

/*
 * ---- Self-managed snapshot ids, which the monitors give out ----
 *
 * Allocates *id, or gives it back. Tens of milliseconds when alone, one round
 * for all that are asked for at the same time. *id has to live as long as the
 * waiter.
 */
void rados_snap_id_start(
    struct ceph_pool *pool, uint64_t *id, bool give_back, struct wake *waiter);

/* Gives back all of `id`, which the caller may free at once; n may be 0. */
void rados_snap_ids_return_start(
    struct ceph_pool *pool, const uint64_t *id, size_t n, struct wake *waiter);

/*
 * Calls `lost` when an operation is answered with -ESHUTDOWN for the first
 * time: the cluster has blocklisted this client, and nothing succeeds any more.
 */
void rados_when_lost(void (*lost)(void));

/* Operations on their way, for the worker's end and for tests. */
size_t rados_in_flight(void);

#endif
