/*
 * node_stage.c - NodeStageVolume: attach the image, make a file system if
 * there is none, mount it (or bind the device) at <staging>/<volume_id>.
 *
 * The work is staging_stage()'s, in a child that is run again after each
 * thing that it cannot do itself. A formatted volume takes one child with
 * krbd and two with a mapper that has an open_start.
 *
 * Formatting has its order of durable steps: the cluster proves that the
 * image holds nothing and marks it as unfinished, mkfs, the cluster marks it
 * as finished, mount. A call that is cut off anywhere in it is repaired by the
 * next one (docs/NODE.md).
 */
#include "node/filesystem.h"
#include "node/node.h"
#include "node/staging.h"

#include "base/log.h"
#include "core/child.h"
#include "core/offload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MKFS_MS INT64_C(3600000)        /* an hour */
#define FSCK_MS (24 * INT64_C(3600000)) /* a day */

enum stage_state {
	STAGE_START = 0, /* nothing is done */
	STAGE_TRIED,     /* a child went as far as it could */
	STAGE_OPENED,    /* open_start has ended */
	STAGE_NAMED,     /* the cluster has said what the pool is called now */
	STAGE_PROVEN,    /* the cluster has said whether it may be formatted */
	STAGE_FORMATTED, /* mkfs has ended */
	STAGE_MARKED,    /* the cluster knows of the file system */
	STAGE_CHECKED,   /* fsck has ended */
	/* undo ladder: what this call has made, back to nothing */
	STAGE_UNDO,
	STAGE_UNDO_UNSTAGED, /* not mounted, not mapped, no stash */
	STAGE_UNDO_CLOSED,
	STAGE_END,
};

struct stage {
	struct csi_rpc rpc;
	enum stage_state state;
	const Csi__V1__NodeStageVolumeRequest *request;
	struct secret key;
	const char *mkfs_options;
	bool is_static;     /* somebody else's image: never formatted */
	bool proven;        /* the cluster says that it may be formatted */
	bool named;         /* spec.pool is the pool's name of now */
	struct err unfound; /* why nothing was found by the name of before */
	struct staging_args args;
	struct staging_result result;
	struct unstaging_args undo_args;
	struct unstaging_result undo_result;
	struct device_open open;
	struct node_format format;
	struct offload offload;
	struct tool tool;
	char what[96]; /* for logs about the child */
};

/* Set by the first mkfs.ext4 that knows no assume_storage_prezeroed. */
static bool mkfs_is_old;

static struct stage *
stage_of(struct op *op)
{
	return (struct stage *)op;
}

/* ---- what is asked for ---------------------------------------------------- */

static enum csi_mounter
mounter_of(const struct mapper *mapper)
{
	if (str_eq(mapper->name, "userspace"))
		return CSI_MOUNTER_USERSPACE;
	return str_eq(mapper->name, "nbd") ? CSI_MOUNTER_NBD : CSI_MOUNTER_KRBD;
}

static int
read_options(
    struct stage *s, const char *key, const char **out, struct err *err)
{
	struct csi_map context = csi_map_of(s->request, volume_context);
	const char *text = csi_map_get(&context, key);
	auto_free char *mine = NULL;
	int rc;

	*out = "";
	if (str_is_empty(text))
		return 0;
	rc = csi_map_options(text, mounter_of(s->args.mapper), &mine, err);
	if (rc == 0)
		*out = arena_strdup(s->rpc.arena, mine);
	else
		err_prefix(err, "volume_context.%s", key);
	return rc;
}

/* From now on with this mapper: its options, and what it knows already. */
static int
use_mapper(struct stage *s, const struct mapper *mapper, struct err *err)
{
	int rc;

	s->args.mapper = mapper;
	s->args.opened = false;
	if ((rc = read_options(
		 s, "mapOptions", &s->args.spec.map_options, err)) < 0 ||
	    (rc = read_options(
		 s, "unmapOptions", &s->args.spec.unmap_options, err)) < 0)
		return rc;
	mapper->find(&s->args.spec, &s->args.ref);
	return 0;
}

static int
read_request(struct stage *s, struct err *err)
{
	const Csi__V1__NodeStageVolumeRequest *r = s->request;
	struct csi_map publish = csi_map_of(r, publish_context);
	struct csi_map context = csi_map_of(r, volume_context);
	const struct csi_credentials *who = &s->rpc.in->credentials;
	const struct csi_access *access = &s->rpc.in->access;
	const struct mapper *mapper;
	bool is_reader;
	int rc;

	if ((rc = node_spec_fill(&s->args.spec, r->volume_id, &publish,
		 &context, true, s->rpc.arena, err)) < 0 ||
	    (rc = node_is_true(&context, "staticVolume", &s->is_static, err)) <
		0 ||
	    (rc = node_mount_flags(r->volume_capability, s->rpc.arena,
		 &s->args.options, err)) < 0)
		return rc;
	secret_set(&s->key, who->key, who->key_len);
	s->args.spec.user = who->user;
	s->args.spec.key = &s->key;
	/* Set where another node may write (MULTI_NODE_SINGLE_WRITER). */
	is_reader = str_eq(csi_map_get(&publish, "readOnly"), "true");
	s->args.spec.read_only = access->read_only || is_reader;
	s->args.read_only = node_is_read_only(
	    access, s->args.options, is_reader);
	s->args.staging = r->staging_target_path;
	s->args.block = access->block;
	s->args.fstype = access->fs_type;
	s->mkfs_options = csi_map_get(&context, "mkfsOptions");
	/* Without mkfs there is no mark. */
	s->args.marked = s->is_static;
	mapper = device_choose(csi_map_get(&context, "mounter"),
	    node_config()->mounter_fallback, err);
	if (mapper == NULL)
		return -EBUSY;
	return use_mapper(s, mapper, err);
}

/* ---- steps ---------------------------------------------------------------- */

static enum op_verdict
stage_try(struct stage *s)
{
	memset(&s->result, 0, sizeof(s->result));
	if (str_put(s->what, sizeof(s->what), "stage %s",
		s->request->volume_id) < 0)
		s->what[sizeof(s->what) - 1] = '\0';
	offload_start(&s->offload, s->what, staging_stage, &s->args, &s->result,
	    sizeof(s->result), NODE_CHILD_MS, &s->rpc.op.wake);
	return op_await(s, STAGE_TRIED);
}

static enum op_verdict
stage_start(struct stage *s)
{
	struct err err = ERR_INIT;

	s->request = s->rpc.request;
	s->rpc.op.subject = s->request->volume_id;
	if (s->rpc.op.detached) /* nothing made yet */
		return op_fail(s, STAGE_END, ERR_CANCELLED,
		    "stage volume %s: the caller is gone",
		    s->request->volume_id);
	if (read_request(s, &err) < 0)
		return op_fail_err(s, STAGE_END, &err);
	return stage_try(s);
}

/* A failure leads back to nothing, but only from what was made here. */
static enum op_verdict
stage_give_up(struct stage *s, const struct err *err)
{
	if (s->result.touched)
		return op_fail_err(s, STAGE_UNDO, err);
	return op_fail_err(s, STAGE_END, err);
}

/* `why` (or NULL) is what keeps the mapper of now from mapping the image. */
static enum op_verdict
stage_again_with(struct stage *s, const char *name, const struct err *why)
{
	const struct mapper *mapper = device_mapper(name);
	const char *earlier = s->args.mapper->name;
	struct err err = ERR_INIT;

	s->args.settled = true;
	if (mapper == NULL)
		(void)err_set(&err, ERR_FAILED_PRECONDITION,
		    "this driver has no mapper %s", name);
	else if (mapper->usable(&err) && use_mapper(s, mapper, &err) == 0)
		return stage_try(s);
	if (why != NULL)
		err_prefix(&err, "mapper %s: %s; mounter-fallback %s", earlier,
		    why->text, name);
	return stage_give_up(s, &err);
}

/* Nothing is there by the pool's name. The handle has its id: ask for it. */
static bool
may_be_renamed(const struct stage *s, const struct err *err)
{
	return err->code == ERR_NOT_FOUND && !s->named &&
	    s->args.spec.pool_id > 0;
}

static enum op_verdict
stage_name_pool(struct stage *s, const struct err *unfound)
{
	s->named = true;
	s->unfound = *unfound;
	s->format = (struct node_format){ .step = NODE_FORMAT_POOL,
		.spec = &s->args.spec };
	node_config()->format_start(&s->format, &s->rpc.op.wake);
	return op_await(s, STAGE_NAMED);
}

static enum op_verdict
stage_named(struct stage *s)
{
	const char *now = s->format.pool;
	struct err err = ERR_INIT;

	if (s->rpc.op.rc < 0 || str_eq(now, s->args.spec.pool))
		return stage_give_up(s, &s->unfound);
	log_info("stage.pool_renamed", "volume=%s from=%s to=%s",
	    s->request->volume_id, s->args.spec.pool, now);
	s->args.spec.pool = arena_strdup(s->rpc.arena, now);
	if (use_mapper(s, s->args.mapper, &err) < 0)
		return stage_give_up(s, &err);
	return stage_try(s);
}

/* The kernel lacks a feature of the image: is there an other mapper? */
static enum op_verdict
stage_failed(struct stage *s, int rc)
{
	const char *other = node_config()->mounter_fallback;

	if (may_be_renamed(s, &s->offload.err))
		return stage_name_pool(s, &s->offload.err);
	if (rc == -ENXIO && !s->args.settled && other != NULL &&
	    device_mapper(other) != NULL &&
	    !str_eq(other, s->args.mapper->name)) {
		log_info("stage.fallback", "volume=%s from=%s to=%s",
		    s->request->volume_id, s->args.mapper->name, other);
		return stage_again_with(s, other, &s->offload.err);
	}
	return stage_give_up(s, &s->offload.err);
}

static enum op_verdict
stage_open(struct stage *s)
{
	memset(&s->open, 0, sizeof(s->open));
	s->open.spec = &s->args.spec;
	s->open.ref = s->args.ref;
	s->args.mapper->open_start(&s->open, &s->rpc.op.wake);
	return op_await(s, STAGE_OPENED);
}

static const char *
wanted_fstype(const struct stage *s)
{
	return str_is_empty(s->args.fstype) ? FILESYSTEM_DEFAULT
					    : s->args.fstype;
}

/* A node without a cluster to ask formats nothing. */
static enum op_verdict
stage_prove(struct stage *s)
{
	s->format = (struct node_format){ .step = NODE_FORMAT_BEGIN,
		.spec = &s->args.spec };
	node_config()->format_start(&s->format, &s->rpc.op.wake);
	return op_await(s, STAGE_PROVEN);
}

static enum op_verdict
stage_mark(struct stage *s, const char *fstype)
{
	s->format = (struct node_format){
		.step = NODE_FORMAT_END, .spec = &s->args.spec, .fstype = fstype
	};
	node_config()->format_start(&s->format, &s->rpc.op.wake);
	return op_await(s, STAGE_MARKED);
}

static enum op_verdict
stage_mkfs(struct stage *s)
{
	bool again = s->format.again;
	struct err err = ERR_INIT;
	const char **argv = filesystem_mkfs_argv(s->rpc.arena, wanted_fstype(s),
	    s->mkfs_options, s->result.device.path,
	    again || mkfs_is_old ? FILESYSTEM_MKFS_UNKNOWN
				 : FILESYSTEM_MKFS_FRESH,
	    again, &err);

	if (argv == NULL)
		return op_fail_err(s, STAGE_UNDO, &err);
	log_info("stage.mkfs", "volume=%s fstype=%s device=%s again=%d",
	    s->request->volume_id, wanted_fstype(s), s->result.device.path,
	    again);
	tool_start(&s->tool, argv, MKFS_MS, &s->rpc.op.wake);
	return op_await(s, STAGE_FORMATTED);
}

/* No file system that is known: may one be made? */
static enum op_verdict
stage_format(struct stage *s)
{
	if (s->is_static)
		return op_fail(s, STAGE_UNDO, ERR_FAILED_PRECONDITION,
		    "static volume %s holds no file system that is known: "
		    "static volumes are not formatted",
		    s->request->volume_id);
	return s->proven ? stage_mkfs(s) : stage_prove(s);
}

static enum op_verdict
stage_fsck(struct stage *s)
{
	const char **argv = filesystem_fsck_argv(
	    s->rpc.arena, s->result.probe.fstype, s->result.device.path);

	if (argv == NULL)
		return op_fail(s, STAGE_UNDO, ERR_FAILED_PRECONDITION,
		    "the %s on %s has errors that a person must repair",
		    s->result.probe.fstype, s->result.device.path);
	log_warn("stage.fsck", "volume=%s device=%s", s->request->volume_id,
	    s->result.device.path);
	tool_start(&s->tool, argv, FSCK_MS, &s->rpc.op.wake);
	return op_await(s, STAGE_CHECKED);
}

static enum op_verdict
stage_done(struct stage *s)
{
	if (s->result.grown)
		log_info("stage.grown", "volume=%s device=%s bytes=%llu",
		    s->request->volume_id, s->result.device.path,
		    (unsigned long long)s->result.device.size_bytes);
	(void)csi_rpc_reply(&s->rpc);
	return op_goto(s, STAGE_END);
}

/* What the child has mapped, for the mapper's memory. */
static void
stage_note(struct stage *s)
{
	const struct mapper *earlier;

	if (!s->result.mapped)
		return;
	s->args.ref = s->result.device.ref;
	if (!s->result.already) {
		s->args.mapper->note(&s->args.spec, &s->args.ref);
		return;
	}
	/* An earlier stage may have used an other mapper. */
	earlier = staging_mapper_of(&s->result.stash, NULL);
	if (earlier != NULL)
		earlier->note(&s->args.spec, &s->args.ref);
}

static enum op_verdict
stage_tried(struct stage *s)
{
	stage_note(s);
	if (s->rpc.op.rc < 0)
		return stage_failed(s, s->rpc.op.rc);
	switch (s->result.need) {
	case STAGING_NEEDS_NOTHING:
		return stage_done(s);
	case STAGING_NEEDS_MAPPER:
		return stage_again_with(s, s->result.stash.mapper, NULL);
	case STAGING_NEEDS_OPEN:
		return stage_open(s);
	case STAGING_NEEDS_MKFS:
		return stage_format(s);
	case STAGING_NEEDS_MARK:
		return stage_mark(s, s->result.probe.fstype);
	case STAGING_NEEDS_FSCK:
		return stage_fsck(s);
	}
	abort();
}

static enum op_verdict
stage_opened(struct stage *s)
{
	if (s->rpc.op.rc < 0 && may_be_renamed(s, &s->open.err))
		return stage_name_pool(s, &s->open.err);
	if (s->rpc.op.rc < 0)
		return op_fail_err(s, STAGE_UNDO, &s->open.err);
	s->args.opened = true;
	s->args.ref = s->open.ref;
	return stage_try(s);
}

static enum op_verdict
stage_tool_missing(struct stage *s, const char *what)
{
	return op_fail(s, STAGE_UNDO, ERR_FAILED_PRECONDITION,
	    "%s for volume %s: %s", what, s->request->volume_id,
	    s->tool.err.text);
}

/*
 * The answer is about the image of this name and id. Where the id was not
 * known, the child has to find the device to be the one of this id first.
 */
static enum op_verdict
stage_proven(struct stage *s)
{
	bool by_id = !str_is_empty(s->args.spec.image_id);

	if (s->rpc.op.rc < 0)
		return op_fail_err(s, STAGE_UNDO, &s->format.err);
	s->proven = true;
	if (by_id)
		return stage_mkfs(s);
	s->args.spec.image_id = arena_strdup(s->rpc.arena, s->format.image_id);
	return stage_try(s);
}

static enum op_verdict
stage_formatted(struct stage *s)
{
	const struct tool *tool = &s->tool;
	const char *fstype = wanted_fstype(s);
	char reason[FILESYSTEM_REASON_SIZE];

	if (s->rpc.op.rc < 0)
		return stage_tool_missing(s, "mkfs");
	if (!mkfs_is_old && str_is_empty(s->mkfs_options) &&
	    filesystem_mkfs_is_old(fstype, tool->status, tool->output)) {
		mkfs_is_old = true;
		return stage_mkfs(s);
	}
	if (tool->status != 0) {
		filesystem_reason(tool->output, reason);
		return op_fail(s, STAGE_UNDO, ERR_INTERNAL,
		    "mkfs of %s on %s ended with %d: %s", fstype,
		    s->result.device.path, tool->status, reason);
	}
	s->args.formatted = true;
	return stage_mark(s, fstype);
}

static enum op_verdict
stage_marked(struct stage *s)
{
	if (s->rpc.op.rc < 0)
		return op_fail_err(s, STAGE_UNDO, &s->format.err);
	s->args.marked = true;
	return stage_try(s);
}

static enum op_verdict
stage_checked(struct stage *s)
{
	struct err err = ERR_INIT;

	/* Without fsck the mount is tried, as ceph-csi does. */
	if (s->rpc.op.rc == -ENOENT)
		log_warn("stage.fsck", "volume=%s error=not-installed",
		    s->request->volume_id);
	else if (s->rpc.op.rc < 0)
		return stage_tool_missing(s, "fsck");
	else if (filesystem_fsck_judge(s->tool.status, s->tool.output,
		     s->result.device.path, &err) < 0)
		return op_fail_err(s, STAGE_UNDO, &err);
	s->args.checked = true;
	return stage_try(s);
}

/* ---- undo ----------------------------------------------------------------- */

static enum op_verdict
stage_undo(struct stage *s)
{
	s->undo_args = (struct unstaging_args){ .staging = s->args.staging,
		.volume_id = s->request->volume_id,
		.spec = &s->args.spec,
		.undo = true };
	memset(&s->undo_result, 0, sizeof(s->undo_result));
	offload_start(&s->offload, s->what, staging_unstage, &s->undo_args,
	    &s->undo_result, sizeof(s->undo_result), NODE_CHILD_MS,
	    &s->rpc.op.wake);
	return op_await(s, STAGE_UNDO_UNSTAGED);
}

static enum op_verdict
stage_undo_unstaged(struct stage *s)
{
	if (s->rpc.op.rc < 0) {
		op_set_err(&s->rpc.op, &s->offload.err);
		return op_goto(s, STAGE_END);
	}
	if (s->undo_result.kept)
		return op_goto(s, STAGE_END);
	s->args.mapper->note(&s->args.spec, NULL);
	if (s->args.mapper->close_start == NULL)
		return op_goto(s, STAGE_END);
	memset(&s->open, 0, sizeof(s->open));
	s->open.spec = &s->args.spec;
	s->open.ref = (struct device_ref)DEVICE_REF_INIT;
	s->args.mapper->close_start(&s->open, &s->rpc.op.wake);
	return op_await(s, STAGE_UNDO_CLOSED);
}

static enum op_verdict
stage_step(struct op *op)
{
	struct stage *s = stage_of(op);

	switch (s->state) {
	case STAGE_START:
		return stage_start(s);
	case STAGE_TRIED:
		return stage_tried(s);
	case STAGE_OPENED:
		return stage_opened(s);
	case STAGE_NAMED:
		return stage_named(s);
	case STAGE_PROVEN:
		return stage_proven(s);
	case STAGE_FORMATTED:
		return stage_formatted(s);
	case STAGE_MARKED:
		return stage_marked(s);
	case STAGE_CHECKED:
		return stage_checked(s);

	case STAGE_UNDO:
		return stage_undo(s);
	case STAGE_UNDO_UNSTAGED:
		return stage_undo_unstaged(s);
	case STAGE_UNDO_CLOSED:
		if (op->rc < 0)
			op_set_err(op, &s->open.err);
		return op_goto(s, STAGE_END);

	case STAGE_END:
		return OP_DONE;
	}
	abort();
}

static void
stage_free(struct op *op)
{
	secret_fini(&stage_of(op)->key);
}

static const struct op_class stage_class = {
	.name = "NodeStageVolume",
	.step = stage_step,
	.end = stage_free,
};

const struct csi_impl node_stage_impl = {
	.cls = &stage_class,
	.size = sizeof(struct stage),
};
