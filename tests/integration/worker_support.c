/*
 * worker_support.c - see worker_support.h.
 */
#include "tests/integration/worker_support.h"

#include "base/clock.h"
#include "core/loop.h"
#include "core/timer.h"
#include "tests/tap.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>

#define FRAME_MAX (8 << 20)
#define ANSWER_MS 60000
#define SILENT_MS 4000 /* of a worker that has nothing to purge */

const char *
talk_program(const char *name)
{
	static char path[4096];
	char self[2048];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		abort();
	self[n] = '\0';
	(void)snprintf(path, sizeof(path), "%s/../../%s", dirname(self), name);
	return path;
}

static const char *
env_need(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL) {
		printf("Bail out! run it with the output of "
		       "scripts/dev-cluster env\n");
		exit(1);
	}
	return value;
}

static char *
cluster_key(void)
{
	char text[256] = "";
	FILE *f = fopen(env_need("RBD_CSI_KEYFILE"), "re");

	if (f == NULL || fgets(text, sizeof(text), f) == NULL)
		abort();
	(void)fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return str_dup(text);
}

/* ---- the loop ---- */

struct alarm {
	struct timer timer;
	bool over;
};

static void
on_alarm(struct timer *timer)
{
	container_of(timer, struct alarm, timer)->over = true;
}

bool
talk_until(const bool *flag, int ms)
{
	struct alarm alarm = { .timer.fire = on_alarm };

	timer_arm(&alarm.timer, ms);
	while (!*flag && !alarm.over)
		loop_turn(true);
	timer_disarm(&alarm.timer);
	return *flag;
}

void
talk_turn(int ms)
{
	bool never = false;

	(void)talk_until(&never, ms);
}

/* ---- frames ---- */

struct talk_call {
	struct peer_call call;
	struct talk *talk;
};

static void
on_reply(struct peer_call *call, const struct peer_frame *frame)
{
	struct talk *t = ((struct talk_call *)call)->talk;
	struct talk_reply *r = &t->reply[t->nreplies++ % TALK_REPLIES];
	Worker__Reply *reply = peer_unpack(frame, &worker__reply__descriptor);

	if (reply == NULL)
		abort();
	free(r->body);
	memset(r, 0, sizeof(*r));
	r->id = frame->id;
	r->code = frame->err.code;
	(void)snprintf(r->text, sizeof(r->text), "%s", frame->err.text);
	r->body = mem_new(reply->body.len + 1);
	r->len = reply->body.len;
	if (r->len > 0)
		memcpy(r->body, reply->body.data, r->len);
	r->nstates = reply->n_states;
	if (r->nstates > 0)
		(void)snprintf(r->last_state, sizeof(r->last_state), "%s",
		    reply->states[r->nstates - 1]->name);
	worker__reply__free_unpacked(reply, NULL);
	free(call);
}

static void
on_ready(struct peer *peer, const struct peer_frame *frame)
{
	struct talk *t = container_of(peer, struct talk, peer);
	Worker__Ready *ready = peer_unpack(frame, &worker__ready__descriptor);

	if (ready == NULL)
		abort();
	t->ready = true;
	(void)snprintf(t->fsid, sizeof(t->fsid), "%s", ready->fsid);
	(void)snprintf(t->address, sizeof(t->address), "%s", ready->address);
	worker__ready__free_unpacked(ready, NULL);
}

static void
on_failed(struct peer *peer, const struct peer_frame *frame)
{
	struct talk *t = container_of(peer, struct talk, peer);

	t->failed = true;
	t->code = frame->err.code;
	(void)snprintf(t->step, sizeof(t->step), "%s", frame->step);
	(void)snprintf(t->text, sizeof(t->text), "%s", frame->err.text);
}

static void
on_progress(struct peer *peer, const struct peer_frame *frame)
{
	struct talk *t = container_of(peer, struct talk, peer);
	Worker__Progress *progress = peer_unpack(
	    frame, &worker__progress__descriptor);

	if (progress == NULL)
		abort();
	t->purges = progress->purges;
	t->told = true;
	worker__progress__free_unpacked(progress, NULL);
}

static void
on_closed(struct peer *peer)
{
	container_of(peer, struct talk, peer)->gone = true;
}

static void
on_gone(struct peer *peer)
{
	struct talk *t = container_of(peer, struct talk, peer);

	t->gone = t->exited = true;
	t->status = peer->status;
}

static const struct peer_kind worker_peer = {
	.name = "ceph-worker",
	.version = WORKER__PROTOCOL__VERSION,
	.max_frame = FRAME_MAX,
	.max_queued = FRAME_MAX,
	.end_ms = ANSWER_MS,
	.exclusive = true,
	.ready = on_ready,
	.failed = on_failed,
	.event = on_progress,
	.closed = on_closed,
	.gone = on_gone,
};

static char *
text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

static int
spawn(struct talk *t, const char *program, const struct talk_hello *h,
    struct err *err)
{
	const char *const argv[] = { program, NULL };
	Worker__Hello hello = WORKER__HELLO__INIT;
	Worker__Setting setting[8], *list[8];
	auto_free char *key = h->key != NULL ? str_dup(h->key) : cluster_key();

	hello.cluster_id = text(env_need("RBD_CSI_FSID"));
	hello.monitors = text(
	    h->monitors != NULL ? h->monitors : env_need("RBD_CSI_MONITORS"));
	hello.user = text(h->user != NULL ? h->user : env_need("RBD_CSI_USER"));
	hello.key.data = (uint8_t *)key;
	hello.key.len = strlen(key);
	hello.instance_id = text("default");
	hello.cluster_name = text("k8s-1");
	hello.driver_name = text("rbd.csi.ceph.com");
	hello.node_id = text(h->node_id);
	hello.connect_timeout_ms = h->connect_timeout_ms;
	hello.lane_idle_ms = h->lane_idle_ms;
	hello.max_lanes = 2;
	hello.log_level = 1;
	hello.clone_depth_hard = 8;
	hello.clone_depth_soft = h->depth_soft != 0 ? h->depth_soft : 4;
	hello.snapshots_max = 450;
	hello.snapshots_min = 250;
	hello.settings = list;
	for (const char *const *s = h->settings;
	     s != NULL && s[0] != NULL && hello.n_settings < countof(list);
	     s += 2) {
		Worker__Setting *one = &setting[hello.n_settings];

		worker__setting__init(one);
		one->name = text(s[0]);
		one->value = text(s[1]);
		list[hello.n_settings++] = one;
	}
	return peer_spawn(&t->peer, argv, NULL, 0, &hello.base, err);
}

void
talk_start(struct talk *t, const char *program, const struct talk_hello *hello)
{
	int64_t end = clock_now_ms() + ANSWER_MS;
	struct err err = ERR_INIT;

	memset(t, 0, sizeof(*t));
	peer_init(&t->peer, &worker_peer);
	if (spawn(t, program, hello, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	while (!t->ready && !t->failed && !t->gone && clock_now_ms() < end)
		talk_turn(1);
}

bool
talk_end(struct talk *t)
{
	struct peer_call *call;
	bool good;

	/* The end of the channel is the order to end. */
	channel_free(take_ptr(&t->peer.channel));
	good = talk_until(&t->exited, ANSWER_MS);
	if (!good) {
		peer_kill(&t->peer, SIGKILL);
		(void)talk_until(&t->exited, ANSWER_MS);
	}
	for (unsigned i = 0; i < TALK_REPLIES; i++)
		free(t->reply[i].body);
	while ((call = TAILQ_FIRST(&t->peer.calls)) != NULL) {
		peer_call_take(call);
		free(call);
	}
	return good;
}

uint64_t
talk_send(
    struct talk *t, const char *method, const void *request, const char *ns)
{
	Worker__Request m = WORKER__REQUEST__INIT;
	Worker__Cluster cluster = WORKER__CLUSTER__INIT;
	struct talk_call *call = mem_new(sizeof(*call));
	auto_free char *path = *method == '/'
	    ? str_dup(method)
	    : str_fmt("/csi.v1.Controller/%s", method);
	size_t len = protobuf_c_message_get_packed_size(request);
	auto_free unsigned char *body = mem_new(len + 1);

	cluster.cluster_id = text(env_need("RBD_CSI_FSID"));
	cluster.monitors = text(env_need("RBD_CSI_MONITORS"));
	cluster.rados_namespace = text(ns);
	m.method = path;
	m.timeout_ms = ANSWER_MS;
	m.cluster = &cluster;
	m.body.data = body;
	m.body.len = protobuf_c_message_pack(request, body);
	call->talk = t;
	call->call.reply = on_reply;
	if (peer_call_send(&t->peer, &call->call, 0, &m.base) == 0)
		return call->call.id;
	free(call);
	return 0;
}

void
talk_cancel(struct talk *t, uint64_t id)
{
	const struct peer_call *call = peer_call_find(&t->peer, id);

	if (call != NULL)
		peer_call_cancel(call);
}

const struct talk_reply *
talk_answered(const struct talk *t, uint64_t id)
{
	for (unsigned i = 0; i < TALK_REPLIES; i++)
		if (t->reply[i].id == id)
			return &t->reply[i];
	return NULL;
}

const struct talk_reply *
talk_wait(struct talk *t, uint64_t id)
{
	int64_t end = clock_now_ms() + ANSWER_MS;
	const struct talk_reply *reply;

	while (clock_now_ms() < end) {
		reply = talk_answered(t, id);
		if (reply != NULL)
			return reply;
		if (t->gone)
			return NULL;
		loop_turn(true);
	}
	return NULL;
}

const struct talk_reply *
talk_call(
    struct talk *t, const char *method, const void *request, const char *ns)
{
	return talk_wait(t, talk_send(t, method, request, ns));
}

bool
talk_purged(struct talk *t)
{
	int64_t end = clock_now_ms() + ANSWER_MS;

	/*
	 * The worker tells once a second while there are any, and once more
	 * that there are none.
	 */
	do {
		t->told = false;
		if (!talk_until(&t->told, SILENT_MS))
			return true;
	} while (t->purges > 0 && clock_now_ms() < end);
	return t->purges == 0;
}

uint64_t
osd_ops(void)
{
	FILE *f = popen(
	    "ceph tell 'osd.*' perf dump osd op 2>/dev/null | "
	    "awk '$1 == \"\\\"op\\\":\" { n += $2 } END { print n }' | "
	    "tr -d '\\n'",
	    "r");
	char text[64] = "";
	uint64_t n = 0;

	if (f == NULL || fgets(text, sizeof(text), f) == NULL ||
	    str_to_u64(text, &n) < 0)
		n = 0;
	if (f != NULL)
		(void)pclose(f);
	return n;
}

/* ---- requests ---- */

struct entry {
	ProtobufCMessage base;
	char *key, *value;
};

static void
put(void *entries, size_t *n, const ProtobufCMessageDescriptor *type,
    const char *key, const char *value)
{
	void **list = mem_grow(*(void ***)entries, (*n + 1) * sizeof(void *));
	struct entry *e = mem_new(type->sizeof_message);

	protobuf_c_message_init(type, &e->base);
	e->key = str_dup(key);
	e->value = str_dup(value);
	list[(*n)++] = e;
	*(void ***)entries = list;
}

static void
put_secrets(void *entries, size_t *n, const ProtobufCMessageDescriptor *type)
{
	auto_free char *key = cluster_key();

	put(entries, n, type, "userID", env_need("RBD_CSI_USER"));
	put(entries, n, type, "userKey", key);
}

static void *
new_message(const ProtobufCMessageDescriptor *type)
{
	void *m = mem_new(type->sizeof_message);

	protobuf_c_message_init(type, m);
	return m;
}

static Csi__V1__VolumeCapability *
capability(int mode, bool block)
{
	Csi__V1__VolumeCapability *cap = new_message(
	    &csi__v1__volume_capability__descriptor);

	cap->access_mode = new_message(
	    &csi__v1__volume_capability__access_mode__descriptor);
	cap->access_mode->mode = (Csi__V1__VolumeCapability__AccessMode__Mode)
	    mode;
	if (block) {
		cap->access_type_case =
		    CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
		cap->block = new_message(
		    &csi__v1__volume_capability__block_volume__descriptor);
	} else {
		cap->access_type_case =
		    CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
		cap->mount = new_message(
		    &csi__v1__volume_capability__mount_volume__descriptor);
	}
	return cap;
}

Csi__V1__CreateVolumeRequest *
req_create(const char *name, const char *cluster, const char *pool,
    int64_t bytes, const char *const *params)
{
	const ProtobufCMessageDescriptor *type =
	    &csi__v1__create_volume_request__parameters_entry__descriptor;
	Csi__V1__CreateVolumeRequest *r = new_message(
	    &csi__v1__create_volume_request__descriptor);

	r->name = str_dup(name);
	r->capacity_range = new_message(&csi__v1__capacity_range__descriptor);
	r->capacity_range->required_bytes = bytes;
	r->volume_capabilities = mem_new(sizeof(void *));
	r->volume_capabilities[r->n_volume_capabilities++] = capability(
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER,
	    false);
	put(&r->parameters, &r->n_parameters, type, "clusterID", cluster);
	put(&r->parameters, &r->n_parameters, type, "pool", pool);
	for (; params != NULL && params[0] != NULL; params += 2)
		put(&r->parameters, &r->n_parameters, type, params[0],
		    params[1]);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__create_volume_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__VolumeContentSource *
req_source(bool snapshot, const char *id)
{
	Csi__V1__VolumeContentSource *source = new_message(
	    &csi__v1__volume_content_source__descriptor);

	if (snapshot) {
		source->type_case =
		    CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
		source->snapshot = new_message(
		    &csi__v1__volume_content_source__snapshot_source__descriptor);
		source->snapshot->snapshot_id = str_dup(id);
	} else {
		source->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
		source->volume = new_message(
		    &csi__v1__volume_content_source__volume_source__descriptor);
		source->volume->volume_id = str_dup(id);
	}
	return source;
}

Csi__V1__DeleteVolumeRequest *
req_delete(const char *volume_id)
{
	Csi__V1__DeleteVolumeRequest *r = new_message(
	    &csi__v1__delete_volume_request__descriptor);

	r->volume_id = str_dup(volume_id);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__delete_volume_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__ControllerExpandVolumeRequest *
req_expand(const char *volume_id, int64_t bytes)
{
	Csi__V1__ControllerExpandVolumeRequest *r = new_message(
	    &csi__v1__controller_expand_volume_request__descriptor);

	r->volume_id = str_dup(volume_id);
	r->capacity_range = new_message(&csi__v1__capacity_range__descriptor);
	r->capacity_range->required_bytes = bytes;
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__controller_expand_volume_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__CreateSnapshotRequest *
req_snapshot(const char *name, const char *volume_id)
{
	Csi__V1__CreateSnapshotRequest *r = new_message(
	    &csi__v1__create_snapshot_request__descriptor);

	r->name = str_dup(name);
	r->source_volume_id = str_dup(volume_id);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__create_snapshot_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__DeleteSnapshotRequest *
req_unsnapshot(const char *snapshot_id)
{
	Csi__V1__DeleteSnapshotRequest *r = new_message(
	    &csi__v1__delete_snapshot_request__descriptor);

	r->snapshot_id = str_dup(snapshot_id);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__delete_snapshot_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__ControllerPublishVolumeRequest *
req_publish(const char *volume_id, const char *node, bool read_only, int mode)
{
	Csi__V1__ControllerPublishVolumeRequest *r = new_message(
	    &csi__v1__controller_publish_volume_request__descriptor);

	r->volume_id = str_dup(volume_id);
	r->node_id = str_dup(node);
	r->readonly = read_only;
	r->volume_capability = capability(mode, true);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__controller_publish_volume_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__ControllerUnpublishVolumeRequest *
req_unpublish(const char *volume_id, const char *node)
{
	Csi__V1__ControllerUnpublishVolumeRequest *r = new_message(
	    &csi__v1__controller_unpublish_volume_request__descriptor);

	r->volume_id = str_dup(volume_id);
	r->node_id = str_dup(node);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__controller_unpublish_volume_request__secrets_entry__descriptor);
	return r;
}

Csi__V1__ValidateVolumeCapabilitiesRequest *
req_validate(const char *volume_id, int mode, bool block)
{
	Csi__V1__ValidateVolumeCapabilitiesRequest *r = new_message(
	    &csi__v1__validate_volume_capabilities_request__descriptor);

	r->volume_id = str_dup(volume_id);
	r->volume_capabilities = mem_new(sizeof(void *));
	r->volume_capabilities[r->n_volume_capabilities++] = capability(
	    mode, block);
	put_secrets(&r->secrets, &r->n_secrets,
	    &csi__v1__validate_volume_capabilities_request__secrets_entry__descriptor);
	return r;
}

void
req_free(void *request)
{
	if (request != NULL)
		protobuf_c_message_free_unpacked(request, NULL);
}

Csi__V1__CreateVolumeResponse *
talk_create(struct talk *t, Csi__V1__CreateVolumeRequest *request,
    const char *ns, const struct talk_reply **reply)
{
	*reply = talk_call(t, "CreateVolume", request, ns);
	req_free(request);
	if (*reply == NULL || (*reply)->code != 0)
		return NULL;
	return csi__v1__create_volume_response__unpack(
	    NULL, (*reply)->len, (*reply)->body);
}
