/*
 * node_stats.c - NodeGetVolumeStats. A dead file system makes statvfs wait
 * for ever: it waits in a child, and the caller gets an error, never an
 * earlier answer. A volume that is known to be dead is told as that: by its
 * condition, with a usage whose numbers are unknown, because kubelet does not
 * look at the condition of an answer without any usage.
 */
#include "node/attachment.h"
#include "node/node.h"
#include "node/path.h"
#include "node/stash.h"

#include "core/offload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define STATS_MS INT64_C(30000)

/* ---- the child ------------------------------------------------------------ */

struct stats_result {
	bool block;
	uint64_t total_bytes, used_bytes, available_bytes;
	uint64_t inodes, used_inodes, free_inodes; /* file system only */
	/* Nothing can be read or written there; "" : it is well. */
	char dead[160];
};

static int
stats_say_dead(struct stats_result *out, const char *path, const char *why)
{
	*out = (struct stats_result){ .block = out->block };
	(void)snprintf(out->dead, sizeof(out->dead),
	    "the volume at %.90s is dead: %s", path, why);
	return 0;
}

/*
 * A file system answers from memory when its device is dead: the mapper knows
 * better. What no mapper knows is not judged.
 */
static bool
stats_is_lost(const Csi__V1__NodeGetVolumeStatsRequest *r,
    const struct mount_point *point)
{
	struct device_claim claim = { .spec.volume_id = r->volume_id };
	struct attachment at;
	struct stash stash;

	if (!str_is_empty(r->staging_target_path) &&
	    stash_read(r->staging_target_path, &stash, NULL) == 0)
		(void)stash_claim(&stash, &claim, NULL);
	claim.mapper = NULL;
	return attachment_find(&claim, point, &at, NULL) == -ESTALE;
}

/*
 * NOT_FOUND when no volume is published there. That it is dead is no failure:
 * no number is set then. A volume that lives costs no I/O but a look at sysfs.
 */
static int
stats_child(const void *p, void *result, struct err *err)
{
	const Csi__V1__NodeGetVolumeStatsRequest *r = p;
	struct stats_result *out = result;
	struct err why = ERR_INIT;
	struct mount_point point;
	struct statvfs fs;
	char path[PATH_MAX];
	bool read_only;
	int rc = path_resolve(r->volume_path, path, &why);

	if (rc < 0)
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s",
		    r->volume_path, why.text);
	rc = mount_look(path, &point, NULL, err);
	if (rc < 0)
		return rc;
	if (!point.exists || !point.mounted)
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s", path,
		    point.exists ? "not a mount point" : "no such path");
	out->block = S_ISBLK(point.mode);
	if (point.dead)
		return stats_say_dead(out, path, "its device does not answer");
	if (stats_is_lost(r, &point))
		return stats_say_dead(
		    out, path, "nobody serves its device any more");
	if (out->block) {
		rc = sysfs_size(point.source, &out->total_bytes, &read_only);
		return rc < 0 ? stats_say_dead(out, path, "its device is gone")
			      : 0;
	}
	if (!S_ISDIR(point.mode))
		return err_set(err, ERR_NOT_FOUND,
		    "no volume at %s: neither a directory nor a block device",
		    path);
	if (statvfs(path, &fs) < 0)
		return stats_say_dead(out, path, strerror(errno));
	out->total_bytes = fs.f_blocks * fs.f_frsize;
	out->available_bytes = fs.f_bavail * fs.f_frsize;
	out->used_bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	out->inodes = fs.f_files;
	out->free_inodes = fs.f_ffree;
	out->used_inodes = fs.f_files - fs.f_ffree;
	return 0;
}

/* ---- the operation -------------------------------------------------------- */

enum stats_state {
	STATS_START = 0, /* nothing is asked */
	STATS_READ,      /* the child has ended */
	STATS_END,
};

struct stats {
	struct csi_rpc rpc;
	enum stats_state state;
	struct stats_result result;
	struct offload offload;
};

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
	struct arena *arena = s->rpc.arena;
	bool is_dead = got->dead[0] != '\0';
	Csi__V1__NodeGetVolumeStatsResponse *reply = csi_rpc_reply(&s->rpc);

	reply->usage = arena_new_bytes(
	    arena, 2 * sizeof(Csi__V1__VolumeUsage *));
	stats_add_usage(reply, arena, CSI__V1__VOLUME_USAGE__UNIT__BYTES,
	    got->total_bytes, got->used_bytes, got->available_bytes);
	if (!got->block && !is_dead)
		stats_add_usage(reply, arena,
		    CSI__V1__VOLUME_USAGE__UNIT__INODES, got->inodes,
		    got->used_inodes, got->free_inodes);
	reply->volume_condition = csi_new(
	    &csi__v1__volume_condition__descriptor, arena);
	reply->volume_condition->abnormal = is_dead;
	reply->volume_condition->message = arena_strdup(
	    arena, is_dead ? got->dead : "the volume is well");
}

static enum op_verdict
stats_step(struct op *op)
{
	struct stats *s = (struct stats *)op;
	const Csi__V1__NodeGetVolumeStatsRequest *r = s->rpc.request;

	switch (s->state) {
	case STATS_START:
		op->subject = r->volume_path;
		if (op->detached)
			return op_fail(s, STATS_END, ERR_CANCELLED,
			    "statistics of %s: the caller is gone",
			    r->volume_path);
		offload_start(&s->offload, r->volume_path, stats_child, r,
		    &s->result, sizeof(s->result), STATS_MS, &op->wake);
		return op_await(s, STATS_READ);

	case STATS_READ:
		if (op->rc < 0)
			return op_fail_err(s, STATS_END, &s->offload.err);
		stats_reply(s);
		return op_goto(s, STATS_END);

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
