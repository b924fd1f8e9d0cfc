/*
 * bench_steps.c - the tables of steps and lives.
 *
 * Deadlines and pauses are those of external-provisioner 6.3, -attacher 4.12,
 * -resizer 2.2, -snapshotter 8.6 (1 s, doubled up to 5 minutes) and of kubelet
 * (2 minutes; 500 ms, doubled up to 2 minutes and 2 seconds).
 */
#include "ctl/bench_steps.h"

#include <string.h>

#define SIDECAR(seconds)                                                       \
	.timeout_ms = (seconds)*INT64_C(1000), .retry_ms = 1000,               \
	.retry_most_ms = INT64_C(300000)
#define ON_KUBELET                                                             \
	.on_node = true, .timeout_ms = INT64_C(120000), .retry_ms = 500,       \
	.retry_most_ms = INT64_C(122000)

#define CREATES "controller.CREATE_DELETE_VOLUME"
#define ATTACHES "controller.PUBLISH_UNPUBLISH_VOLUME"
#define SNAPSHOTS "controller.CREATE_DELETE_SNAPSHOT"
#define STAGES "node.STAGE_UNSTAGE_VOLUME"

const char *const bench_object_suffix[BENCH_OBJECTS] = {
	[BENCH_VOLUME] = "",
	[BENCH_SNAPSHOT] = "-snapshot",
	[BENCH_RESTORED] = "-restored",
	[BENCH_CLONE] = "-clone",
};

const struct bench_step_def bench_steps[BENCH_STEPS] = {
	[BENCH_CREATE] = { CSI_CREATE_VOLUME, BENCH_VOLUME, CREATES,
	    SIDECAR(10) },
	[BENCH_CONTROLLER_PUBLISH] = { CSI_CONTROLLER_PUBLISH_VOLUME,
	    BENCH_VOLUME, ATTACHES, SIDECAR(15) },
	[BENCH_STAGE] = { CSI_NODE_STAGE_VOLUME, BENCH_VOLUME, STAGES,
	    ON_KUBELET },
	[BENCH_PUBLISH] = { CSI_NODE_PUBLISH_VOLUME, BENCH_VOLUME, "node",
	    ON_KUBELET },
	[BENCH_TAKE_SNAPSHOT] = { CSI_CREATE_SNAPSHOT, BENCH_SNAPSHOT,
	    SNAPSHOTS, SIDECAR(60) },
	[BENCH_RESTORE] = { CSI_CREATE_VOLUME, BENCH_RESTORED, SNAPSHOTS,
	    SIDECAR(10) },
	[BENCH_COPY] = { CSI_CREATE_VOLUME, BENCH_CLONE,
	    "controller.CLONE_VOLUME", SIDECAR(10) },
	[BENCH_DELETE_COPY] = { CSI_DELETE_VOLUME, BENCH_CLONE,
	    "controller.CLONE_VOLUME", SIDECAR(10) },
	[BENCH_DELETE_RESTORED] = { CSI_DELETE_VOLUME, BENCH_RESTORED,
	    SNAPSHOTS, SIDECAR(10) },
	[BENCH_DELETE_SNAPSHOT] = { CSI_DELETE_SNAPSHOT, BENCH_SNAPSHOT,
	    SNAPSHOTS, SIDECAR(60) },
	[BENCH_UNPUBLISH] = { CSI_NODE_UNPUBLISH_VOLUME, BENCH_VOLUME, "node",
	    ON_KUBELET },
	[BENCH_UNSTAGE] = { CSI_NODE_UNSTAGE_VOLUME, BENCH_VOLUME, STAGES,
	    ON_KUBELET },
	[BENCH_CONTROLLER_UNPUBLISH] = { CSI_CONTROLLER_UNPUBLISH_VOLUME,
	    BENCH_VOLUME, ATTACHES, SIDECAR(15) },
	[BENCH_DELETE] = { CSI_DELETE_VOLUME, BENCH_VOLUME, CREATES,
	    SIDECAR(10) },
	[BENCH_EXPAND] = { CSI_CONTROLLER_EXPAND_VOLUME, BENCH_VOLUME,
	    "controller.EXPAND_VOLUME", SIDECAR(10) },
};

const struct csi_definition *
bench_rpc(enum bench_step step)
{
	return &csi_definitions[bench_steps[step].id];
}

bool
bench_step_makes(enum bench_step step)
{
	return step <= BENCH_COPY;
}

bool
bench_step_undoes(enum bench_step step)
{
	return step > BENCH_COPY && step < BENCH_EXPAND;
}

enum bench_step
bench_step_opposite(enum bench_step step)
{
	return BENCH_DELETE - step;
}

/* ---- lives ----------------------------------------------------------------- */

static const struct bench_part volumes[] = {
	{ "create", BENCH_CREATE, .usable = true },
	{ "exists", BENCH_CREATE },
	{ "delete", BENCH_DELETE },
};

static const struct bench_part controller[] = {
	{ "create", BENCH_CREATE, .usable = true },
	{ "exists", BENCH_CREATE },
	{ "snapshot", BENCH_TAKE_SNAPSHOT },
	{ "restore", BENCH_RESTORE },
	{ "clone", BENCH_COPY },
	{ "expand", BENCH_EXPAND },
	{ "delete_clone", BENCH_DELETE_COPY },
	{ "delete_restored", BENCH_DELETE_RESTORED },
	{ "delete_snapshot", BENCH_DELETE_SNAPSHOT },
	{ "delete", BENCH_DELETE },
};

static const struct bench_part attach[] = {
	{ "create", BENCH_CREATE, .quiet = true },
	{ "create", BENCH_CONTROLLER_PUBLISH, .quiet = true },
	{ "attach_format", BENCH_STAGE, .usable = true },
	{ "attach_format", BENCH_PUBLISH, .usable = true },
	{ "detach", BENCH_UNPUBLISH },
	{ "detach", BENCH_UNSTAGE },
	{ "attach", BENCH_STAGE },
	{ "attach", BENCH_PUBLISH },
	{ "detach_again", BENCH_UNPUBLISH },
	{ "detach_again", BENCH_UNSTAGE },
	{ "delete", BENCH_CONTROLLER_UNPUBLISH, .quiet = true },
	{ "delete", BENCH_DELETE, .quiet = true },
};

static const struct bench_part release[] = {
	{ "detach", BENCH_UNPUBLISH },
	{ "detach", BENCH_UNSTAGE },
	{ "delete", BENCH_CONTROLLER_UNPUBLISH, .quiet = true },
	{ "delete", BENCH_DELETE, .quiet = true },
};

static const struct bench_life lives[] = {
	{ "volumes", volumes, countof(volumes), false },
	{ "controller", controller, countof(controller), false },
	{ "attach", attach, countof(attach), false },
	{ "hold", attach, 4, true }, /* no more than the first attach of it */
	{ "release", release, countof(release), false },
};

const struct bench_life *
bench_life_of(const char *kind)
{
	for (size_t i = 0; i < countof(lives); i++)
		if (str_eq(lives[i].kind, kind))
			return &lives[i];
	return NULL;
}
