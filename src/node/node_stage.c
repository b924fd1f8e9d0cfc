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
#include "csi/encryption.h"
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
#define WIPE_MS FSCK_MS                 /* all of an image is written */

enum stage_state {
	STAGE_START = 0, /* nothing is done */
	STAGE_TRY,       /* a child is to go as far as it can */
	STAGE_TRIED,     /* it went as far as it could */
	STAGE_OPENED,    /* open_start has ended */
	STAGE_NAMED,     /* the cluster has said what the pool is called now */
	STAGE_UNLOCKED, /* the cluster has told the key of an encrypted volume */
	STAGE_SEALED,   /* the cluster knows that it is a LUKS device */
	STAGE_PROVEN,   /* the cluster has said whether it may be formatted */
	STAGE_FORMAT,   /* it may be */
	STAGE_FORMATTED, /* mkfs has ended */
	STAGE_MARKED,    /* the cluster knows of the file system, or by which
			    address the image is open */
	STAGE_CHECKED,   /* fsck has ended */
	STAGE_STAGED,    /* it is mounted, or the device bound */
	STAGE_ALONE,     /* the cluster has said who else has the image open */
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
	struct csi_encryption encryption;
	struct secret luks_key;
	const char *mkfs_options;
	const char *fallback; /* mapper to take where the node lacks one */
	bool is_static;       /* somebody else's image: never formatted */
	bool proven;          /* the cluster says that it may be formatted */
	bool comes_back;      /* it was staged before, and lost since */
	bool named;           /* spec.pool is the pool's name of now */
	struct err unfound;   /* why nothing was found by the name of before */
	const struct mapper *mapper;
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

/* ---- what is asked for ---------------------------------------------------- */

static int
stage_options(
    struct stage *s, const char *key, const char **out, struct err *err)
{
	struct csi_map context = csi_map_of(s->request, volume_context);
	const char *text = csi_map_get(&context, key);
	auto_free char *mine = NULL;

	*out = "";
	if (str_is_empty(text))
		return 0;
	if (csi_map_options(
		text, csi_mounter_of(s->mapper->mounter), &mine, err) < 0) {
		err_prefix(err, "volume_context.%s", key);
		return err->rc;
	}
	*out = arena_strdup(s->rpc.arena, mine);
	return 0;
}

/* From now on with this mapper. */
static int
stage_use_mapper(struct stage *s, const struct mapper *mapper, struct err *err)
{
	int rc;

	s->mapper = mapper;
	s->args.mapper = mapper->child;
	s->args.opened = false;
	rc = stage_options(s, "mapOptions", &s->args.spec.map_options, err);
	return rc < 0 ? rc
		      : stage_options(s, "unmapOptions",
			    &s->args.spec.unmap_options, err);
}

static int
stage_read_request(struct stage *s, struct err *err)
{
	const Csi__V1__NodeStageVolumeRequest *r = s->request;
	struct csi_map publish = csi_map_of(r, publish_context);
	struct csi_map context = csi_map_of(r, volume_context);
	const struct csi_credentials *who = &s->rpc.in->credentials;
	const struct csi_access *access = &s->rpc.in->access;
	const struct mapper *mapper;
	bool is_reader, any_mounter;
	int rc;

	if ((rc = node_spec_fill(&s->args.spec, r->volume_id, &publish,
		 &context, true, s->rpc.arena, err)) < 0 ||
	    (rc = csi_encryption_get(&context, &s->encryption, err)) < 0 ||
	    (rc = csi_map_bool(&context, "volume_context", "staticVolume",
		 &s->is_static, err)) < 0 ||
	    (rc = csi_map_bool(&context, "volume_context", "tryOtherMounters",
		 &any_mounter, err)) < 0 ||
	    (rc = node_mount_flags(r->volume_capability, s->rpc.arena,
		 &s->args.options, err)) < 0)
		return rc;
	secret_set(&s->key, who->key, who->key_len);
	s->args.spec.user = who->user;
	s->args.spec.key = &s->key;
	/* Set where another node may write (MULTI_NODE_SINGLE_WRITER). */
	is_reader = str_eq(csi_map_get(&publish, "readOnly"), "true");
	s->args.spec.read_only = access->read_only || is_reader;
	s->args.spec.shared = access->multi_writer;
	s->args.read_only = node_is_read_only(
	    access, s->args.options, is_reader);
	s->args.staging = r->staging_target_path;
	s->args.block = access->block;
	s->args.fstype = access->fs_type;
	s->args.luks = s->encryption.luks;
	s->args.luks_options = (struct luks_options){
		.cipher = s->encryption.cipher,
		.integrity = s->encryption.integrity,
		.key_bits = s->encryption.key_bits,
		.sector_bytes = s->encryption.sector_bytes,
	};
	s->mkfs_options = csi_map_get(&context, "mkfsOptions");
	if (access->read_only && !s->is_static)
		s->args.replay = STAGING_REPLAY_ASK;
	/* Without mkfs there is no mark. */
	s->args.marked = s->is_static;
	/* Nobody would find what a static volume has. */
	s->args.unrecorded = node_config->records && !s->is_static;
	s->fallback = any_mounter ? MAPPER_OTHER
				  : node_config->mounter_fallback;
	mapper = mapper_choose(
	    csi_map_get(&context, "mounter"), s->fallback, err);
	if (mapper == NULL)
		return -EBUSY;
	(void)!str_put(s->what, sizeof(s->what), "stage %s", r->volume_id);
	return stage_use_mapper(s, mapper, err);
}

/* ---- what the steps start ------------------------------------------------- */

/* What the child has begun, and mapped, for the mapper's memory. */
static void
stage_note(struct stage *s)
{
	const struct mapper *mapper = s->mapper;

	if (s->result.progress >= STAGING_NOTED && !s->args.begun) {
		s->args.begun = true;
		s->comes_back = s->result.had_stash;
	}
	/* An earlier stage may have used an other mapper. */
	if (s->result.progress == STAGING_FOUND)
		mapper = mapper_by_name(s->result.mapper);
	else if (s->result.progress < STAGING_MAPPED)
		return;
	mapper_note(mapper, &s->args.spec, s->result.device.id);
}

/*
 * Goes on with another mapper; `why` (or NULL) is what keeps the one of now
 * from mapping the image.
 */
static int
stage_turn_to(struct stage *s, const struct mapper *mapper,
    const struct err *why, struct err *err)
{
	const char *earlier = s->mapper->name;

	s->args.settled = true;
	if (mapper->usable(err) && stage_use_mapper(s, mapper, err) == 0)
		return 0;
	if (why != NULL)
		err_prefix(err, "mapper %s: %s; mounter-fallback %s", earlier,
		    why->text, mapper->name);
	return err->rc;
}

/* The mapper to take if the kernel lacks a feature of the image, or NULL. */
static const struct mapper *
stage_fallback(const struct stage *s)
{
	const struct mapper *other = mapper_by_name(s->fallback);

	if (s->args.settled || other == NULL || other == s->mapper)
		return NULL;
	log_info("stage.fallback", "volume=%s from=%s to=%s",
	    s->request->volume_id, s->mapper->name, other->name);
	return other;
}

static void
stage_ask_start(struct stage *s, enum node_format_step step, const char *fstype,
    struct wake *waiter)
{
	struct csi_map secrets = csi_map_of(s->request, secrets);

	s->format = (struct node_format){
		.step = step,
		.spec = &s->args.spec,
		.fstype = fstype,
		.luks = s->args.luks,
		.kms_id = s->encryption.kms_id,
		.passphrase = step == NODE_FORMAT_KEY
		    ? csi_map_get(&secrets, CSI_PASSPHRASE)
		    : NULL,
	};
	node_config->format_start(&s->format, waiter);
}

/*
 * Before anything is written: records by which address this node has the image
 * open, so that it can be fenced when it is lost. False: it is not known. What
 * was staged before --enable-fencing was set is in use: it is recorded now.
 */
static bool
stage_record_begin(struct stage *s)
{
	const struct mapper *mapper = s->result.progress == STAGING_FOUND
	    ? mapper_by_name(s->result.mapper)
	    : s->mapper;

	s->args.unrecorded = false;
	if (!node_record_fill(&s->format, &s->args.spec, mapper,
		s->result.device.client, s->rpc.arena)) {
		log_warn("stage.unrecorded",
		    "volume=%s text=\"mapper %s does not tell its address: the node cannot be fenced\"",
		    s->request->volume_id, mapper->name);
		return false;
	}
	node_config->format_start(&s->format, &s->rpc.op.wake);
	return true;
}

/*
 * Nothing is there by the pool's name, which may have changed. The handle has
 * the pool's id: asks for the name, once.
 */
static bool
stage_asks_name(struct stage *s, const struct err *err)
{
	if (err->code != ERR_NOT_FOUND || s->named || s->args.spec.pool_id <= 0)
		return false;
	s->named = true;
	s->unfound = *err;
	stage_ask_start(s, NODE_FORMAT_POOL, NULL, &s->rpc.op.wake);
	return true;
}

static const char *
stage_fstype(const struct stage *s)
{
	return str_is_empty(s->args.fstype) ? FILESYSTEM_DEFAULT
					    : s->args.fstype;
}

static const char **
stage_mkfs_argv(const struct stage *s, struct err *err)
{
	bool again = s->format.again;
	const char *fstype = stage_fstype(s), *device = s->result.top.path;
	const char **argv = filesystem_mkfs_argv(s->rpc.arena, fstype,
	    s->mkfs_options, device,
	    /* What is blank below LUKS is noise above it. */
	    again || mkfs_is_old || s->args.luks ? FILESYSTEM_MKFS_UNKNOWN
						 : FILESYSTEM_MKFS_FRESH,
	    again, err);

	if (argv != NULL)
		log_info("stage.mkfs", "volume=%s fstype=%s device=%s again=%d",
		    s->request->volume_id, fstype, device, again);
	return argv;
}

/* Takes a newer option of mkfs back, once in the life of this process. */
static bool
stage_mkfs_was_old(const struct stage *s)
{
	if (s->rpc.op.rc < 0 || mkfs_is_old || !str_is_empty(s->mkfs_options) ||
	    !filesystem_mkfs_is_old(
		stage_fstype(s), s->tool.status, s->tool.output))
		return false;
	mkfs_is_old = true;
	return true;
}

static int
stage_judge_mkfs(const struct stage *s, struct err *err)
{
	char reason[FILESYSTEM_REASON_SIZE];

	if (s->rpc.op.rc < 0)
		return err_refuse(err, "mkfs for volume %s: %s",
		    s->request->volume_id, s->tool.err.text);
	if (s->tool.status == 0)
		return 0;
	filesystem_reason(s->tool.output, reason);
	return err_set(err, ERR_INTERNAL, "mkfs of %s on %s ended with %d: %s",
	    stage_fstype(s), s->result.top.path, s->tool.status, reason);
}

static int
stage_judge_fsck(const struct stage *s, struct err *err)
{
	const char *volume = s->request->volume_id;

	if (s->rpc.op.rc ==
	    -ENOENT) { /* the mount is tried, as ceph-csi does */
		log_warn("stage.fsck", "volume=%s error=not-installed", volume);
		return 0;
	}
	if (s->rpc.op.rc < 0)
		return err_refuse(
		    err, "fsck for volume %s: %s", volume, s->tool.err.text);
	return filesystem_fsck_judge(
	    s->tool.status, s->tool.output, s->result.top.path, err);
}

/* ---- the flow ------------------------------------------------------------- */

/*
 * A read-only volume whose journal has to be replayed. Many nodes may find that
 * at once, and one may do it: it opens the image for writing first, then asks
 * whether it is the only one that has. The ladder brings it back to nothing, from where
 * it is staged read-only like any other.
 */
static enum op_verdict
stage_replay_step(struct stage *s)
{
	struct op *op = &s->rpc.op;

	if (s->result.progress == STAGING_WRITABLE) {
		stage_ask_start(s, NODE_FORMAT_ALONE, NULL, &op->wake);
		return op_await(s, STAGE_ALONE);
	}
	/* Mapped anew, it may be another client. */
	s->args.unrecorded = node_config->records;
	s->args.recorded = s->args.opened = false;
	if (s->result.progress == STAGING_UNCLEAN) {
		s->args.replay = STAGING_REPLAY_MAP;
		s->args.spec.read_only = false;
		return op_goto(s, STAGE_TRY);
	}
	log_info("stage.replayed", "volume=%s fstype=%s device=%s", op->subject,
	    s->result.fstype, s->result.top.path);
	s->args.replay = STAGING_REPLAY_NEVER;
	s->args.spec.read_only = true;
	return op_goto(s, STAGE_UNDO);
}

static enum op_verdict
stage_alone(struct stage *s)
{
	if (s->rpc.op.rc < 0) {
		err_prefix(&s->format.err,
		    "the journal of volume %s cannot be replayed now",
		    s->request->volume_id);
		return op_fail_err(s, STAGE_UNDO, &s->format.err);
	}
	s->args.replay = STAGING_REPLAY_DO;
	return op_goto(s, STAGE_TRY);
}

static enum op_verdict
stage_undone(struct stage *s)
{
	return err_is_set(&s->rpc.op.err) ? op_goto(s, STAGE_END)
					  : op_goto(s, STAGE_TRY);
}

/*
 * The ladder: a failure leads back to nothing, from what was made here only.
 * Without a failure it comes from a replay.
 */
static enum op_verdict
stage_undo_step(struct stage *s)
{
	struct op *op = &s->rpc.op;

	if (s->state == STAGE_UNDO) {
		if (s->result.progress < STAGING_NOTED)
			return op_goto(s, STAGE_END);
		s->undo_args = (struct unstaging_args){
			.staging = s->args.staging,
			.spec = &s->args.spec,
			.undo = true,
			.keep_stash = s->comes_back,
		};
		memset(&s->undo_result, 0, sizeof(s->undo_result));
		offload_start(&s->offload, s->what, staging_unstage,
		    &s->undo_args, &s->undo_result, sizeof(s->undo_result),
		    NODE_CHILD_MS, &op->wake);
		return op_await(s, STAGE_UNDO_UNSTAGED);
	}
	if (s->state == STAGE_UNDO_UNSTAGED) {
		if (op->rc < 0)
			op_set_err(op, &s->offload.err);
		else if (s->undo_result.kept)
			op_set_error(op, ERR_ABORTED,
			    "volume %s is in use at another path of this node",
			    op->subject);
		if (op->rc < 0 || s->undo_result.kept)
			return op_goto(s, STAGE_END);
		mapper_note(s->mapper, &s->args.spec, -1);
		if (s->mapper->close_start == NULL)
			return stage_undone(s);
		s->open = (struct device_open){ .spec = &s->args.spec };
		s->mapper->close_start(&s->open, &op->wake);
		return op_await(s, STAGE_UNDO_CLOSED);
	}
	/* STAGE_UNDO_CLOSED */
	if (op->rc < 0)
		op_set_err(op, &s->open.err);
	return stage_undone(s);
}

/*
 * An encrypted volume. Its durable steps: the proof that the image is empty
 * and its mark, the LUKS device, the state that says so, the file system, the
 * mark that says so.
 */
static enum op_verdict
stage_luks_step(struct stage *s)
{
	struct op *op = &s->rpc.op;

	if (s->state != STAGE_TRIED && op->rc < 0)
		return op_fail_err(s, STAGE_UNDO, &s->format.err);
	if (s->state == STAGE_UNLOCKED) {
		secret_copy(&s->luks_key, &s->format.key);
		secret_fini(&s->format.key);
		s->args.luks_key = &s->luks_key;
		s->args.is_luks = s->format.encrypted;
		return op_goto(s, STAGE_TRY);
	}
	if (s->state == STAGE_SEALED) {
		s->args.is_luks = true;
		return op_goto(s, STAGE_TRY);
	}
	if (s->result.progress == STAGING_LOCKED) {
		stage_ask_start(s, NODE_FORMAT_KEY, NULL, &op->wake);
		return op_await(s, STAGE_UNLOCKED);
	}
	if (s->result.progress == STAGING_ENCRYPTED) {
		log_info("stage.encrypted", "volume=%s device=%s", op->subject,
		    s->result.device.path);
		stage_ask_start(s, NODE_FORMAT_ENCRYPTED,
		    s->args.block ? "block" : NULL, &op->wake);
		return op_await(s, STAGE_SEALED);
	}
	if (s->is_static)
		return op_fail(s, STAGE_UNDO, ERR_FAILED_PRECONDITION,
		    "static volume %s is no LUKS device: static volumes are not encrypted",
		    op->subject);
	stage_ask_start(s, NODE_FORMAT_BEGIN, NULL, &op->wake);
	return op_await(s, STAGE_PROVEN);
}

/* From the proof that there is nothing to a file system that is noted. */
static enum op_verdict
stage_format_step(struct stage *s)
{
	struct op *op = &s->rpc.op;
	struct err err = ERR_INIT;
	const char **argv;

	switch ((int)s->state) {
	case STAGE_PROVEN:
		if (op->rc < 0)
			return op_fail_err(s, STAGE_UNDO, &s->format.err);
		s->proven = true;
		s->args.encrypts = s->result.progress == STAGING_BLANK;
		if (!s->args.encrypts && !str_is_empty(s->args.spec.image_id))
			return op_goto(s, STAGE_FORMAT);
		/* The child is to find the device to be of this id first. */
		s->args.spec.image_id = arena_strdup(
		    s->rpc.arena, s->format.image_id);
		return op_goto(s, STAGE_TRY);

	case STAGE_FORMAT:
		argv = stage_mkfs_argv(s, &err);
		if (argv == NULL)
			return op_fail_err(s, STAGE_UNDO, &err);
		tool_start(&s->tool, argv, MKFS_MS, &op->wake);
		return op_await(s, STAGE_FORMATTED);

	case STAGE_FORMATTED:
		if (stage_mkfs_was_old(s))
			return op_goto(s, STAGE_FORMAT);
		if (stage_judge_mkfs(s, &err) < 0)
			return op_fail_err(s, STAGE_UNDO, &err);
		s->args.formatted = true;
		stage_ask_start(s, NODE_FORMAT_END, stage_fstype(s), &op->wake);
		return op_await(s, STAGE_MARKED);

	case STAGE_MARKED:
		if (op->rc < 0 && s->result.progress == STAGING_FOUND) {
			log_warn("stage.unrecorded", "volume=%s text=\"%s\"",
			    op->subject, s->format.err.text);
			return op_goto(s, STAGE_STAGED);
		}
		if (op->rc < 0)
			return op_fail_err(s, STAGE_UNDO, &s->format.err);
		s->args.marked |= s->format.step == NODE_FORMAT_END;
		s->args.recorded |= s->format.step == NODE_FORMAT_RECORD;
		return op_goto(s, STAGE_TRY);

	default:
		abort();
	}
}

static enum op_verdict
stage_step(struct op *op)
{
	struct stage *s = (struct stage *)op;
	const char *volume = s->rpc.op.subject, **argv;
	const struct mapper *other;
	struct err err = ERR_INIT;

	switch (s->state) {
	case STAGE_START:
		s->request = s->rpc.request;
		op->subject = s->request->volume_id;
		if (op->detached) /* nothing made yet */
			return op_fail(s, STAGE_END, ERR_CANCELLED,
			    "stage volume %s: the caller is gone", op->subject);
		if (stage_read_request(s, &err) < 0)
			return op_fail_err(s, STAGE_END, &err);
		return op_goto(s, STAGE_TRY);

	case STAGE_TRY:
		memset(&s->result, 0, sizeof(s->result));
		offload_start(&s->offload, s->what, staging_stage, &s->args,
		    &s->result, sizeof(s->result),
		    s->args.encrypts && !s->args.is_luks &&
			    s->encryption.integrity != NULL
			? WIPE_MS
			: NODE_CHILD_MS,
		    &op->wake);
		return op_await(s, STAGE_TRIED);

	case STAGE_TRIED:
		stage_note(s);
		if (op->rc < 0 && stage_asks_name(s, &s->offload.err))
			return op_await(s, STAGE_NAMED);
		if (op->rc == -ENXIO && (other = stage_fallback(s)) != NULL)
			return stage_turn_to(s, other, &s->offload.err, &err) <
				0
			    ? op_fail_err(s, STAGE_UNDO, &err)
			    : op_goto(s, STAGE_TRY);
		if (op->rc < 0)
			return op_fail_err(s, STAGE_UNDO, &s->offload.err);
		switch (s->result.progress) {
		case STAGING_OTHER:
			other = mapper_by_name(s->result.mapper);
			return stage_turn_to(s, other, NULL, &err) < 0
			    ? op_fail_err(s, STAGE_UNDO, &err)
			    : op_goto(s, STAGE_TRY);
		case STAGING_NOTED:
			s->open = (struct device_open){ .spec = &s->args.spec };
			s->mapper->open_start(&s->open, &op->wake);
			return op_await(s, STAGE_OPENED);
		case STAGING_UNRECORDED:
			return stage_record_begin(s) ? op_await(s, STAGE_MARKED)
						     : op_goto(s, STAGE_TRY);
		case STAGING_LOCKED:
		case STAGING_BLANK:
		case STAGING_ENCRYPTED:
			return stage_luks_step(s);
		case STAGING_EMPTY:
			if (s->is_static)
				return op_fail(s, STAGE_UNDO,
				    ERR_FAILED_PRECONDITION,
				    "static volume %s holds no file system that is known: static volumes are not formatted",
				    volume);
			if (s->proven)
				return op_goto(s, STAGE_FORMAT);
			stage_ask_start(s, NODE_FORMAT_BEGIN, NULL, &op->wake);
			return op_await(s, STAGE_PROVEN);
		case STAGING_YOUNG:
			stage_ask_start(
			    s, NODE_FORMAT_END, s->result.fstype, &op->wake);
			return op_await(s, STAGE_MARKED);
		case STAGING_DAMAGED:
			argv = filesystem_fsck_argv(
			    s->rpc.arena, s->result.fstype, s->result.top.path);
			if (argv == NULL)
				return op_fail(s, STAGE_UNDO,
				    ERR_FAILED_PRECONDITION,
				    "the %s on %s has errors that a person must repair",
				    s->result.fstype, s->result.top.path);
			log_warn("stage.fsck", "volume=%s device=%s", volume,
			    s->result.top.path);
			tool_start(&s->tool, argv, FSCK_MS, &op->wake);
			return op_await(s, STAGE_CHECKED);
		case STAGING_UNCLEAN:
		case STAGING_WRITABLE:
		case STAGING_REPLAYED:
			return stage_replay_step(s);
		case STAGING_FOUND:
			return s->args.unrecorded && !s->result.recorded &&
				stage_record_begin(s)
			    ? op_await(s, STAGE_MARKED)
			    : op_goto(s, STAGE_STAGED);
		case STAGING_STAGED:
			return op_goto(s, STAGE_STAGED);
		case STAGING_UNTOUCHED:
		case STAGING_MAPPED: /* with a failure only */
			break;
		}
		abort();

	case STAGE_OPENED:
		if (op->rc < 0 && stage_asks_name(s, &s->open.err))
			return op_await(s, STAGE_NAMED);
		if (op->rc < 0)
			return op_fail_err(s, STAGE_UNDO, &s->open.err);
		s->args.opened = true;
		return op_goto(s, STAGE_TRY);

	case STAGE_NAMED:
		if (op->rc < 0 || str_eq(s->format.pool, s->args.spec.pool))
			return op_fail_err(s, STAGE_UNDO, &s->unfound);
		log_info("stage.pool_renamed", "volume=%s from=%s to=%s",
		    volume, s->args.spec.pool, s->format.pool);
		s->args.spec.pool = arena_strdup(s->rpc.arena, s->format.pool);
		s->args.opened = false;
		return op_goto(s, STAGE_TRY);

	case STAGE_UNLOCKED:
	case STAGE_SEALED:
		return stage_luks_step(s);

	case STAGE_PROVEN:
	case STAGE_FORMAT:
	case STAGE_FORMATTED:
	case STAGE_MARKED:
		return stage_format_step(s);

	case STAGE_CHECKED:
		if (stage_judge_fsck(s, &err) < 0)
			return op_fail_err(s, STAGE_UNDO, &err);
		s->args.checked = true;
		return op_goto(s, STAGE_TRY);

	case STAGE_STAGED:
		(void)csi_rpc_reply(&s->rpc);
		return op_goto(s, STAGE_END);

	case STAGE_ALONE:
		return stage_alone(s);

	case STAGE_UNDO:
	case STAGE_UNDO_UNSTAGED:
	case STAGE_UNDO_CLOSED:
		return stage_undo_step(s);

	case STAGE_END:
		return OP_DONE;
	}
	abort();
}

static void
stage_end(struct op *op)
{
	struct stage *s = (struct stage *)op;

	secret_fini(&s->key);
	secret_fini(&s->luks_key);
	secret_fini(&s->format.key);
}

static const struct op_class stage_class = {
	.name = "NodeStageVolume",
	.step = stage_step,
	.end = stage_end,
};

const struct csi_impl node_stage_impl = {
	.cls = &stage_class,
	.size = sizeof(struct stage),
};
