/*
 * expand_volume.c - ControllerExpandVolume.
 *
 * The rule that holds it together: the image only ever grows, and whoever has
 * it open knows when the answer is given.
 */
#include "controller/controller.h"
#include "controller/image_jobs.h"
#include "controller/qos.h"
#include "controller/volume.h"

#include "csi.pb-c.h"

enum expand_volume_state {
	EXPANDVOL_START = 0,
	EXPANDVOL_FOUND,     /* the image is known */
	EXPANDVOL_LIMITED,   /* its limits are those of the new size */
	EXPANDVOL_GROWN,     /* it has the size, and who has it open knows */
	EXPANDVOL_META_READ, /* whether it is encrypted is known */
	EXPANDVOL_END,
};

struct expand_volume {
	struct csi_rpc rpc;
	enum expand_volume_state state;
	const Csi__V1__ControllerExpandVolumeRequest *req;
	struct volume_lookup volume;
	struct qos_store qos;
	struct image_job grow;
	struct image_meta_list meta;
};

/* A device shows its new size by itself; what is on it or below it does not. */
static void
fill_expand_reply(struct expand_volume *e, bool node_has_to)
{
	Csi__V1__ControllerExpandVolumeResponse *reply = csi_rpc_reply(&e->rpc);

	reply->capacity_bytes = (int64_t)e->grow.size_bytes;
	reply->node_expansion_required = node_has_to;
}

static enum op_verdict
expand_volume_step(struct op *op)
{
	struct expand_volume *e = (struct expand_volume *)op;
	uint64_t bytes;
	int64_t limit;

	switch (e->state) {
	case EXPANDVOL_START:
		e->req = e->rpc.request;
		volume_lookup_start(
		    &e->volume, &e->rpc, e->req->volume_id, NULL, &op->wake);
		return op_await(e, EXPANDVOL_FOUND);

	case EXPANDVOL_FOUND:
		if (op->rc < 0)
			return op_fail_as(e, EXPANDVOL_END, volume.op);
		bytes = e->volume.info->size_bytes;
		/* Not below what is there, not above what may be. */
		limit = e->req->capacity_range->limit_bytes;
		if (limit != 0 && bytes > (uint64_t)limit)
			return op_fail(e, EXPANDVOL_END, ERR_OUT_OF_RANGE,
			    "volume %s: has %llu bytes, more than capacity_range.limit_bytes, and no volume shrinks",
			    e->req->volume_id, (unsigned long long)bytes);
		if (op->detached) /* nothing is changed: stop here */
			return op_fail(e, EXPANDVOL_END, ERR_CANCELLED,
			    "the caller is gone");
		if (bytes >= e->rpc.in->size_bytes)
			return op_goto(e, EXPANDVOL_LIMITED);
		qos_store_start(&e->qos, e->volume.pool, e->volume.info->id,
		    NULL, e->rpc.in->size_bytes, e->rpc.arena, &op->wake);
		return op_await(e, EXPANDVOL_LIMITED);

	case EXPANDVOL_LIMITED:
		if (op->rc < 0)
			return op_fail_as(e, EXPANDVOL_END, qos.op);
		e->grow = (struct image_job){
			.kind = IMAGE_JOB_GROW,
			.pool = e->volume.pool,
			.image_id = e->volume.info->id,
			.info = e->volume.info,
			.size_bytes = e->rpc.in->size_bytes,
		};
		image_job_start(&e->grow, &op->wake);
		return op_await(e, EXPANDVOL_GROWN);

	case EXPANDVOL_GROWN:
		if (op->rc < 0)
			return op_fail_as(e, EXPANDVOL_END, grow.op);
		if (e->req->volume_capability == NULL ||
		    !e->rpc.in->access.block) {
			fill_expand_reply(e, true);
			return op_goto(e, EXPANDVOL_END);
		}
		image_meta_list_start(
		    &e->meta, e->volume.pool, e->volume.info->id, 0, &op->wake);
		return op_await(e, EXPANDVOL_META_READ);

	case EXPANDVOL_META_READ:
		if (op->rc < 0)
			return op_fail_as(e, EXPANDVOL_END, meta);
		fill_expand_reply(e, volume_is_encrypted(&e->meta));
		return op_goto(e, EXPANDVOL_END);

	case EXPANDVOL_END:
		image_meta_list_fini(&e->meta);
		return OP_DONE;
	}
	abort();
}

static const struct op_class expand_volume_class = {
	.name = "ControllerExpandVolume",
	.step = expand_volume_step,
};

const struct csi_impl expand_volume_impl = {
	.cls = &expand_volume_class,
	.size = sizeof(struct expand_volume),
};
