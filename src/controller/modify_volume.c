/*
 * modify_volume.c - ControllerModifyVolume: other limits for a volume that is
 * there, also while it is in use.
 */
#include "controller/controller.h"
#include "controller/qos.h"
#include "controller/volume.h"

#include "csi.pb-c.h"

#include <stdlib.h>

enum modify_volume_state {
	MODIFYVOL_START = 0,
	MODIFYVOL_FOUND,  /* the volume and its image are there */
	MODIFYVOL_STORED, /* the image has the limits */
	MODIFYVOL_END,
};

struct modify_volume {
	struct csi_rpc rpc;
	enum modify_volume_state state;
	struct volume_lookup volume;
	struct qos_store store;
};

static enum op_verdict
modify_volume_step(struct op *op)
{
	struct modify_volume *m = (struct modify_volume *)op;
	const Csi__V1__ControllerModifyVolumeRequest *req = m->rpc.request;
	const struct volume_lookup *v = &m->volume;

	switch (m->state) {
	case MODIFYVOL_START:
		volume_lookup_start(
		    &m->volume, &m->rpc, req->volume_id, NULL, &op->wake);
		return op_await(m, MODIFYVOL_FOUND);

	case MODIFYVOL_FOUND:
		if (op->rc < 0)
			return op_fail_as(m, MODIFYVOL_END, volume.op);
		qos_store_start(&m->store, v->pool, v->info->id,
		    &m->rpc.in->qos, v->info->size_bytes, m->rpc.arena,
		    &op->wake);
		return op_await(m, MODIFYVOL_STORED);

	case MODIFYVOL_STORED:
		if (op->rc < 0)
			return op_fail_as(m, MODIFYVOL_END, store.op);
		(void)csi_rpc_reply(&m->rpc);
		return op_goto(m, MODIFYVOL_END);

	case MODIFYVOL_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class modify_volume_class = {
	.name = "ControllerModifyVolume",
	.step = modify_volume_step,
};

const struct csi_impl modify_volume_impl = {
	.cls = &modify_volume_class,
	.size = sizeof(struct modify_volume),
};
