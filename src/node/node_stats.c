/*
 * node_stats.c - NodeGetVolumeStats. A dead file system makes statvfs wait
 * for ever: it waits in a child, and the caller gets an error, never an
 * earlier answer. A volume that is known to be dead is told as that: by its
 * condition, with a usage whose numbers are unknown, because kubelet does not
 * look at the condition of an answer without any usage.
 */
#include "node/node.h"
#include "node/publishing.h"

#include "core/offload.h"

#include <stdlib.h>

#define STATS_MS INT64_C(30000)

enum stats_state {
	STATS_START = 0, /* nothing is asked */
	STATS_READ,      /* the child has ended */
	STATS_END,
};

struct stats {
	struct csi_rpc rpc;
	enum stats_state state;
	struct publishing_where where;
	struct publishing_stats result;
	struct offload offload;
};

static enum op_verdict
stats_start(struct stats *s)
{
	const Csi__V1__NodeGetVolumeStatsRequest *r = s->rpc.request;

	s->rpc.op.subject = r->volume_path;
	if (s->rpc.op.detached)
		return op_fail(s, STATS_END, ERR_CANCELLED,
		    "statistics of %s: the caller is gone", r->volume_path);
	s->where = (struct publishing_where){ .path = r->volume_path,
		.staging = r->staging_target_path,
		.volume_id = r->volume_id };
	offload_start(&s->offload, r->volume_path, publishing_stats, &s->where,
	    &s->result, sizeof(s->result), STATS_MS, &s->rpc.op.wake);
	return op_await(s, STATS_READ);
}

static void
add_usage(struct stats *s, Csi__V1__VolumeUsage__Unit unit, uint64_t total,
    uint64_t used, uint64_t available)
{
	Csi__V1__NodeGetVolumeStatsResponse *reply = s->rpc.reply;
	Csi__V1__VolumeUsage *usage = csi_new(
	    &csi__v1__volume_usage__descriptor, s->rpc.arena);

	usage->unit = unit;
	usage->total = (int64_t)total;
	usage->used = (int64_t)used;
	usage->available = (int64_t)available;
	reply->usage[reply->n_usage++] = usage;
}

static enum op_verdict
stats_read(struct stats *s)
{
	const struct publishing_stats *got = &s->result;
	Csi__V1__NodeGetVolumeStatsResponse *reply;

	if (s->rpc.op.rc < 0)
		return op_fail_err(s, STATS_END, &s->offload.err);
	reply = csi_rpc_reply(&s->rpc);
	reply->usage = arena_new_bytes(
	    s->rpc.arena, 2 * sizeof(Csi__V1__VolumeUsage *));
	add_usage(s, CSI__V1__VOLUME_USAGE__UNIT__BYTES, got->total_bytes,
	    got->used_bytes, got->available_bytes);
	if (!got->block && got->dead[0] == '\0')
		add_usage(s, CSI__V1__VOLUME_USAGE__UNIT__INODES, got->inodes,
		    got->used_inodes, got->free_inodes);
	reply->volume_condition = csi_new(
	    &csi__v1__volume_condition__descriptor, s->rpc.arena);
	reply->volume_condition->abnormal = got->dead[0] != '\0';
	reply->volume_condition->message = arena_strdup(s->rpc.arena,
	    got->dead[0] != '\0' ? got->dead : "the volume is well");
	return op_goto(s, STATS_END);
}

static enum op_verdict
stats_step(struct op *op)
{
	struct stats *s = (struct stats *)op;

	switch (s->state) {
	case STATS_START:
		return stats_start(s);
	case STATS_READ:
		return stats_read(s);
	case STATS_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class stats_class = {
	.name = "NodeGetVolumeStats",
	.step = stats_step,
};

const struct csi_impl node_stats_impl = {
	.cls = &stats_class,
	.size = sizeof(struct stats),
};
