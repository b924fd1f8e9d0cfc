/*
 * discard.c - see discard.h.
 */
#include "controller/discard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
start_lane(struct discard *d, enum lane_kind kind)
{
	d->lane = (struct lane_job){
		.kind = kind,
		.pool = d->pool,
		.image = d->name,
		.image_id = d->id,
	};
	lane_job_start(&d->lane, &d->op.wake);
}

static enum op_verdict
judge_move(struct discard *d)
{
	if (d->op.rc >= 0) {
		d->moved = d->move.had_header;
		return op_goto(d, DISCARD_END);
	}
	if (d->move.obstacle != IMAGE_PLAIN) {
		start_lane(d, LANE_LIST_WATCHERS);
		return op_await(d, DISCARD_LANE_CHECKED);
	}
	if (d->move.watched) {
		start_lane(d, LANE_LIST_WATCHERS);
		return op_await(d, DISCARD_IN_USE);
	}
	return op_fail_err(d, DISCARD_END, &d->move.op.err);
}

/* The lane is asked for the address; without it the refusal stands. */
static enum op_verdict
refuse(struct discard *d)
{
	return op_fail(d, DISCARD_END, ERR_FAILED_PRECONDITION,
	    "image %s is in use, open at %s%s", d->name,
	    d->lane.nwatchers > 0 ? d->lane.watcher[0]
				  : "an address that could not be found out",
	    d->lane.nwatchers > 1 ? " and others" : "");
}

static enum op_verdict
discard_step(struct op *op)
{
	struct discard *d = (struct discard *)op;

	switch (d->state) {
	case DISCARD_START:
		trash_move_start(
		    &d->move, d->pool, d->name, d->wanted_id, &op->wake);
		return op_await(d, DISCARD_MOVED);

	case DISCARD_MOVED:
		return judge_move(d);

	case DISCARD_IN_USE:
		return refuse(d);

	case DISCARD_LANE_CHECKED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_err(d, DISCARD_END, &d->lane.err);
		if (op->rc == 0 && d->lane.nwatchers > 0)
			return refuse(d);
		start_lane(d, LANE_TRASH_MOVE);
		return op_await(d, DISCARD_LANE_MOVED);

	case DISCARD_LANE_MOVED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_err(d, DISCARD_END, &d->lane.err);
		d->moved = true;
		return op_goto(d, DISCARD_END);

	case DISCARD_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class discard_class = {
	.name = "discard",
	.step = discard_step,
};

void
discard_start(struct discard *d, struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter)
{
	memset(d, 0, sizeof(*d));
	d->pool = pool;
	d->name = name;
	d->id = d->move.place.id;
	d->wanted_id = id;
	op_start(&d->op, &discard_class, waiter);
}
