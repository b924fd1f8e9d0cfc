/*
 * controller_run.c - see controller_run.h.
 */
#include "tests/op/controller_run.h"

#include "admin.pb-c.h"
#include "controller/controller.h"
#include "controller/purge.h"
#include "csi.pb-c.h"
#include "tests/definition.h"
#include "tests/tap.h"
#include "tests/waited.h"
#include "worker.pb-c.h"

#include <sys/wait.h>

struct csi_env env = {
	.cluster_id = "c",
	.rados_namespace = "",
	.monitors = "m",
	.driver_name = "rbd.csi.ceph.com",
	.instance_id = "default",
	.cluster_name = "",
	.node_id = "",
	.depth_hard = 8,
	.depth_soft = 4,
	.snapshots_max = 450,
	.snapshots_min = 250,
};

struct outcome out;

/* ---- running one RPC ---- */

static void
take_audit(const Rbdcsi__Admin__V1__AuditResponse *reply)
{
	out.findings = reply->n_findings;
	for (size_t i = 0; i < reply->n_findings; i++)
		out.repaired += reply->findings[i]->repaired;
	(void)snprintf(out.token, sizeof(out.token), "%s", reply->next_token);
}

static void printf_like(1, 2) put_list(const char *fmt, ...)
{
	size_t used = strlen(out.list);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out.list + used, sizeof(out.list) - used, fmt, ap);
	va_end(ap);
}

/* A volume by its UUID, the one that was created by its name. */
static const char *
name_of(const char *id)
{
	const char *uuid = id + strlen(id) - 36;

	return fake_has_key("csi.volumes.default", "csi.volume.pvc-1", uuid)
	    ? "pvc-1"
	    : uuid;
}

static void
take_volumes(const Csi__V1__ListVolumesResponse *reply)
{
	for (size_t i = 0; i < reply->n_entries; i++) {
		const Csi__V1__ListVolumesResponse__Entry *e =
		    reply->entries[i];

		put_list("%s %lld", name_of(e->volume->volume_id),
		    (long long)e->volume->capacity_bytes);
		for (size_t j = 0; j < e->status->n_published_node_ids; j++)
			put_list(" %s", e->status->published_node_ids[j]);
		put_list("; ");
	}
	if (*reply->next_token != '\0')
		put_list("next %s", reply->next_token);
}

static void
take_health(const Csi__V1__ControllerListVolumeHealthResponse *reply)
{
	for (size_t i = 0; i < reply->n_entries; i++) {
		const Csi__V1__VolumeHealth *e = reply->entries[i];

		put_list("%s", name_of(e->volume_id));
		for (size_t j = 0; j < e->n_health_statuses; j++)
			put_list(" %s", e->health_statuses[j]->reason);
		put_list("; ");
	}
}

static void
take_snapshots(const Csi__V1__ListSnapshotsResponse *reply)
{
	for (size_t i = 0; i < reply->n_entries; i++) {
		const Csi__V1__Snapshot *s = reply->entries[i]->snapshot;

		put_list("%s of %s %s; ", name_of(s->snapshot_id),
		    name_of(s->source_volume_id),
		    s->ready_to_use ? "ready" : "not ready");
	}
}

static void
take_expanded(const Csi__V1__ControllerExpandVolumeResponse *reply)
{
	out.bytes = reply->capacity_bytes;
	out.needs_node = reply->node_expansion_required;
}

static void
take_format(const Worker__FormatReply *reply)
{
	out.again = reply->again;
	out.encrypted = reply->encrypted;
	(void)snprintf(out.key, sizeof(out.key), "%s", reply->key);
}

static void
take_result(const struct csi_rpc *rpc)
{
	const Csi__V1__CreateVolumeResponse *reply = rpc->reply;
	const Csi__V1__CreateSnapshotResponse *snapshot = rpc->reply;

	out.err = rpc->op.err;
	out.readied = rpc->reply != NULL;
	out.volume_id[0] = '\0';
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "CreateVolume"))
		(void)snprintf(out.volume_id, sizeof(out.volume_id), "%s",
		    reply->volume->volume_id);
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "CreateSnapshot"))
		(void)snprintf(out.volume_id, sizeof(out.volume_id), "%s",
		    snapshot->snapshot->snapshot_id);
	if (rpc->reply != NULL &&
	    str_eq(rpc->in->def->name, "ControllerPublishVolume")) {
		struct csi_map context = csi_map_field(
		    rpc->reply, "publish_context");
		const char *key = csi_map_get(&context, "userKey");

		(void)snprintf(
		    out.key, sizeof(out.key), "%s", key != NULL ? key : "");
	}
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "Audit"))
		take_audit(rpc->reply);
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "ListVolumes"))
		take_volumes(rpc->reply);
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "ListSnapshots"))
		take_snapshots(rpc->reply);
	if (rpc->reply != NULL &&
	    str_eq(rpc->in->def->name, "ControllerListVolumeHealth"))
		take_health(rpc->reply);
	if (rpc->reply != NULL &&
	    str_eq(rpc->in->def->name, "ControllerExpandVolume"))
		take_expanded(rpc->reply);
	if (rpc->reply != NULL && str_eq(rpc->in->def->name, "Format"))
		take_format(rpc->reply);
}

void
run(const char *method, const void *request)
{
	const struct csi_definition *def = definition_taking(request);
	size_t len = protobuf_c_message_get_packed_size(request);
	auto_free unsigned char *body = mem_new(len + 1);
	const struct csi_impl *impl = controller_find(def->path, &def);
	struct waited done = WAITED_INIT;
	struct csi_request in;
	struct csi_rpc *rpc;
	struct err err = ERR_INIT;

	(void)protobuf_c_message_pack(request, body);
	if (csi_request_read(&in, def, body, len, &err) < 0) {
		diag("%s: %s", method, err.text);
		abort();
	}
	memset(&out, 0, sizeof(out));
	rpc = csi_rpc_new(impl, &in, &env);
	fake_set_victim(&rpc->op);
	csi_rpc_start(rpc, &done.wake);
	(void)waited_for(&done);
	take_result(rpc);
	while (op_count() > 0)
		loop_turn(true);
	fake_set_victim(NULL);
	csi_request_fini(&in);
}

/* ---- fresh processes ---- */

/* With the notes of the pool read. */
void
begin(void)
{
	struct ceph_pool *pool;
	struct err err = ERR_INIT;

	fake_script(FAKE_NONE, 0, 0);
	controller_init(fake_connection());
	if (ceph_pool_open(NULL, "rbd", "", &pool, &err) < 0)
		abort();
	controller_resume(pool, env.instance_id);
	while (op_count() > 0 || purge_running() > 0)
		loop_turn(true);
	fake_script(FAKE_NONE, 0, 0);
}

void
end(const char *what, unsigned n)
{
	if (keylock_count(controller.names) != 0 || op_count() != 0) {
		diag("%s at wait %u: locks are not given back", what, n);
		abort();
	}
	controller_fini();
}

bool
in_child(void (*step)(const char *), const char *arg, enum fake_fault fault,
    unsigned n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		begin();
		fake_script(fault, n, 0);
		step(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		abort();
	return WEXITSTATUS(status) == FAKE_KILLED;
}
