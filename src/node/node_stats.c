/*
 * node_stats.c - NodeGetVolumeStats and NodeGetVolumeHealth. A dead file
 * system makes statvfs wait for ever: it waits in a child, and the caller gets
 * an error, never an earlier answer. A volume that is known to be dead is told
 * as that: by its condition, with a usage whose numbers are unknown, because
 * kubelet does not look at the condition of an answer without any usage.
 *
 * What of a block volume is used is asked of its cluster, by its object map,
 * where that costs no secret: with a session that works now, or with the
 * driver's own credentials. So is told by which address a volume is open that
 * was staged before --enable-fencing was set.
 */
#include "node/condition.h"
#include "node/node.h"
#include "node/staging.h"

#include "base/log.h"
#include "core/offload.h"
#include "csi/volume_id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define STATS_MS INT64_C(30000)
#define STUCK_MS INT64_C(5000)

/* ---- statistics: the child ------------------------------------------------ */

struct stats_result {
	struct condition condition;
	bool block;
	uint64_t total_bytes, used_bytes, available_bytes;
	uint64_t inodes, used_inodes, free_inodes; /* file system only */
	struct limits limits;
};

static int
stats_child(const void *p, void *result, struct err *err)
{
	const Csi__V1__NodeGetVolumeStatsRequest *r = p;
	struct stats_result *out = result;
	struct condition *condition = &out->condition;
	struct statvfs fs;
	bool read_only;
	int rc = condition_look(r->volume_id, r->volume_path,
	    r->staging_target_path, 0, condition, err);

	out->block = S_ISBLK(condition->point.mode);
	if (rc < 0 || condition->kind == CONDITION_DEAD)
		return rc;
	limits_look(condition->path, &condition->at, &out->limits);
	if (out->block)
		return sysfs_size(
		    condition->point.source, &out->total_bytes, &read_only);
	if (statvfs(condition->path, &fs) < 0) {
		condition->kind = CONDITION_DEAD;
		(void)!str_put(condition->text, sizeof(condition->text),
		    "the volume at %.90s is dead: %s", condition->path,
		    strerror(errno));
		return 0;
	}
	out->total_bytes = fs.f_blocks * fs.f_frsize;
	out->available_bytes = fs.f_bavail * fs.f_frsize;
	out->used_bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	out->inodes = fs.f_files;
	out->free_inodes = fs.f_ffree;
	out->used_inodes = fs.f_files - fs.f_ffree;
	return 0;
}

/* ---- statistics: the operation -------------------------------------------- */

enum stats_state {
	STATS_START = 0,   /* nothing is asked */
	STATS_READ,        /* the child has ended */
	STATS_RECORDED,    /* the cluster knows by which address it is open */
	STATS_NOTED,       /* so does the stash */
	STATS_ASK,         /* what of the image is used, what are its limits? */
	STATS_ASKED,       /* the cluster has said what of the image is used */
	STATS_USAGE_KNOWN, /* and what are its limits? */
	STATS_LIMITS,      /* it has said how fast the pod may be */
	STATS_LIMITED,     /* the pod's cgroup has that */
	STATS_ANSWER,
	STATS_END,
};

struct stats {
	struct csi_rpc rpc;
	enum stats_state state;
	struct stats_result result;
	struct offload offload;
	struct device_claim claim;
	struct secret key;
	struct node_format ask;
};

/*
 * May the cluster be asked about the volume, with these credentials? Its image
 * is known by the stash, so a volume without a staging path is not asked for.
 */
static bool
stats_may_ask(struct stats *s,
    bool (*credentials)(
	const struct device_spec *spec, const char **user, const char **key))
{
	const struct stash *stash = &s->result.condition.stash;
	struct device_spec *spec = &s->claim.spec;
	struct node_cluster cluster;
	const char *user, *key;

	if (s->result.condition.kind == CONDITION_DEAD ||
	    stash->cluster_id[0] == '\0' ||
	    node_config->find_cluster(
		stash->cluster_id, 0, s->rpc.arena, &cluster, NULL) < 0)
		return false;
	(void)stash_claim(stash, &s->claim, NULL);
	spec->monitors = cluster.monitors;
	spec->net_namespace = cluster.net_namespace;
	spec->user = NULL;
	if (!credentials(spec, &user, &key))
		return false;
	spec->user = arena_strdup(s->rpc.arena, user);
	secret_set(&s->key, key, strlen(key));
	spec->key = &s->key;
	return true;
}

/*
 * What was staged before --enable-fencing was set: records by which address
 * this node has the image open. False: that is known, or nobody can be told.
 * The user stays unknown: it is not this session's, but who has staged it.
 */
static bool
stats_record_begin(struct stats *s)
{
	const struct condition *condition = &s->result.condition;
	const struct mapper *mapper = mapper_by_name(
	    stash_mapper(&condition->stash));
	const char *volume_id = s->claim.spec.volume_id;
	struct csi_volume_id id;

	if (!node_config->records || condition->stash.recorded ||
	    mapper == NULL || csi_volume_id_parse(volume_id, &id, NULL) < 0 ||
	    !stats_may_ask(s, node_find_credentials) ||
	    !node_record_fill(&s->ask, &s->claim.spec, mapper,
		condition->at.device.client, s->rpc.arena))
		return false;
	s->ask.address_only = true;
	node_config->format_start(&s->ask, &s->rpc.op.wake);
	return true;
}

/* In a child: the stash says that it is recorded. */
static int
record_child(const void *p, void *none, struct err *err)
{
	const Csi__V1__NodeGetVolumeStatsRequest *r = p;
	const struct device_spec spec = { .volume_id = r->volume_id };
	struct staged staged;
	int rc = staged_open(
	    &staged, r->staging_target_path, &spec, false, err);

	(void)none;
	if (rc == 0 && staged.had_stash && !staged.is_others) {
		staged.stash.recorded = true;
		rc = stash_write(staged.dir, &staged.stash, err);
	}
	staged_close(&staged);
	return rc;
}

static void
stats_add_usage(Csi__V1__NodeGetVolumeStatsResponse *reply, struct arena *arena,
    Csi__V1__VolumeUsage__Unit unit, uint64_t total, uint64_t used,
    uint64_t available)
{
	Csi__V1__VolumeUsage *usage = csi_new(
	    &csi__v1__volume_usage__descriptor, arena);

	usage->unit = unit;
	usage->total = (int64_t)total;
	usage->used = (int64_t)used;
	usage->available = (int64_t)available;
	reply->usage[reply->n_usage++] = usage;
}

static void
stats_reply(struct stats *s)
{
	const struct stats_result *got = &s->result;
	const struct condition *condition = &got->condition;
	struct arena *arena = s->rpc.arena;
	Csi__V1__NodeGetVolumeStatsResponse *reply = csi_rpc_reply(&s->rpc);

	reply->usage = arena_new_bytes(
	    arena, 2 * sizeof(Csi__V1__VolumeUsage *));
	stats_add_usage(reply, arena, CSI__V1__VOLUME_USAGE__UNIT__BYTES,
	    got->total_bytes, got->used_bytes, got->available_bytes);
	if (!got->block && condition->kind != CONDITION_DEAD)
		stats_add_usage(reply, arena,
		    CSI__V1__VOLUME_USAGE__UNIT__INODES, got->inodes,
		    got->used_inodes, got->free_inodes);
	reply->volume_condition = csi_new(
	    &csi__v1__volume_condition__descriptor, arena);
	reply->volume_condition->abnormal = condition->kind != CONDITION_WELL;
	reply->volume_condition->message = arena_strdup(arena,
	    condition->kind != CONDITION_WELL ? condition->text
					      : "the volume is well");
}

static int
limits_child(const void *p, void *none, struct err *err)
{
	const struct stats *s = p;

	(void)none;
	return limits_set(&s->result.limits, s->ask.io_max, err);
}

static enum op_verdict
stats_step(struct op *op)
{
	struct stats *s = (struct stats *)op;
	const Csi__V1__NodeGetVolumeStatsRequest *r = s->rpc.request;
	struct stats_result *got = &s->result;

	switch (s->state) {
	case STATS_START:
		op->subject = r->volume_path;
		if (op->detached)
			return op_fail(s, STATS_END, ERR_CANCELLED,
			    "statistics of %s: the caller is gone",
			    r->volume_path);
		offload_start(&s->offload, r->volume_path, stats_child, r, got,
		    sizeof(*got), STATS_MS, &op->wake);
		return op_await(s, STATS_READ);

	case STATS_READ:
		if (op->rc < 0)
			return op_fail_err(s, STATS_END, &s->offload.err);
		s->claim.spec.volume_id = r->volume_id;
		return stats_record_begin(s) ? op_await(s, STATS_RECORDED)
					     : op_goto(s, STATS_ASK);

	case STATS_RECORDED:
		if (op->rc < 0) {
			log_info("stats.record", "volume=%s text=\"%s\"",
			    r->volume_id, s->ask.err.text);
			return op_goto(s, STATS_ASK);
		}
		offload_start(&s->offload, r->volume_path, record_child, r,
		    NULL, 0, STATS_MS, &op->wake);
		return op_await(s, STATS_NOTED);

	case STATS_NOTED:
		if (op->rc < 0)
			log_info("stats.record", "volume=%s text=\"%s\"",
			    r->volume_id, s->offload.err.text);
		return op_goto(s, STATS_ASK);

	case STATS_ASK:
		if ((!got->block && got->limits.file[0] == '\0') ||
		    got->condition.stash.encrypted ||
		    !stats_may_ask(s, node_config->credentials))
			return op_goto(s, STATS_ANSWER);
		if (!got->block)
			return op_goto(s, STATS_USAGE_KNOWN);
		s->ask = (struct node_format){ .step = NODE_FORMAT_USAGE,
			.spec = &s->claim.spec };
		node_config->format_start(&s->ask, &op->wake);
		return op_await(s, STATS_ASKED);

	case STATS_ASKED:
		if (op->rc < 0)
			log_info("stats.usage", "volume=%s text=\"%s\"",
			    r->volume_id, s->ask.err.text);
		else if (s->ask.used_known &&
		    s->ask.used_bytes <= got->total_bytes) {
			got->used_bytes = s->ask.used_bytes;
			got->available_bytes = got->total_bytes -
			    got->used_bytes;
		}
		return got->limits.file[0] != '\0'
		    ? op_goto(s, STATS_USAGE_KNOWN)
		    : op_goto(s, STATS_ANSWER);

	case STATS_USAGE_KNOWN:
		/*
		 * Limits of ControllerModifyVolume reach a volume that is in use
		 * so: kubelet asks for statistics about once a minute.
		 */
		s->ask = (struct node_format){ .step = NODE_FORMAT_LIMITS,
			.spec = &s->claim.spec };
		node_config->format_start(&s->ask, &op->wake);
		return op_await(s, STATS_LIMITS);

	case STATS_LIMITS:
		if (op->rc < 0)
			log_info("stats.limits", "volume=%s text=\"%s\"",
			    r->volume_id, s->ask.err.text);
		if (s->ask.io_max[0] == '\0')
			memcpy(s->ask.io_max, LIMITS_NONE, sizeof(LIMITS_NONE));
		if (op->rc < 0 || str_eq(s->ask.io_max, got->limits.now))
			return op_goto(s, STATS_ANSWER);
		offload_start(&s->offload, r->volume_path, limits_child, s,
		    NULL, 0, STATS_MS, &op->wake);
		return op_await(s, STATS_LIMITED);

	case STATS_LIMITED:
		if (op->rc < 0)
			log_warn("volume.limits", "volume=%s text=\"%s\"",
			    r->volume_id, s->offload.err.text);
		return op_goto(s, STATS_ANSWER);

	case STATS_ANSWER:
		stats_reply(s);
		return op_goto(s, STATS_END);

	case STATS_END:
		secret_fini(&s->key);
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

/* ---- health --------------------------------------------------------------- */

static int
health_child(const void *p, void *result, struct err *err)
{
	const Csi__V1__NodeGetVolumeHealthRequest *r = p;

	return condition_look(r->volume_id, r->volume_publish_path,
	    r->staging_target_path, STUCK_MS, result, err);
}

enum health_state {
	HEALTH_START = 0, /* nothing is asked */
	HEALTH_LOOKED,    /* the child has ended */
	HEALTH_END,
};

struct health {
	struct csi_rpc rpc;
	enum health_state state;
	struct condition condition;
	struct offload offload;
};

#define STATUS(name) CSI__V1__VOLUME_HEALTH_ERROR_TYPE__##name

/* A volume that is well has no entry. */
static void
health_reply(struct health *h, const char *volume_id)
{
	static const struct {
		Csi__V1__VolumeHealthErrorType status;
		const char *reason;
	} kinds[] = {
		[CONDITION_DEAD] = { STATUS(INACCESSIBLE), "DeviceDead" },
		[CONDITION_STUCK] = { STATUS(INACCESSIBLE), "RequestsStuck" },
		[CONDITION_TURNED] = { STATUS(DEGRADED), "FilesystemReadOnly" },
	};
	enum condition_kind kind = h->condition.kind;
	struct arena *arena = h->rpc.arena;
	Csi__V1__NodeGetVolumeHealthResponse *reply = csi_rpc_reply(&h->rpc);
	Csi__V1__VolumeHealth *health = csi_new(
	    &csi__v1__volume_health__descriptor, arena);
	Csi__V1__VolumeHealth__VolumeHealthEntry *entry;

	reply->volume_health = health;
	health->volume_id = arena_strdup(arena, volume_id);
	if (kind == CONDITION_WELL)
		return;
	entry = csi_new(
	    &csi__v1__volume_health__volume_health_entry__descriptor, arena);
	entry->status = kinds[kind].status;
	entry->reason = arena_strdup(arena, kinds[kind].reason);
	entry->message = arena_strdup(arena, h->condition.text);
	health->n_health_statuses = 1;
	health->health_statuses = arena_new_bytes(arena, sizeof(entry));
	health->health_statuses[0] = entry;
}

static enum op_verdict
health_step(struct op *op)
{
	struct health *h = (struct health *)op;
	const Csi__V1__NodeGetVolumeHealthRequest *r = h->rpc.request;

	switch (h->state) {
	case HEALTH_START:
		op->subject = r->volume_id;
		if (op->detached)
			return op_fail(h, HEALTH_END, ERR_CANCELLED,
			    "health of volume %s: the caller is gone",
			    r->volume_id);
		offload_start(&h->offload, r->volume_id, health_child, r,
		    &h->condition, sizeof(h->condition), STATS_MS, &op->wake);
		return op_await(h, HEALTH_LOOKED);

	case HEALTH_LOOKED:
		if (op->rc < 0)
			return op_fail_err(h, HEALTH_END, &h->offload.err);
		health_reply(h, r->volume_id);
		return op_goto(h, HEALTH_END);

	case HEALTH_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class health_class = {
	.name = "NodeGetVolumeHealth",
	.step = health_step,
};

const struct csi_impl node_health_impl = {
	.cls = &health_class,
	.size = sizeof(struct health),
};
