/*
 * pool_validate.c - the object rbd_info, by which librbd remembers that a
 * pool takes overwrites and self-managed snapshots.
 */
#include "ceph/pool_validate.h"

#include <errno.h>
#include <string.h>

/* Contents of rbd_info, as librbd writes them since Nautilus. */
static const char first_text[] = "validate";
static const char final_text[] = "overwrite validated";

static enum op_verdict
read_start(struct pool_validate *v)
{
	struct err err = ERR_INIT;

	if (ceph_pool_open_id(ceph_pool_connection(v->pool),
		ceph_pool_id(v->pool), NULL, &v->info_pool, &err) < 0)
		return op_fail_err(v, VALIDATE_END, &err);
	if (ceph_pool_is_validated(v->info_pool))
		return op_goto(v, VALIDATE_END);
	v->read = rados_read_new();
	(void)rados_read_data(v->read, 0, sizeof(final_text));
	rados_read_start(v->read, v->info_pool, RBD_INFO, &v->op.wake);
	return op_await(v, VALIDATE_READ);
}

static void
write_start(struct pool_validate *v, const char *text)
{
	struct rados_write *w = rados_write_new();

	rados_write_create(w, false);
	rados_write_data(w, 0, text, strlen(text));
	rados_write_start(w, v->info_pool, RBD_INFO, &v->op.wake);
}

static bool
says(const struct dec *d, const char *text)
{
	return dec_left(d) == strlen(text) &&
	    memcmp(d->at, text, dec_left(d)) == 0;
}

static enum op_verdict
judge_read(struct pool_validate *v)
{
	struct dec d;
	bool final, first;
	int rc = rados_read_result(v->read, 0, &d);

	final = rc == 0 && says(&d, final_text);
	first = rc == 0 && says(&d, first_text);
	rados_read_free(v->read);
	v->read = NULL;
	if (rc < 0 && rc != -ENOENT)
		return op_fail_rc(v, VALIDATE_END, rc,
		    "read " RBD_INFO " in %s", ceph_pool_label(v->info_pool));
	if (final) {
		ceph_pool_set_validated(v->info_pool);
		return op_goto(v, VALIDATE_END);
	}
	if (first) { /* killed before the last step */
		write_start(v, final_text);
		return op_await(v, VALIDATE_OVERWRITTEN);
	}
	rados_snap_id_create_start(v->info_pool, &v->snap, &v->op.wake);
	return op_await(v, VALIDATE_SNAP_MADE);
}

static enum op_verdict
pool_validate_step(struct op *op)
{
	struct pool_validate *v = (struct pool_validate *)op;

	switch (v->state) {
	case VALIDATE_START:
		return read_start(v);

	case VALIDATE_READ:
		return judge_read(v);

	case VALIDATE_SNAP_MADE:
		if (op->rc == -EINVAL)
			return op_fail(v, VALIDATE_END, ERR_FAILED_PRECONDITION,
			    "%s has snapshots of the whole pool and cannot "
			    "hold images",
			    ceph_pool_label(v->info_pool));
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "allocate a snapshot id in %s",
			    ceph_pool_label(v->info_pool));
		write_start(v, first_text);
		return op_await(v, VALIDATE_WRITTEN);

	case VALIDATE_WRITTEN:
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "write " RBD_INFO " in %s",
			    ceph_pool_label(v->info_pool));
		rados_snap_id_remove_start(v->info_pool, v->snap, &op->wake);
		return op_await(v, VALIDATE_SNAP_REMOVED);

	case VALIDATE_SNAP_REMOVED:
		/* an id that stays is one more unused number */
		write_start(v, final_text);
		return op_await(v, VALIDATE_OVERWRITTEN);

	case VALIDATE_OVERWRITTEN:
		if (op->rc == -EOPNOTSUPP)
			return op_fail(v, VALIDATE_END, ERR_FAILED_PRECONDITION,
			    "%s is erasure coded "
			    "and does not allow overwrites",
			    ceph_pool_label(v->info_pool));
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "overwrite " RBD_INFO " in %s",
			    ceph_pool_label(v->info_pool));
		ceph_pool_set_validated(v->info_pool);
		return op_goto(v, VALIDATE_END);

	case VALIDATE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class pool_validate_class = {
	.name = "pool.validate",
	.step = pool_validate_step,
};

void
pool_validate_start(
    struct pool_validate *v, struct ceph_pool *pool, struct wake *waiter)
{
	memset(v, 0, sizeof(*v));
	v->pool = pool;
	op_start(&v->op, &pool_validate_class, waiter);
}
