/*
 * image_jobs.c - natively, else in a lane.
 */
#include "controller/image_jobs.h"

#include <errno.h>
#include <string.h>

#define FLATTEN_IN_FLIGHT 4

static void
native_start(struct image_job *j)
{
	struct wake *waiter = &j->op.wake;

	switch (j->kind) {
	case IMAGE_JOB_SNAPSHOT:
		j->add = (struct snapshot_add){
			.pool = j->pool,
			.image_id = j->image_id,
			.name = j->snapshot,
			.info = j->info,
			.unopened = j->unopened,
		};
		snapshot_add_start(&j->add, waiter);
		break;
	case IMAGE_JOB_UNSNAPSHOT:
		j->remove = (struct snapshot_remove){
			.pool = j->pool,
			.image_id = j->image_id,
			.name = j->snapshot,
			.info = j->info,
			.snap = j->snap,
			.cloned = j->cloned,
		};
		snapshot_remove_start(&j->remove, waiter);
		break;
	case IMAGE_JOB_CLONE:
		image_create_start(&j->create, j->pool, j->spec, waiter);
		break;
	case IMAGE_JOB_GROW:
		j->resize = (struct image_grow){
			.pool = j->pool,
			.image_id = j->image_id,
			.info = j->info,
			.size_bytes = j->size_bytes,
		};
		image_grow_start(&j->resize, waiter);
		break;
	case IMAGE_JOB_FLATTEN:
		j->flatten = (struct image_flatten){
			.pool = j->pool,
			.image_id = j->image_id,
			.in_flight = FLATTEN_IN_FLIGHT,
			.slice_ms = j->slice_ms,
			.at = j->at,
			.doubt = j->doubt,
		};
		image_flatten_start(&j->flatten, waiter);
		break;
	}
}

/* What the native way has to tell; true: it is not for us to do. */
static bool
native_take(struct image_job *j)
{
	const struct op *part = &j->add.op; /* first in each of them */

	switch (j->kind) {
	case IMAGE_JOB_SNAPSHOT:
		j->snap = j->add.id;
		break;
	case IMAGE_JOB_UNSNAPSHOT:
		break;
	case IMAGE_JOB_CLONE:
		memcpy(j->made_id, j->create.id, sizeof(j->made_id));
		j->adopted = j->create.adopted;
		j->left = j->create.left;
		break;
	case IMAGE_JOB_GROW:
		j->size_bytes = j->resize.actual_bytes > j->size_bytes
		    ? j->resize.actual_bytes
		    : j->size_bytes;
		break;
	case IMAGE_JOB_FLATTEN:
		j->at = j->flatten.at;
		j->doubt = j->flatten.doubt;
		j->count = j->flatten.count;
		j->more = j->flatten.more;
		j->parent = j->flatten.parent;
		j->was = j->flatten.was;
		break;
	}
	if (part->err.code == ERR_UNIMPLEMENTED && j->kind != IMAGE_JOB_CLONE)
		return true;
	if (err_is_set(&part->err))
		op_set_err(&j->op, &part->err);
	return false;
}

static void
librbd_start(struct image_job *j)
{
	static const enum lane_kind kinds[] = {
		[IMAGE_JOB_SNAPSHOT] = LANE_SNAPSHOT_ADD,
		[IMAGE_JOB_UNSNAPSHOT] = LANE_SNAPSHOT_REMOVE,
		[IMAGE_JOB_CLONE] = LANE_CREATE,
		[IMAGE_JOB_GROW] = LANE_RESIZE,
		[IMAGE_JOB_FLATTEN] = LANE_FLATTEN,
	};
	bool clone = j->kind == IMAGE_JOB_CLONE;

	j->by_librbd = true;
	j->parent.pool = -1;
	j->lane = (struct lane_job){
		.kind = kinds[j->kind],
		.pool = j->pool,
		.image = clone ? j->spec->name : NULL,
		.image_id = clone ? NULL : j->image_id,
		.snapshot = j->snapshot,
		.spec = j->spec,
		.size_bytes = j->size_bytes,
	};
	lane_job_start(&j->lane, &j->op.wake);
}

static enum op_verdict
image_job_step(struct op *op)
{
	struct image_job *j = (struct image_job *)op;

	switch (j->state) {
	case IMAGEJOB_START:
		/*
		 * The child's own features: a parent's do not matter to a clone.
		 * They alone decide: what was undone is not made under the same
		 * name again.
		 */
		if (j->kind == IMAGE_JOB_CLONE &&
		    (j->spec->features & ~features_created()) != 0) {
			librbd_start(j);
			return op_await(j, IMAGEJOB_LANE_DONE);
		}
		native_start(j);
		return op_await(j, IMAGEJOB_NATIVE_DONE);

	case IMAGEJOB_NATIVE_DONE:
		if (!native_take(j))
			return op_goto(j, IMAGEJOB_END);
		librbd_start(j);
		return op_await(j, IMAGEJOB_LANE_DONE);

	case IMAGEJOB_LANE_DONE:
		if (op->rc < 0)
			return op_fail_as(j, IMAGEJOB_END, lane);
		if (j->kind == IMAGE_JOB_SNAPSHOT)
			j->snap = j->lane.snap;
		if (j->kind == IMAGE_JOB_CLONE)
			memcpy(j->made_id, j->lane.made_id, sizeof(j->made_id));
		if (j->kind == IMAGE_JOB_GROW)
			j->size_bytes = j->lane.size_bytes;
		return op_goto(j, IMAGEJOB_END);

	case IMAGEJOB_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_job_class = {
	.name = "image.job",
	.step = image_job_step,
};

void
image_job_start(struct image_job *job, struct wake *waiter)
{
	op_start(&job->op, &image_job_class, waiter);
}
