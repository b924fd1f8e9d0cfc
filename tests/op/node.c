/*
 * node.c - the await sweep for the Node RPCs: children, tools and the mapper
 * are played by a script, each of whose answers fails once and comes once to
 * a caller who is gone.
 */
#include "node/node.h"
#include "admin.pb-c.h"
#include "base/log.h"
#include "core/child.h"
#include "core/offload.h"
#include "node/staging.h"
#include "tests/definition.h"
#include "tests/tap.h"
#include "tests/waited.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the script ----------------------------------------------------------- */

/* What one wait gives. */
struct wait {
	const char *call; /* who must be asked */
	enum staging_progress
	    progress; /* of a stage child; 0: as far as it goes */
	bool lost;    /* of a publish child: not staged any more */
	int status;   /* of a tool */
	const char *output;
	int rc;             /* it fails with this ... */
	enum err_code code; /* ... which is told as */
};

static bool was_forced; /* the last tool had -F */
static const struct wait *script;
static size_t at, fail_at, detach_at; /* 1-based; 0: never */
static char calls[512];
static struct op *current;

static void
note_call(const char *what)
{
	size_t used = strlen(calls);

	(void)!str_put(calls + used, sizeof(calls) - used, "%s%s",
	    used > 0 ? " " : "", what);
}

/*
 * The n-th wait begins: is it what the script says? Past its end, and in the
 * undo after a failure, everything succeeds.
 */
static int
play(const char *what, const struct wait **now)
{
	static const struct wait nothing = { .call = "" };

	note_call(what);
	*now = &nothing;
	if (fail_at == 0 || at < fail_at)
		*now = script[at].call != NULL ? &script[at] : &nothing;
	if (script[at].call != NULL)
		at++;
	if (at == detach_at)
		op_detach(current);
	return at == fail_at && fail_at > 0 && *now != &nothing ? -EIO
								: (*now)->rc;
}

static const char *fstype = "ext4"; /* that the children find */
static const char *client = "";     /* by which the image is open */

/* ---- fakes of core/offload.c, core/child.c and of a mapper ---------------- */

void
offload_start(struct offload *off, const char *what, offload_fn fn,
    const void *args, void *result, size_t result_size, int64_t timeout_ms,
    struct wake *waiter)
{
	const struct wait *now;
	bool is_publish = false;
	int rc;

	(void)what;
	(void)result_size;
	off->err = (struct err)ERR_INIT;
	if (fn == staging_stage) {
		const struct staging_args *a = args;
		struct staging_result *r = result;
		char name[64];

		(void)!str_put(name, sizeof(name),
		    "stage%s%s%s%s%s%s%s%s%s%s%s%s%s",
		    str_eq(a->mapper->name, "krbd") ? "" : "(userspace)",
		    a->replay == STAGING_REPLAY_ASK       ? "+ask"
			: a->replay == STAGING_REPLAY_MAP ? "+map"
			: a->replay == STAGING_REPLAY_DO  ? "+replay"
							  : "",
		    a->read_only && a->spec.read_only ? "+ro" : "",
		    str_eq(a->spec.pool, "rbd") ? "" : "@renamed",
		    a->opened ? "+open" : "", a->formatted ? "+mkfs" : "",
		    a->marked ? "+mark" : "", a->checked ? "+fsck" : "",
		    a->recorded ? "+record" : "",
		    a->luks_key == NULL                  ? ""
			: str_eq(a->luks_key->text, "k") ? "+key"
							 : "+other",
		    a->encrypts ? "+empty" : "", a->is_luks ? "+luks" : "",
		    timeout_ms > NODE_CHILD_MS ? a->luks_options.integrity
					       : "");
		(void)!str_put(
		    r->device.client, sizeof(r->device.client), "%s", client);
		rc = play(name, &now);
		r->progress = rc < 0                     ? STAGING_MAPPED
		    : now->progress != STAGING_UNTOUCHED ? now->progress
							 : STAGING_STAGED;
		(void)!str_put(r->fstype, sizeof(r->fstype), "%s", fstype);
		(void)!str_put(r->device.path, sizeof(r->device.path), "/d");
		(void)!str_put(r->top.path, sizeof(r->top.path), "/top");
		(void)!str_put(r->mapper, sizeof(r->mapper), "%s",
		    now->progress == STAGING_OTHER ? "userspace" : "krbd");
	} else {
		is_publish = fn != staging_unstage &&
		    str_eq(current->cls->name, "NodePublishVolume");
		rc = play(fn == staging_unstage ? "unstage"
			: is_publish            ? "publish"
			: str_eq(current->cls->name, "NodeUnpublishVolume")
			? "unpublish"
			: str_eq(current->cls->name, "NodeExpandVolume")
			? "expand"
			: str_eq(current->cls->name, "NodeGetVolumeHealth")
			? "health"
			: "stats",
		    &now);
		if (fn == staging_unstage) {
			struct unstaging_result *r = result;

			r->had_stash = true;
			(void)!str_put(
			    r->stash.mapper, sizeof(r->stash.mapper), "krbd");
		}
	}
	if (rc == 0 && is_publish && now->lost) {
		*(bool *)result = true;
		rc = err_set(&off->err, ERR_FAILED_PRECONDITION, "it is lost");
	} else if (rc < 0) {
		(void)err_set(&off->err, now->rc < 0 ? now->code : ERR_INTERNAL,
		    "as the test wants it");
	}
	wake_up(waiter, rc);
}

void
tool_start(struct tool *tool, const char *const argv[], int64_t timeout_ms,
    struct wake *waiter)
{
	const struct wait *now;
	int rc;

	(void)timeout_ms;
	was_forced = argv[1] != NULL && str_eq(argv[1], "-F");
	memset(tool, 0, sizeof(*tool));
	rc = play(argv[0], &now);
	tool->status = now->status;
	(void)!str_put(tool->output, sizeof(tool->output), "%s",
	    now->output != NULL ? now->output : "");
	if (rc < 0)
		(void)err_set(&tool->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc);
}

static bool luks;  /* what it says of an encrypted volume */
static bool again; /* what the cluster says of an mkfs that was cut off */
static const char *pool_name = "renamed"; /* what it says of a pool */

static void
fake_format(struct node_format *ask, struct wake *waiter)
{
	const struct wait *now;
	auto_free char *name = ask->step == NODE_FORMAT_BEGIN ? str_fmt("begin")
	    : ask->step == NODE_FORMAT_RECORD
	    ? str_fmt("record=%s", ask->address)
	    : ask->step == NODE_FORMAT_POOL ? str_fmt("pool")
	    : ask->step == NODE_FORMAT_KEY
	    ? str_fmt("key=%s,%s", ask->kms_id, ask->passphrase)
	    : ask->step == NODE_FORMAT_ENCRYPTED
	    ? str_fmt("luks%s", ask->fstype != NULL ? ask->fstype : "")
	    : ask->step == NODE_FORMAT_ALONE ? str_fmt("alone")
					     : str_fmt("end=%s", ask->fstype);
	int rc = play(name, &now);

	ask->again = again;
	ask->encrypted = luks;
	if (ask->step == NODE_FORMAT_KEY && rc == 0)
		secret_set(&ask->key, "k", 1);
	(void)!str_put(ask->pool, sizeof(ask->pool), "%s", pool_name);
	(void)!str_put(ask->image_id, sizeof(ask->image_id), "1234");
	if (rc < 0)
		(void)err_set(&ask->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc);
}

static bool mapped;

static int
fake_init(const struct mapper_setup *setup, struct err *err)
{
	(void)setup;
	(void)err;
	return 0;
}

static bool unusable;

static bool
fake_usable(struct err *why)
{
	if (unusable)
		(void)err_set(
		    why, ERR_FAILED_PRECONDITION, "no rbd in this kernel");
	return !unusable;
}

static void
fake_note(const struct device_spec *spec, int id)
{
	(void)spec;
	mapped = id >= 0;
}

static bool
fake_knows(const struct device_spec *spec)
{
	(void)spec;
	return mapped;
}

static void
fake_open(struct device_open *open, struct wake *waiter)
{
	const struct wait *now;
	int rc = play("open", &now);

	if (rc < 0)
		(void)err_set(&open->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc);
}

static void
fake_close(struct device_open *open, struct wake *waiter)
{
	const struct wait *now;
	int rc = play("close", &now);

	if (rc < 0)
		(void)err_set(&open->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc);
}

static void
fake_look(struct device_open *open, struct wake *waiter)
{
	const struct wait *now;
	int rc = play("look", &now);

	if (rc < 0)
		(void)err_set(&open->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc);
}

static const struct mapper_child fake_child = {
	.name = "krbd", /* it is never called: there are no children here */
	.opens = true,
};

static bool busy; /* the device, when its image is let go of */

static void
fake_abort(struct device_open *open, struct wake *waiter)
{
	const struct wait *now;
	int rc = play("abort", &now);

	if (rc < 0)
		(void)err_set(&open->err, ERR_INTERNAL, "as the test wants it");
	wake_up(waiter, rc == 0 && busy ? -EBUSY : rc);
}

static struct mapper fake = {
	.name = "krbd",
	.mounter = "rbd",
	.child = &fake_child,
	.init = fake_init,
	.usable = fake_usable,
	.knows = fake_knows,
	.note = fake_note,
	.open_start = fake_open,
	.close_start = fake_close,
	.abort_start = fake_abort,
	.look_start = fake_look,
};

static bool second_unusable;

static bool
second_usable(struct err *why)
{
	if (second_unusable)
		(void)err_set(why, ERR_FAILED_PRECONDITION, "no loop devices");
	return !second_unusable;
}

static const struct mapper_child second_child = { .name = "userspace" };

static const struct mapper second = {
	.name = "userspace",
	.mounter = "userspace",
	.child = &second_child,
	.init = fake_init,
	.usable = second_usable,
};

/* ---- running -------------------------------------------------------------- */

static struct err outcome;
static bool nothing_mapped; /* when Abort begins */
static bool replied, released;

static void
run(const struct csi_impl *impl, const ProtobufCMessage *request,
    const struct wait *play_script, size_t fail, size_t detach)
{
	size_t len = protobuf_c_message_get_packed_size(request);
	auto_free unsigned char *body = mem_new(len + 1);
	struct waited done = WAITED_INIT;
	struct err err = ERR_INIT;
	struct csi_request in;
	struct csi_rpc *rpc;
	int rc;

	(void)protobuf_c_message_pack(request, body);
	rc = csi_request_read(&in, definition_taking(request), body, len, &err);
	script = play_script;
	at = 0;
	fail_at = fail;
	detach_at = detach;
	calls[0] = '\0';
	mapped = impl == &node_expand_impl ||
	    (impl == &node_abort_impl && !nothing_mapped);
	replied = false;
	if (rc < 0) {
		outcome = err;
		return;
	}
	rpc = csi_rpc_new(impl, &in, NULL);
	current = &rpc->op;
	csi_rpc_start(rpc, &done.wake);
	while (!done.done)
		loop_turn(false);
	outcome = rpc->op.err;
	replied = rpc->reply != NULL;
	released = replied && impl == &node_abort_impl &&
	    ((const Rbdcsi__Admin__V1__AbortResponse *)rpc->reply)->released;
	csi_request_fini(&in);
}

static size_t
length(const struct wait *list)
{
	size_t n = 0;

	while (list[n].call != NULL)
		n++;
	return n;
}

/*
 * Every wait of the script fails once (`after[n]` is what must follow then)
 * and comes once to a caller who is gone.
 */
static void
sweep(const char *name, const struct csi_impl *impl,
    const ProtobufCMessage *request, const struct wait *list,
    const char *const *after)
{
	char want[512] = "", sofar[512] = "";
	size_t n = length(list);

	for (size_t i = 0; i < n; i++) {
		size_t used = strlen(want);

		(void)!str_put(want + used, sizeof(want) - used, "%s%s",
		    i > 0 ? " " : "", list[i].call);
	}
	run(impl, request, list, 0, 0);
	ok(!err_is_set(&outcome) && replied, "%s succeeds", name);
	is_str(calls, want, "%s: what it asks for", name);
	for (size_t i = 1; i <= n; i++) {
		char expect[600];
		size_t used = strlen(sofar);

		(void)!str_put(sofar + used, sizeof(sofar) - used, "%s%s",
		    used > 0 ? " " : "", list[i - 1].call);
		(void)!str_put(expect, sizeof(expect), "%s%s%s", sofar,
		    after[i - 1][0] != '\0' ? " " : "", after[i - 1]);
		run(impl, request, list, i, 0);
		ok(err_is_set(&outcome) && outcome.text[0] != '\0' && !replied,
		    "%s: wait %zu (%s) fails", name, i, list[i - 1].call);
		is_str(calls, expect, "%s: what is asked for then", name);
		is_int(op_count(), 0, "%s: no operation is left", name);
		run(impl, request, list, 0, i);
		ok(!err_is_set(&outcome),
		    "%s: the caller leaves at wait %zu, "
		    "it goes on to its end",
		    name, i);
		is_str(calls, want, "%s: all that is asked for", name);
		is_int(op_count(), 0, "%s: no operation is left", name);
	}
}

/* ---- requests ------------------------------------------------------------- */

static char volume_id[] = "0001-0004-test-0000000000000001-"
			  "00000000-0000-4000-8000-000000000001";
static char staging_path[] = "/staging", target_path[] = "/target";
static char fs_type[] = "ext4";

#define ENTRY(Type, var, k, v)                                                 \
	static char var##_key[] = k, var##_value[] = v;                        \
	static Csi__V1__##Type var = { .key = var##_key, .value = var##_value }

ENTRY(NodeStageVolumeRequest__SecretsEntry, secret_id, "userID", "u");
ENTRY(NodeStageVolumeRequest__SecretsEntry, secret_key, "userKey", "AAAA");
ENTRY(NodeStageVolumeRequest__PublishContextEntry, pool, "pool", "rbd");
ENTRY(NodeStageVolumeRequest__PublishContextEntry, mons, "monitors", "a:1");
ENTRY(NodeStageVolumeRequest__SecretsEntry, passphrase, "encryptionPassphrase",
    "pass");
ENTRY(
    NodeStageVolumeRequest__VolumeContextEntry, encrypted, "encrypted", "true");
ENTRY(NodeStageVolumeRequest__VolumeContextEntry, cipher, "encryptionCipher",
    "aes-xts-plain64");
ENTRY(NodeStageVolumeRequest__VolumeContextEntry, integrity, "integrityMode",
    "hmac-sha256");
ENTRY(NodeStageVolumeRequest__VolumeContextEntry, is_static, "staticVolume",
    "true");
ENTRY(NodeStageVolumeRequest__PublishContextEntry, image_id, "imageId", "12");
ENTRY(NodePublishVolumeRequest__PublishContextEntry, pool2, "pool", "rbd");
ENTRY(NodePublishVolumeRequest__PublishContextEntry, mons2, "monitors", "a:1");
ENTRY(NodePublishVolumeRequest__SecretsEntry, secret_id2, "userID", "u");
ENTRY(NodePublishVolumeRequest__SecretsEntry, secret_key2, "userKey", "AAAA");

static Csi__V1__VolumeCapability cap;
static Csi__V1__VolumeCapability__MountVolume mount_type;
static Csi__V1__VolumeCapability__AccessMode mode;
static Csi__V1__NodeStageVolumeRequest stage;
static Csi__V1__NodePublishVolumeRequest publish;
static Csi__V1__NodeUnstageVolumeRequest unstage;
static Csi__V1__NodeUnpublishVolumeRequest unpublish;
static Csi__V1__NodeGetVolumeStatsRequest stats;
static Csi__V1__NodeExpandVolumeRequest expand;
static Csi__V1__NodeGetVolumeHealthRequest health;

static void
make_requests(void)
{
	static Csi__V1__NodeStageVolumeRequest__SecretsEntry *secrets[] = {
		&secret_id, &secret_key, &passphrase
	};
	static Csi__V1__NodeStageVolumeRequest__PublishContextEntry
	    *context[] = { &pool, &mons };
	static Csi__V1__NodePublishVolumeRequest__PublishContextEntry
	    *context2[] = { &pool2, &mons2 };

	secret_id.base.descriptor = secret_key.base.descriptor =
	    passphrase.base.descriptor =
		&csi__v1__node_stage_volume_request__secrets_entry__descriptor;
	pool.base.descriptor = mons.base.descriptor = image_id.base.descriptor =
	    &csi__v1__node_stage_volume_request__publish_context_entry__descriptor;
	encrypted.base
	    .descriptor = cipher.base
			      .descriptor = integrity.base
						.descriptor = is_static.base
								  .descriptor =
	    &csi__v1__node_stage_volume_request__volume_context_entry__descriptor;
	secret_id2.base.descriptor = secret_key2.base.descriptor =
	    &csi__v1__node_publish_volume_request__secrets_entry__descriptor;
	pool2.base.descriptor = mons2.base.descriptor =
	    &csi__v1__node_publish_volume_request__publish_context_entry__descriptor;
	csi__v1__volume_capability__init(&cap);
	csi__v1__volume_capability__mount_volume__init(&mount_type);
	csi__v1__volume_capability__access_mode__init(&mode);
	mount_type.fs_type = fs_type;
	cap.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
	cap.mount = &mount_type;
	cap.access_mode = &mode;
	mode.mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;

	csi__v1__node_stage_volume_request__init(&stage);
	stage.volume_id = volume_id;
	stage.staging_target_path = staging_path;
	stage.volume_capability = &cap;
	stage.secrets = secrets;
	stage.n_secrets = 2;
	stage.publish_context = context;
	stage.n_publish_context = 2;
	csi__v1__node_publish_volume_request__init(&publish);
	publish.volume_id = volume_id;
	publish.staging_target_path = staging_path;
	publish.target_path = target_path;
	publish.volume_capability = &cap;
	publish.publish_context = context2;
	publish.n_publish_context = 2;
	csi__v1__node_unstage_volume_request__init(&unstage);
	unstage.volume_id = volume_id;
	unstage.staging_target_path = staging_path;
	csi__v1__node_unpublish_volume_request__init(&unpublish);
	unpublish.volume_id = volume_id;
	unpublish.target_path = target_path;
	csi__v1__node_get_volume_stats_request__init(&stats);
	stats.volume_id = volume_id;
	stats.volume_path = target_path;
	csi__v1__node_get_volume_health_request__init(&health);
	health.volume_id = volume_id;
	health.volume_publish_path = target_path;
	csi__v1__node_expand_volume_request__init(&expand);
	expand.volume_id = volume_id;
	expand.volume_path = target_path;
}

static bool config_knows;

static int
find_cluster(const char *id, int64_t pool_id, struct arena *arena,
    struct node_cluster *cluster, struct err *err)
{
	(void)pool_id;
	(void)arena;
	if (!config_knows)
		return err_set(err, ERR_FAILED_PRECONDITION, "cluster %s", id);
	*cluster = (struct node_cluster){
		.monitors = "now:1",
		.rados_namespace = "ns-now",
	};
	return 0;
}

/* publish_context is as old as the VolumeAttachment, config.json is not. */
static void
test_spec(void)
{
	ENTRY(NodeStageVolumeRequest__PublishContextEntry, old_ns,
	    "radosNamespace", "ns-then");
	Csi__V1__NodeStageVolumeRequest__PublishContextEntry *entries[] = {
		&pool, &mons, &old_ns, &image_id
	};
	Csi__V1__NodeStageVolumeRequest request =
	    CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
	struct arena *arena = arena_new(1 << 16);
	struct csi_map publish_context, none = { .count = 0 };
	struct device_spec spec;
	struct err err = ERR_INIT;

	old_ns.base.descriptor = pool.base.descriptor;
	request.publish_context = entries;
	request.n_publish_context = countof(entries);
	publish_context = csi_map_of(&request, publish_context);
	config_knows = true;
	is_int(node_spec_fill(&spec, volume_id, &publish_context, &none, true,
		   arena, &err),
	    0, "an image is told from a request");
	is_str(spec.monitors, "now:1", "its monitors by config.json");
	is_str(spec.rados_namespace, "ns-now", "and its namespace");
	is_int(spec.pool_id, 1, "its pool by the handle");
	is_str(spec.image_id, "12", "its image by the id");
	config_knows = false;
	is_int(node_spec_fill(&spec, volume_id, &publish_context, &none, true,
		   arena, &err),
	    0, "what config.json does not know");
	is_str(spec.monitors, "a:1", "has the monitors of publish_context");
	is_str(spec.rados_namespace, "ns-then", "and the namespace");
	request.n_publish_context = 1;
	publish_context = csi_map_of(&request, publish_context);
	ok(node_spec_fill(&spec, volume_id, &publish_context, &none, true,
	       arena, &err) < 0 &&
		err.code == ERR_FAILED_PRECONDITION &&
		strstr(err.text, "no monitors for volume") != NULL,
	    "or none: %s", err.text);
	arena_free(arena);
}

/* A volume that is to be encrypted, one that is, and one for its device. */
static void
test_encrypted(void)
{
	static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry
	    *context[] = { &encrypted, &cipher, &integrity };
	static const struct wait fresh[] = {
		{ .call = "stage", .progress = STAGING_LOCKED },
		{ .call = "key=default,pass" },
		{ .call = "stage+key", .progress = STAGING_BLANK },
		{ .call = "begin" },
		{ .call = "stage+key+empty", .progress = STAGING_ENCRYPTED },
		{ .call = "luks" },
		{ .call = "stage+key+empty+luks", .progress = STAGING_EMPTY },
		{ .call = "mkfs.ext4" },
		{ .call = "end=ext4" },
		{ .call = "stage+mkfs+mark+key+empty+luks" },
		{ .call = NULL },
	};
	static const char *const undone[] = { "unstage close", "unstage close",
		"unstage close", "unstage close", "unstage close",
		"unstage close", "unstage close", "unstage close",
		"unstage close", "unstage close" };
	static const struct wait whole[] = {
		{ .call = "stage", .progress = STAGING_LOCKED },
		{ .call = "key=default,pass" },
		{ .call = "stage+key", .progress = STAGING_BLANK },
		{ .call = "begin" },
		{ .call = "stage+key+emptyhmac-sha256",
		    .progress = STAGING_ENCRYPTED },
		{ .call = "luks" },
		{ .call = "stage+key+empty+luks" },
		{ .call = NULL },
	};
	static const struct wait later[] = {
		{ .call = "stage", .progress = STAGING_LOCKED },
		{ .call = "key=default,pass" },
		{ .call = "stage+key+luks" },
		{ .call = NULL },
	};
	static const struct wait open[] = { { .call = "stage" },
		{ .call = NULL } };
	static const struct wait none[] = { { .call = NULL } };

	stage.volume_context = context;
	stage.n_volume_context = 1;
	stage.n_secrets = 3;
	sweep("stage of a volume to be encrypted", &node_stage_impl,
	    &stage.base, fresh, undone);
	stage.n_volume_context = 3;
	sweep("stage of one with integrity, which takes long", &node_stage_impl,
	    &stage.base, whole, undone);
	stage.n_volume_context = 1;
	luks = true;
	sweep("stage of an encrypted volume", &node_stage_impl, &stage.base,
	    later, undone);
	sweep("stage of one that is open already", &node_stage_impl,
	    &stage.base, open, undone);
	luks = false;
	stage.n_secrets = 2;
	stage.n_volume_context = 0;
	stage.n_publish_context = 1;
	run(&node_stage_impl, &stage.base, none, 0, 0);
	is_int(outcome.code, ERR_FAILED_PRECONDITION,
	    "a cluster that nobody knows is refused");
	is_str(calls, "", "before anything is asked for");
	stage.n_publish_context = 2;
}

/* Who cannot map is named with his reason, each of them. */
static void
test_choice(void)
{
	static const struct mapper *const one[] = { &fake, NULL };
	const struct mapper_setup setup = { .state_dir = "/run" };
	struct err err = ERR_INIT;

	is_int(mapper_init(one, &setup, &err), 0, "with one mapper only");
	unusable = true;
	ok(mapper_choose("rbd", "userspace", &err) == NULL,
	    "neither mapper can be used");
	is_str(err.text,
	    "mounter krbd: no rbd in this kernel; mounter-fallback userspace: "
	    "this driver has no mapper userspace",
	    "and both reasons are told");
	err = (struct err)ERR_INIT;
	ok(mapper_choose(NULL, "none", &err) == NULL, "no other is allowed");
	is_str(err.text, "mounter krbd: no rbd in this kernel",
	    "and one reason is told");
	unusable = false;
}

/* By which id and how the image is formatted. */
static void
test_formatting(void)
{
	static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry
	    *context[] = { &is_static };
	static Csi__V1__NodeStageVolumeRequest__PublishContextEntry
	    *with_id[] = { &pool, &mons, &image_id };
	Csi__V1__NodeStageVolumeRequest__PublishContextEntry **without =
	    stage.publish_context;
	static const struct wait known[] = {
		{ .call = "stage", .progress = STAGING_EMPTY },
		{ .call = "begin" },
		{ .call = "mkfs.ext4" },
		{ .call = "end=ext4" },
		{ .call = "stage+mkfs+mark" },
		{ .call = NULL },
	};
	static const struct wait refused[] = {
		{ .call = "stage+mark", .progress = STAGING_EMPTY },
		{ .call = "unstage" },
		{ .call = "close" },
		{ .call = NULL },
	};

	stage.publish_context = with_id;
	stage.n_publish_context = 3;
	run(&node_stage_impl, &stage.base, known, 0, 0);
	is_str(calls, "stage begin mkfs.ext4 end=ext4 stage+mkfs+mark",
	    "an image whose id was known needs no second look");
	ok(!was_forced, "a fresh one is not formatted by force");
	again = true;
	run(&node_stage_impl, &stage.base, known, 0, 0);
	ok(!err_is_set(&outcome) && was_forced,
	    "one whose mkfs was cut off is formatted by force");
	again = false;
	stage.publish_context = without;
	stage.n_publish_context = 2;

	stage.volume_context = context;
	stage.n_volume_context = 1;
	run(&node_stage_impl, &stage.base, refused, 0, 0);
	is_int(outcome.code, ERR_FAILED_PRECONDITION,
	    "a static volume is not formatted");
	is_str(calls, "stage+mark unstage close",
	    "and the cluster is not asked whether it might be");
	is_static_value[0] = 'x';
	run(&node_stage_impl, &stage.base, refused, 0, 0);
	is_int(outcome.code, ERR_INVALID_ARGUMENT,
	    "what is neither true nor false");
	is_str(calls, "", "is refused before anything is asked for");
	is_static_value[0] = 't';
	stage.n_volume_context = 0;
}

/* ---- other ways of a stage ------------------------------------------------- */

static struct node_config config;

static void
stage_by(const struct wait *list)
{
	run(&node_stage_impl, &stage.base, list, 0, 0);
}

static void
test_mappers(void)
{
	static const struct wait lacks[] = {
		{ .call = "stage",
		    .rc = -ENXIO,
		    .code = ERR_FAILED_PRECONDITION },
		{ .call = "stage" },
		{ .call = NULL },
	};
	static const struct wait twice[] = {
		{ .call = "stage",
		    .rc = -ENXIO,
		    .code = ERR_FAILED_PRECONDITION },
		{ .call = "stage",
		    .rc = -ENXIO,
		    .code = ERR_FAILED_PRECONDITION },
		{ .call = NULL },
	};
	static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry other;
	static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry *others[] = {
		&other
	};
	static const struct wait earlier[] = {
		{ .call = "stage", .progress = STAGING_OTHER },
		{ .call = "stage" },
		{ .call = NULL },
	};

	protobuf_c_message_init(
	    &csi__v1__node_stage_volume_request__volume_context_entry__descriptor,
	    &other);
	other.key = (char *)(uintptr_t) "tryOtherMounters";
	other.value = (char *)(uintptr_t) "true";
	stage.volume_context = others;
	stage.n_volume_context = 1;
	stage_by(lacks);
	is_str(calls, "stage stage(userspace)",
	    "tryOtherMounters takes the other one");
	stage.n_volume_context = 0;
	stage_by(lacks);
	is_str(calls, "stage unstage close",
	    "what the kernel lacks fails without another mapper");
	config.mounter_fallback = "userspace";
	stage_by(lacks);
	ok(!err_is_set(&outcome), "with one it succeeds");
	is_str(calls, "stage stage(userspace)", "by that");
	stage_by(twice);
	is_str(calls, "stage stage(userspace) unstage",
	    "which is tried once only");
	second_unusable = true;
	stage_by(lacks);
	is_str(outcome.text,
	    "mapper krbd: as the test wants it; mounter-fallback userspace: no loop devices",
	    "both reasons are told");
	stage_by(earlier);
	is_str(outcome.text, "no loop devices",
	    "an earlier stage used what the node has not");
	is_str(calls, "stage", "nothing is undone");
	second_unusable = false;
	stage_by(earlier);
	is_str(calls, "stage stage(userspace)", "or it is used again");
	config.mounter_fallback = NULL;
}

/* With --enable-fencing. */
static void
test_recorded(void)
{
	static const struct wait list[] = {
		{ .call = "stage", .progress = STAGING_UNRECORDED },
		{ .call = "record=10.0.0.1:0/5" },
		{ .call = "stage+record" },
		{ .call = NULL },
	};
	static const struct wait found[] = {
		{ .call = "stage", .progress = STAGING_FOUND },
		{ .call = "record=10.0.0.1:0/5" },
		{ .call = "stage+record", .progress = STAGING_FOUND },
		{ .call = NULL },
	};
	static const struct wait unfound[] = {
		{ .call = "stage", .progress = STAGING_FOUND },
		{ .call = "record=10.0.0.1:0/5",
		    .rc = -EIO,
		    .code = ERR_INTERNAL },
		{ .call = NULL },
	};
	static const struct wait refused[] = {
		{ .call = "stage", .progress = STAGING_UNRECORDED },
		{ .call = "record=10.0.0.1:0/5",
		    .rc = -EIO,
		    .code = ERR_INTERNAL },
		{ .call = NULL },
	};
	static const struct wait untold[] = {
		{ .call = "stage", .progress = STAGING_UNRECORDED },
		{ .call = "stage" },
		{ .call = NULL },
	};

	config.records = true;
	config.node_id = "n";
	client = "10.0.0.1:0/5";
	stage_by(list);
	is_str(calls, "stage record=10.0.0.1:0/5 stage+record",
	    "who has the image open is recorded before it is mounted");
	ok(!err_is_set(&outcome), "and then it is staged");
	stage_by(found);
	is_str(calls, "stage record=10.0.0.1:0/5 stage+record",
	    "or when it is staged again, if it was not before");
	ok(!err_is_set(&outcome), "which is success");
	stage_by(unfound);
	is_str(calls, "stage record=10.0.0.1:0/5",
	    "what is in use stays so, if that fails");
	ok(!err_is_set(&outcome), "with success");
	stage_by(refused);
	is_str(calls, "stage record=10.0.0.1:0/5 unstage close",
	    "it is not without the record");
	client = "";
	stage_by(untold);
	is_str(calls, "stage stage", "a mapper that does not tell goes on");
	config.records = false;
}

static void
test_renamed_pool(void)
{
	static const struct wait list[] = {
		{ .call = "stage", .rc = -ENOENT, .code = ERR_NOT_FOUND },
		{ .call = "pool" },
		{ .call = "stage" },
		{ .call = NULL },
	};
	static const struct wait still[] = {
		{ .call = "stage", .rc = -ENOENT, .code = ERR_NOT_FOUND },
		{ .call = "pool" },
		{ .call = "stage", .rc = -ENOENT, .code = ERR_NOT_FOUND },
		{ .call = NULL },
	};

	stage_by(list);
	is_str(calls, "stage pool stage@renamed",
	    "where nothing is found the pool's name is asked for");
	ok(!err_is_set(&outcome), "and it is staged from there");
	stage_by(still);
	is_str(calls, "stage pool stage@renamed unstage close",
	    "it is asked for once");
	is_int(outcome.code, ERR_NOT_FOUND, "nothing is there either");
	pool_name = "rbd";
	stage_by(list);
	is_str(calls, "stage pool unstage close",
	    "a pool of the same name is not looked at again");
	is_int(outcome.code, ERR_NOT_FOUND, "and nothing is there");
	pool_name = "renamed";
}

/* A volume for readers whose journal has to be replayed. */
static void
test_replay(void)
{
	static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry
	    *context[] = { &is_static };
	static const struct wait unclean[] = {
		{ .call = "stage+ask+ro", .progress = STAGING_NOTED },
		{ .call = "open" },
		{ .call = "stage+ask+ro+open", .progress = STAGING_UNCLEAN },
		{ .call = "stage+map", .progress = STAGING_NOTED },
		{ .call = "open" },
		{ .call = "stage+map+open", .progress = STAGING_WRITABLE },
		{ .call = "alone" },
		{ .call = "stage+replay+open", .progress = STAGING_REPLAYED },
		{ .call = "unstage" },
		{ .call = "close" },
		{ .call = "stage+ro", .progress = STAGING_NOTED },
		{ .call = "open" },
		{ .call = "stage+ro+open" },
		{ .call = NULL },
	};
	static const struct wait recorded[] = {
		{ .call = "stage+ask+ro", .progress = STAGING_UNRECORDED },
		{ .call = "record=a" },
		{ .call = "stage+ask+ro+record", .progress = STAGING_UNCLEAN },
		{ .call = "stage+map", .progress = STAGING_UNRECORDED },
		{ .call = "record=a" },
		{ .call = "stage+map+record", .progress = STAGING_WRITABLE },
		{ .call = "alone" },
		{ .call = "stage+replay+record", .progress = STAGING_REPLAYED },
		{ .call = "unstage" },
		{ .call = "close" },
		{ .call = "stage+ro", .progress = STAGING_UNRECORDED },
		{ .call = "record=a" },
		{ .call = "stage+ro+record" },
		{ .call = NULL },
	};
	static const struct wait never[] = { { .call = "stage+ro+mark" },
		{ .call = NULL } };
	static const char undo[] = "unstage close";
	static const char *const undone[] = { undo, undo, undo, undo, undo,
		undo, undo, undo, "", "", undo, undo, undo };

	mode.mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY;
	sweep("stage of a journal to be replayed", &node_stage_impl,
	    &stage.base, unclean, undone);
	config.records = true;
	client = "a";
	stage_by(recorded);
	is_str(calls,
	    "stage+ask+ro record=a stage+ask+ro+record stage+map record=a stage+map+record alone stage+replay+record unstage close stage+ro record=a stage+ro+record",
	    "who has it open is recorded each time that it is mapped");
	config.records = false;
	client = "";
	stage.volume_context = context;
	stage.n_volume_context = 1;
	stage_by(never);
	is_str(calls, "stage+ro+mark", "a static volume is never written to");
	stage.n_volume_context = 0;
	mode.mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;
}

static void
test_tools(void)
{
	static Csi__V1__NodeStageVolumeRequest__PublishContextEntry
	    *with_id[] = { &pool, &mons, &image_id };
	Csi__V1__NodeStageVolumeRequest__PublishContextEntry **without =
	    stage.publish_context;
	static const struct wait fails[] = {
		{ .call = "stage", .progress = STAGING_EMPTY },
		{ .call = "begin" },
		{ .call = "mkfs.ext4", .status = 1, .output = "no space\n" },
		{ .call = NULL },
	};
	static const struct wait old[] = {
		{ .call = "stage", .progress = STAGING_EMPTY },
		{ .call = "begin" },
		{ .call = "mkfs.ext4",
		    .status = 1,
		    .output = "Bad option(s) specified: x\n" },
		{ .call = "mkfs.ext4" },
		{ .call = "end=ext4" },
		{ .call = "stage+mkfs+mark" },
		{ .call = NULL },
	};
	static const struct wait bad[] = {
		{ .call = "stage", .progress = STAGING_DAMAGED },
		{ .call = "fsck.ext4", .status = 4, .output = "bad\n" },
		{ .call = NULL },
	};
	static const struct wait missing[] = {
		{ .call = "stage", .progress = STAGING_DAMAGED },
		{ .call = "fsck.ext4", .rc = -ENOENT },
		{ .call = "stage+fsck" },
		{ .call = NULL },
	};

	stage.publish_context = with_id;
	stage.n_publish_context = 3;
	stage_by(fails);
	is_str(calls, "stage begin mkfs.ext4 unstage close",
	    "an mkfs that fails leaves the mark, and nothing staged");
	is_str(outcome.text, "mkfs of ext4 on /top ended with 1: no space",
	    "its reason is told");
	stage_by(old);
	ok(!err_is_set(&outcome), "an old mkfs gets its own options");
	stage.publish_context = without;
	stage.n_publish_context = 2;

	stage_by(bad);
	is_int(outcome.code, ERR_FAILED_PRECONDITION,
	    "what fsck cannot repair: %s", outcome.text);
	is_str(calls, "stage fsck.ext4 unstage close", "is not mounted");
	stage_by(missing);
	is_str(calls, "stage fsck.ext4 stage+fsck",
	    "without fsck the mount is tried");
	fstype = "xfs";
	stage_by(bad);
	is_int(outcome.code, ERR_FAILED_PRECONDITION, "a damaged xfs: %s",
	    outcome.text);
	is_str(calls, "stage unstage close", "is a person's to repair");
	fstype = "ext4";
}

/* ---- what was staged and is no more ---------------------------------------- */

static bool lends; /* a session's credentials */

static bool
fake_credentials(
    const struct device_spec *spec, const char **user, const char **key)
{
	(void)spec;
	*user = "u";
	*key = "AAAA";
	return lends;
}

static void
test_restaging(void)
{
	static Csi__V1__NodePublishVolumeRequest__SecretsEntry *secrets[] = {
		&secret_id2, &secret_key2
	};
	static const struct wait lost[] = { { .call = "publish", .lost = true },
		{ .call = "stage" }, { .call = "publish" }, { .call = NULL } };
	static const struct wait twice[] = {
		{ .call = "publish", .lost = true }, { .call = "stage" },
		{ .call = "publish", .lost = true }, { .call = NULL }
	};
	static const char *const after[] = { "", "unstage close", "" };

	run(&node_publish_impl, &publish.base, lost, 0, 0);
	is_int(outcome.code, ERR_FAILED_PRECONDITION,
	    "a lost volume cannot be staged without a key");
	ok(strstr(outcome.text, "node-publish-secret-name") != NULL,
	    "which says what to do");
	is_str(calls, "publish", "and nothing is tried");

	lends = true;
	sweep("publish of a lost volume, with a session's key",
	    &node_publish_impl, &publish.base, lost, after);
	lends = false;
	publish.secrets = secrets;
	publish.n_secrets = 2;
	sweep("publish of a lost volume, with the request's key",
	    &node_publish_impl, &publish.base, lost, after);
	run(&node_publish_impl, &publish.base, twice, 0, 0);
	is_int(outcome.code, ERR_FAILED_PRECONDITION,
	    "one that is lost again is staged anew once");
	is_str(calls, "publish stage publish", "and then given up");
	publish.n_secrets = 0;
}

/* Of a volume whose cluster does not answer. */
static void
test_abort(void)
{
	static const struct wait one[] = { { .call = "abort" },
		{ .call = NULL } };
	static const struct wait none[] = { { .call = NULL } };
	static const char *const nothing[] = { "" };
	Rbdcsi__Admin__V1__AbortRequest r =
	    RBDCSI__ADMIN__V1__ABORT_REQUEST__INIT;

	r.volume_id = volume_id;
	sweep("abort", &node_abort_impl, &r.base, one, nothing);
	run(&node_abort_impl, &r.base, one, 0, 0);
	ok(replied && released && !mapped,
	    "its device is given back, which is noted");
	busy = true;
	run(&node_abort_impl, &r.base, one, 0, 0);
	ok(replied && !released && mapped,
	    "a device that is in use still is success, and told");
	busy = false;
	nothing_mapped = true;
	run(&node_abort_impl, &r.base, none, 0, 0);
	is_int(outcome.code, ERR_NOT_FOUND, "a volume without a device");
	nothing_mapped = false;
	fake.abort_start = NULL;
	run(&node_abort_impl, &r.base, none, 0, 0);
	is_int(outcome.code, ERR_NOT_FOUND, "a mapper that cannot: %s",
	    outcome.text);
	fake.abort_start = fake_abort;
}

int
main(void)
{
	static const struct wait formatted[] = { { .call = "stage" },
		{ .call = NULL } };
	static const struct wait whole[] = {
		{ .call = "stage", .progress = STAGING_NOTED },
		{ .call = "open" },
		{ .call = "stage+open", .progress = STAGING_EMPTY },
		{ .call = "begin" },
		{ .call = "stage+open", .progress = STAGING_EMPTY },
		{ .call = "mkfs.ext4" },
		{ .call = "end=ext4" },
		{ .call = "stage+open+mkfs+mark", .progress = STAGING_DAMAGED },
		{ .call = "fsck.ext4" },
		{ .call = "stage+open+mkfs+mark+fsck" },
		{ .call = NULL },
	};
	static const struct wait young[] = {
		{ .call = "stage", .progress = STAGING_YOUNG },
		{ .call = "end=ext4" },
		{ .call = "stage+mark" },
		{ .call = NULL },
	};
	static const struct wait one_unstage[] = { { .call = "unstage" },
		{ .call = "close" }, { .call = NULL } };
	static const struct wait one_publish[] = { { .call = "publish" },
		{ .call = NULL } };
	static const struct wait one_unpublish[] = { { .call = "unpublish" },
		{ .call = NULL } };
	static const struct wait one_stats[] = { { .call = "stats" },
		{ .call = NULL } };
	static const struct wait one_health[] = { { .call = "health" },
		{ .call = NULL } };
	static const struct wait one_expand[] = { { .call = "look" },
		{ .call = "expand" }, { .call = NULL } };
	static const char undo[] = "unstage close";
	static const char *const undone[] = { undo, undo, undo, undo, undo,
		undo, undo, undo, undo, undo };
	static const char *const nothing[] = { "", "", "" };
	static const struct mapper *const mappers[] = { &fake, &second, NULL };
	const struct mapper_setup setup = { .state_dir = "/run" };
	struct err err = ERR_INIT;

	if (loop_init() < 0 || mapper_init(mappers, &setup, &err) < 0)
		return 1;
	log_init("op/node", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	config = (struct node_config){ .state_dir = "/run",
		.credentials = fake_credentials,
		.find_cluster = find_cluster,
		.format_start = fake_format };
	node_config = &config;
	make_requests();
	test_spec();
	sweep("stage of a formatted volume", &node_stage_impl, &stage.base,
	    formatted, undone);
	sweep("stage with open, mkfs and fsck", &node_stage_impl, &stage.base,
	    whole, undone);
	sweep("stage of what nobody has mounted", &node_stage_impl, &stage.base,
	    young, undone);
	sweep(
	    "unstage", &node_unstage_impl, &unstage.base, one_unstage, nothing);
	sweep(
	    "publish", &node_publish_impl, &publish.base, one_publish, nothing);
	sweep("unpublish", &node_unpublish_impl, &unpublish.base, one_unpublish,
	    nothing);
	sweep("expand", &node_expand_impl, &expand.base, one_expand, nothing);
	sweep("statistics", &node_stats_impl, &stats.base, one_stats, nothing);
	sweep("health", &node_health_impl, &health.base, one_health, nothing);
	test_encrypted();
	test_formatting();
	test_mappers();
	test_recorded();
	test_renamed_pool();
	test_replay();
	test_tools();
	test_restaging();
	test_choice();
	test_abort();
	loop_fini();
	return tap_end();
}
