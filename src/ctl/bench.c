/*
 * bench.c - `rbd-csictl bench`: many RPCs at once, timed from outside like a
 * sidecar or kubelet would see them.
 *
 * The rule that holds it together: a benchmark is a list of phases, a phase
 * sends every volume through the same few steps with at most `callers`
 * volumes at a time, and a step is one RPC. A step that was tried, whatever
 * came of it, stays in the volume's `tried` until it was undone: what is in
 * there at the end, early or not, is cleaned up.
 */
#include "ctl/bench.h"

#include "base/clock.h"
#include "core/op.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "rpc/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a volume's life has made. */
enum object {
	OBJECT_VOLUME = 0,
	OBJECT_SNAPSHOT,
	OBJECT_RESTORED,
	OBJECT_CLONE,
	OBJECT_COUNT
};

static const char *const object_suffix[OBJECT_COUNT] = {
	[OBJECT_VOLUME] = "",
	[OBJECT_SNAPSHOT] = "-snapshot",
	[OBJECT_RESTORED] = "-restored",
	[OBJECT_CLONE] = "-clone",
};

/* In the order of a volume's life: each step undoes the one opposite. */
enum step {
	STEP_CREATE = 0,
	STEP_CONTROLLER_PUBLISH,
	STEP_STAGE,
	STEP_PUBLISH,
	STEP_SNAPSHOT,
	STEP_RESTORE, /* of the first volume's snapshot, all of them */
	STEP_CLONE,
	STEP_DELETE_CLONE,
	STEP_DELETE_RESTORED,
	STEP_DELETE_SNAPSHOT,
	STEP_UNPUBLISH,
	STEP_UNSTAGE,
	STEP_CONTROLLER_UNPUBLISH,
	STEP_DELETE,
	STEP_EXPAND, /* nothing undoes it */
	STEP_COUNT,
};

static const struct step_def {
	enum csi_id id;
	enum object object; /* what it makes or takes away, or works on */
} step_def[STEP_COUNT] = {
	[STEP_CREATE] = { CSI_CREATE_VOLUME, OBJECT_VOLUME },
	[STEP_CONTROLLER_PUBLISH] = { CSI_CONTROLLER_PUBLISH_VOLUME,
	    OBJECT_VOLUME },
	[STEP_STAGE] = { CSI_NODE_STAGE_VOLUME, OBJECT_VOLUME },
	[STEP_PUBLISH] = { CSI_NODE_PUBLISH_VOLUME, OBJECT_VOLUME },
	[STEP_SNAPSHOT] = { CSI_CREATE_SNAPSHOT, OBJECT_SNAPSHOT },
	[STEP_RESTORE] = { CSI_CREATE_VOLUME, OBJECT_RESTORED },
	[STEP_CLONE] = { CSI_CREATE_VOLUME, OBJECT_CLONE },
	[STEP_DELETE_CLONE] = { CSI_DELETE_VOLUME, OBJECT_CLONE },
	[STEP_DELETE_RESTORED] = { CSI_DELETE_VOLUME, OBJECT_RESTORED },
	[STEP_DELETE_SNAPSHOT] = { CSI_DELETE_SNAPSHOT, OBJECT_SNAPSHOT },
	[STEP_UNPUBLISH] = { CSI_NODE_UNPUBLISH_VOLUME, OBJECT_VOLUME },
	[STEP_UNSTAGE] = { CSI_NODE_UNSTAGE_VOLUME, OBJECT_VOLUME },
	[STEP_CONTROLLER_UNPUBLISH] = { CSI_CONTROLLER_UNPUBLISH_VOLUME,
	    OBJECT_VOLUME },
	[STEP_DELETE] = { CSI_DELETE_VOLUME, OBJECT_VOLUME },
	[STEP_EXPAND] = { CSI_CONTROLLER_EXPAND_VOLUME, OBJECT_VOLUME },
};

static const struct csi_definition *
rpc_of(enum step step)
{
	return &csi_definitions[step_def[step].id];
}

static bool
is_undoing(enum step step)
{
	return step > STEP_CLONE && step < STEP_EXPAND;
}

static enum step
opposite(enum step step)
{
	return STEP_DELETE - step;
}

struct phase {
	const char *name;
	bool quiet; /* prepares or cleans up: not reported */
	enum step steps[4];
	size_t nsteps; /* 0: whatever undoes what was tried */
};

static const struct phase volumes_phases[] = {
	{ "create", false, { STEP_CREATE }, 1 },
	{ "exists", false, { STEP_CREATE }, 1 },
	{ "delete", false, { STEP_DELETE }, 1 },
};

static const struct phase controller_phases[] = {
	{ "create", false, { STEP_CREATE }, 1 },
	{ "exists", false, { STEP_CREATE }, 1 },
	{ "snapshot", false, { STEP_SNAPSHOT }, 1 },
	{ "restore", false, { STEP_RESTORE }, 1 },
	{ "clone", false, { STEP_CLONE }, 1 },
	{ "expand", false, { STEP_EXPAND }, 1 },
	{ "delete_clone", false, { STEP_DELETE_CLONE }, 1 },
	{ "delete_restored", false, { STEP_DELETE_RESTORED }, 1 },
	{ "delete_snapshot", false, { STEP_DELETE_SNAPSHOT }, 1 },
	{ "delete", false, { STEP_DELETE }, 1 },
};

static const struct phase attach_phases[] = {
	{ "create", true, { STEP_CREATE, STEP_CONTROLLER_PUBLISH }, 2 },
	{ "attach_format", false, { STEP_STAGE, STEP_PUBLISH }, 2 },
	{ "detach", false, { STEP_UNPUBLISH, STEP_UNSTAGE }, 2 },
	{ "attach", false, { STEP_STAGE, STEP_PUBLISH }, 2 },
	{ "detach_again", true, { STEP_UNPUBLISH, STEP_UNSTAGE }, 2 },
	{ "delete", true, { STEP_CONTROLLER_UNPUBLISH, STEP_DELETE }, 2 },
};

static const struct phase hold_phases[] = {
	{ "create", true, { STEP_CREATE, STEP_CONTROLLER_PUBLISH }, 2 },
	{ "attach_format", false, { STEP_STAGE, STEP_PUBLISH }, 2 },
};

static const struct phase release_phases[] = {
	{ "detach", false, { STEP_UNPUBLISH, STEP_UNSTAGE }, 2 },
	{ "delete", true, { STEP_CONTROLLER_UNPUBLISH, STEP_DELETE }, 2 },
};

static const struct kind {
	const char *name;
	const struct phase *phases;
	size_t nphases;
} kinds[] = {
	{ "volumes", volumes_phases, countof(volumes_phases) },
	{ "controller", controller_phases, countof(controller_phases) },
	{ "attach", attach_phases, countof(attach_phases) },
	{ "hold", hold_phases, countof(hold_phases) },
	{ "release", release_phases, countof(release_phases) },
};

/* A volume on its way; what one reply gave the next requests need. */
struct volume {
	char name[80];
	char *id[OBJECT_COUNT];
	unsigned tried;    /* 1 << enum step: sent, and not yet undone */
	struct task *task; /* works on it now */
	json_t *context, *publish;
	char *staging, *target;
};

/* One volume in one phase. */
enum task_state { TASK_NEXT = 0, TASK_ANSWERED };

struct task {
	struct op op;
	enum task_state state;
	struct bench *bench;
	struct volume *volume;
	const struct phase *phase;
	size_t done; /* steps */
	enum step step;
	int64_t began_us, took_us;
	struct client_call call;
	struct arena *arena;
};

struct bench {
	const struct bench_plan *opt;
	struct client *client;
	struct volume *volumes;
	size_t next;    /* volume that starts next in this phase */
	unsigned allow; /* interrupts that do not end this phase */
	size_t running, passed, failed;
	size_t failed_by[ERR_UNAUTHENTICATED + 1]; /* enum err_code */
	struct histogram us[STEP_COUNT];           /* of what succeeded */
};

/* ---- requests ------------------------------------------------------------ */

static json_t *
capability(const struct bench_plan *opt)
{
	json_t *cap = json_pack(
	    "{s:{s:s}}", "access_mode", "mode", "SINGLE_NODE_WRITER");

	(void)json_object_set_new(cap,
	    str_eq(opt->fstype, "block") ? "block" : "mount",
	    str_eq(opt->fstype, "block")
		? json_object()
		: json_pack("{s:s}", "fs_type", opt->fstype));
	return cap;
}

/* Where the data of a new volume come from; NULL: from nowhere. */
static json_t *
content_source(const struct task *t)
{
	const struct volume *first = t->bench->volumes;

	if (t->step == STEP_RESTORE)
		return json_pack("{s:{s:s?}}", "snapshot", "snapshot_id",
		    first->id[OBJECT_SNAPSHOT]);
	if (t->step == STEP_CLONE)
		return json_pack("{s:{s:s?}}", "volume", "volume_id",
		    t->volume->id[OBJECT_VOLUME]);
	return NULL;
}

/* Of all that requests have, what this one's type has. */
static const void *
build(struct task *t, const struct csi_definition *def, size_t *len)
{
	const struct bench_plan *opt = t->bench->opt;
	const struct volume *v = t->volume;
	enum object object = step_def[t->step].object;
	auto_free char *named = str_fmt("%s%s", v->name, object_suffix[object]);
	auto_json json_t *fields = json_pack(
	    "{s:s, s:s?, s:s?, s:s?, s:s, s:s, s:s, s:O?, s:O?, s:O?, s:O?, s:o, s:[o], s:{s:I}, s:o*}",
	    "name", named, "volume_id", v->id[object], "snapshot_id",
	    v->id[OBJECT_SNAPSHOT], "source_volume_id", v->id[OBJECT_VOLUME],
	    "node_id", opt->node_id, "staging_target_path", v->staging,
	    "target_path", v->target, "parameters", opt->parameters, "secrets",
	    opt->secrets, "volume_context", v->context, "publish_context",
	    v->publish, "volume_capability", capability(opt),
	    "volume_capabilities", capability(opt), "capacity_range",
	    "required_bytes",
	    (json_int_t)opt->size_bytes * (t->step == STEP_EXPAND ? 2 : 1),
	    "volume_content_source", content_source(t));
	ProtobufCMessage *message;
	struct err err = ERR_INIT;
	const void *body = NULL;
	const char *name;
	json_t *value;
	void *next;

	/* StorageClass parameters are none of a VolumeSnapshotClass. */
	if (t->step == STEP_SNAPSHOT)
		(void)json_object_set_new(fields, "parameters",
		    json_pack("{s:O?}", "clusterID",
			json_object_get(opt->parameters, "clusterID")));
	json_object_foreach_safe(fields, next, name, value) if (
	    protobuf_c_message_descriptor_get_field_by_name(def->request,
		name) == NULL)(void) json_object_del(fields, name);
	message = json_pb_read(def->request, fields, t->arena, &err);
	if (message != NULL)
		body = csi_pack(message, t->arena, len, &err);
	if (body == NULL)
		op_set_err(&t->op, &err);
	return body;
}

/* What the next requests need. */
static void
take_reply(struct task *t, const struct csi_definition *def)
{
	enum object object = step_def[t->step].object;
	struct err err = ERR_INIT;
	const void *message = csi_unpack(
	    def->reply, t->arena, t->call.reply.data, t->call.reply.len, &err);
	auto_json json_t *reply = NULL;
	struct volume *v = t->volume;
	const json_t *made;

	if (message != NULL)
		reply = json_pb_write(message, &err);
	if (reply == NULL) {
		op_set_err(&t->op, &err);
		return;
	}
	made = json_object_get(
	    reply, object == OBJECT_SNAPSHOT ? "snapshot" : "volume");
	if (made != NULL) {
		free(v->id[object]);
		v->id[object] = str_dup(json_get_string(made,
		    object == OBJECT_SNAPSHOT ? "snapshotId" : "volumeId"));
	}
	if (t->step == STEP_CREATE) {
		json_decref(v->context);
		v->context = json_incref(
		    json_object_get(made, "volumeContext"));
	}
	if (t->step == STEP_CONTROLLER_PUBLISH) {
		json_decref(v->publish);
		v->publish = json_incref(
		    json_object_get(reply, "publishContext"));
	}
}

/* ---- tasks --------------------------------------------------------------- */

/* The next step of the phase, in t->step; false: there is none. */
static bool
task_choose(struct task *t)
{
	const struct volume *v = t->volume;
	enum step last = STEP_CLONE;

	if (t->phase->nsteps > 0) {
		if (t->done == t->phase->nsteps)
			return false;
		t->step = t->phase->steps[t->done];
		return true;
	}
	if (v->tried == 0)
		return false;
	while ((v->tried & 1u << last) == 0)
		last--;
	/* The ID that a lost answer would have told comes with another one. */
	t->step = v->id[step_def[last].object] == NULL ? last : opposite(last);
	return true;
}

/* By these a driver says that it has made nothing. */
static bool
is_refusal(enum err_code code)
{
	return code == ERR_INVALID_ARGUMENT || code == ERR_NOT_FOUND ||
	    code == ERR_ALREADY_EXISTS || code == ERR_PERMISSION_DENIED ||
	    code == ERR_FAILED_PRECONDITION || code == ERR_OUT_OF_RANGE ||
	    code == ERR_UNIMPLEMENTED || code == ERR_UNAUTHENTICATED;
}

static enum op_verdict
task_step(struct op *op)
{
	struct task *t = (struct task *)op;
	struct volume *v = t->volume;
	const struct csi_definition *def;
	const void *body;
	size_t len;

	switch (t->state) {
	case TASK_NEXT:
		if (!task_choose(t))
			return OP_DONE;
		def = rpc_of(t->step);
		arena_free(t->arena);
		t->arena = csi_arena_new();
		body = build(t, def, &len);
		if (body == NULL)
			return OP_DONE;
		if (t->step <= STEP_CLONE)
			v->tried |= 1u << t->step;
		client_call_init(&t->call, t->bench->client);
		t->began_us = clock_now_us();
		client_call_start(&t->call, def->path, body, len,
		    t->bench->opt->timeout_ms, &op->wake);
		return op_await(t, TASK_ANSWERED);

	case TASK_ANSWERED:
		t->took_us = clock_now_us() - t->began_us;
		if (op->rc == 0 && is_undoing(t->step))
			v->tried &= ~(1u << opposite(t->step));
		else if (op->rc < 0 && t->step <= STEP_CLONE &&
		    v->id[step_def[t->step].object] == NULL &&
		    (!t->call.connected || is_refusal(t->call.code)))
			v->tried &= ~(1u << t->step);
		if (op->rc < 0)
			op_set_error(op, t->call.code, "%s of %s: %s",
			    rpc_of(t->step)->name, v->name,
			    t->call.text != NULL ? t->call.text : "");
		else
			take_reply(t, rpc_of(t->step));
		client_call_fini(&t->call);
		if (err_is_set(&op->err))
			return OP_DONE;
		histogram_add(&t->bench->us[t->step], (uint64_t)t->took_us);
		t->done++;
		return op_goto(t, TASK_NEXT);
	}
	abort();
}

static void start_next(struct bench *b, const struct phase *phase);

static void
task_end(struct op *op)
{
	struct task *t = (struct task *)op;
	struct bench *b = t->bench;

	b->running--;
	t->volume->task = NULL;
	if (!err_is_set(&op->err)) {
		b->passed++;
	} else {
		b->failed_by[op->err.code]++;
		if (b->failed++ < BENCH_TOLD_MAX)
			(void)fprintf(stderr, "%s: %s\n",
			    err_code_name(op->err.code), op->err.text);
	}
	start_next(b, t->phase);
	arena_free(t->arena);
	free(t);
}

static const struct op_class task_class = {
	.name = "bench",
	.step = task_step,
	.end = task_end,
};

static void
start_next(struct bench *b, const struct phase *phase)
{
	struct task *t;

	if (b->next == b->opt->count || bench_interrupts.count > b->allow)
		return;
	t = mem_new(sizeof(*t));
	t->bench = b;
	t->phase = phase;
	t->volume = &b->volumes[b->next++];
	t->volume->task = t;
	b->running++;
	op_start(&t->op, &task_class, NULL);
}

/* ---- phases and report --------------------------------------------------- */

static void
bench_figure(const struct bench_plan *opt, const char *phase, const char *what,
    double value, const char *unit)
{
	if (opt->args->json)
		(void)printf(
		    "{\"name\": \"%s.%s\", \"value\": %.3f, \"unit\": \"%s\"}\n",
		    phase, what, value, unit);
	else
		(void)printf(
		    "%-14s %-32s %10.1f %s\n", phase, what, value, unit);
	(void)fflush(stdout); /* for who measures something else meanwhile */
}

static void
bench_failed_figures(const struct bench_plan *opt, const char *phase,
    size_t failed, const size_t *by_code, const char *unit)
{
	char what[64];

	if (failed == 0)
		return;
	bench_figure(opt, phase, "failed", (double)failed, unit);
	for (int code = ERR_OK + 1; code <= ERR_UNAUTHENTICATED; code++) {
		if (by_code[code] == 0)
			continue;
		(void)snprintf(
		    what, sizeof(what), "failed.%s", err_code_name(code));
		bench_figure(opt, phase, what, (double)by_code[code], unit);
	}
}

static void
bench_times(const struct bench_plan *opt, const char *phase, const char *rpc,
    const struct histogram *h, double per_unit, const char *unit)
{
	static const struct {
		const char *name;
		double percent;
	} times[] = { { "p50", 50 }, { "p90", 90 }, { "p95", 95 },
		{ "p99", 99 }, { "p99.9", 99.9 } };
	char what[64];

	for (size_t i = 0; i < countof(times); i++) {
		(void)snprintf(what, sizeof(what), "%s.%s", rpc, times[i].name);
		bench_figure(opt, phase, what,
		    (double)histogram_percentile(h, times[i].percent) /
			per_unit,
		    unit);
	}
	(void)snprintf(what, sizeof(what), "%s.min", rpc);
	bench_figure(opt, phase, what, (double)h->least / per_unit, unit);
	(void)snprintf(what, sizeof(what), "%s.mean", rpc);
	bench_figure(opt, phase, what, histogram_mean(h) / per_unit, unit);
	(void)snprintf(what, sizeof(what), "%s.max", rpc);
	bench_figure(opt, phase, what, (double)h->greatest / per_unit, unit);
}

/* What failed is in no rate and no time. */
static void
report(struct bench *b, const struct phase *phase, double seconds)
{
	if (b->passed > 0)
		bench_figure(b->opt, phase->name, "rate",
		    (double)b->passed / seconds, "1/s");
	for (size_t i = 0; i < phase->nsteps; i++)
		if (b->us[phase->steps[i]].count > 0)
			bench_times(b->opt, phase->name,
			    rpc_of(phase->steps[i])->name,
			    &b->us[phase->steps[i]], 1000, "ms");
	(void)fflush(stdout);
}

/* Returns how many volumes failed. */
static size_t
run_phase(struct bench *b, const struct phase *phase)
{
	size_t callers = b->opt->callers[0];
	int64_t began_us = clock_now_us();

	memset(b->us, 0, sizeof(b->us));
	b->next = 0;
	b->passed = 0;
	b->failed = 0;
	memset(b->failed_by, 0, sizeof(b->failed_by));
	for (size_t i = 0; i < callers; i++)
		start_next(b, phase);
	while (b->running > 0)
		loop_turn(true);
	if (!phase->quiet)
		report(b, phase, (double)(clock_now_us() - began_us) / 1e6);
	bench_failed_figures(
	    b->opt, phase->name, b->failed, b->failed_by, "volumes");
	return b->failed;
}

/* The calls that run end; the phase does, too, unless it goes on. */
static void
on_interrupted(void *arg)
{
	struct bench *b = arg;

	if (bench_interrupts.count <= b->allow)
		return;
	for (size_t i = 0; i < b->opt->count; i++)
		if (b->volumes[i].task != NULL)
			client_call_cancel(&b->volumes[i].task->call);
}

/* Also makes the staging directories that kubelet would have made. */
static int
volumes_init(struct bench *b)
{
	const struct bench_plan *opt = b->opt;

	b->volumes = mem_new(opt->count * sizeof(*b->volumes));
	for (size_t i = 0; i < opt->count; i++) {
		struct volume *v = &b->volumes[i];
		auto_free char *parent = NULL;

		(void)snprintf(
		    v->name, sizeof(v->name), "%s-%zu", opt->prefix, i);
		parent = str_fmt("%s/%s", opt->dir, v->name);
		v->staging = str_fmt("%s/staging", parent);
		v->target = str_fmt("%s/target", parent);
		if (opt->dir != NULL &&
		    ((mkdir(parent, 0750) < 0 && errno != EEXIST) ||
			(mkdir(v->staging, 0750) < 0 && errno != EEXIST))) {
			(void)fprintf(stderr, "make %s: %s\n", v->staging,
			    strerror(errno));
			return -errno;
		}
	}
	return 0;
}

/* Returns how many are left behind. */
static size_t
volumes_fini(struct bench *b, bool cleaned)
{
	size_t left = 0;

	for (size_t i = 0; i < b->opt->count; i++) {
		struct volume *v = &b->volumes[i];
		auto_free char *parent = str_fmt("%s/%s", b->opt->dir, v->name);

		if (cleaned && v->tried != 0 && left++ < BENCH_TOLD_MAX)
			(void)fprintf(stderr, "left behind: volume %s, %s\n",
			    v->name,
			    v->id[OBJECT_VOLUME] != NULL ? v->id[OBJECT_VOLUME]
							 : "no ID known");
		if (cleaned && v->tried == 0 && b->opt->dir != NULL &&
		    v->staging != NULL && rmdir(v->staging) == 0)
			(void)rmdir(parent);
		for (size_t j = 0; j < OBJECT_COUNT; j++)
			free(v->id[j]);
		free(v->staging);
		free(v->target);
		json_decref(v->context);
		json_decref(v->publish);
	}
	free(b->volumes);
	if (left > 0)
		bench_figure(
		    b->opt, "clean_up", "left", (double)left, "volumes");
	return left;
}

/*
 * `release` takes over what a former `hold` attached: creating a volume that
 * exists gives its ID and contexts back.
 */
static const struct phase look_up = { "look_up", true,
	{ STEP_CREATE, STEP_CONTROLLER_PUBLISH }, 2 };

/* Undoes what was tried. An interrupt may have led here; one more ends it. */
static const struct phase clean_up = { "clean_up", true, { STEP_CREATE }, 0 };

enum ctl_status
bench_volumes(const struct bench_plan *opt, struct client *client)
{
	struct bench b = { .opt = opt, .client = client };
	const struct kind *kind = NULL;
	bool release, clean;
	size_t failed;

	for (size_t i = 0; i < countof(kinds); i++)
		if (str_eq(kinds[i].name,
			opt->args->command->name + strlen("bench ")))
			kind = &kinds[i];
	if (kind == NULL)
		abort(); /* the table of commands has another one */
	release = kind->phases == release_phases;
	failed = volumes_init(&b) < 0 ? opt->count : 0;
	bench_interrupts.told = on_interrupted;
	bench_interrupts.arg = &b;
	if (failed == 0 && release)
		failed = run_phase(&b, &look_up);
	for (size_t i = 0; release && i < opt->count; i++)
		if (b.volumes[i].id[OBJECT_VOLUME] != NULL)
			b.volumes[i].tried |= 1u << STEP_STAGE |
			    1u << STEP_PUBLISH;
	for (size_t i = 0;
	     i < kind->nphases && failed == 0 && bench_interrupts.count == 0;
	     i++)
		failed = run_phase(&b, &kind->phases[i]);
	clean = kind->phases != hold_phases || failed > 0 ||
	    bench_interrupts.count > 0;
	if (clean) {
		b.allow = bench_interrupts.count;
		(void)run_phase(&b, &clean_up);
	}
	bench_interrupts.told = NULL;
	failed += volumes_fini(&b, clean);
	return failed == 0 ? CTL_OK : CTL_FAILED;
}
