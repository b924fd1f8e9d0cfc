/*
 * inventory.c - what there is: ListVolumes, ListSnapshots and
 * ControllerListVolumeHealth, and the same about one volume or snapshot.
 *
 * The rule that holds it together: what the journal knows is told, as far as
 * it can be found out, and nothing is changed. One RPC differs from another
 * in what it looks at and in how it tells that: a row of the table.
 */
#include "controller/controller.h"
#include "controller/list.h"
#include "controller/volume.h"

#include "csi.pb-c.h"
#include "csi/reflect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum inventory_state {
	INVENTORY_START = 0,
	INVENTORY_LISTED, /* a page has been gathered */
	INVENTORY_LOOKED, /* the one volume or snapshot has been looked at */
	INVENTORY_END,
};

struct inventory {
	struct csi_rpc rpc;
	enum inventory_state state;
	struct look_rooms rooms;
	struct csi_volume_id source; /* of ListSnapshots' filter */
	union {
		struct list list;
		struct look look;
	};
};

/* ---- volumes ---- */

/* NULL: no ID has this clusterID, so that there is no such volume. */
static char *
id_of(const struct csi_rpc *rpc, const struct ceph_pool *pool, const char *uuid)
{
	struct csi_volume_id id = { .pool_id = pool->id };
	char text[CSI_VOLUME_ID_MAX + 1];

	return str_put(id.uuid, sizeof(id.uuid), "%s", uuid) < 0 ||
		str_put(id.cluster_id, sizeof(id.cluster_id), "%s",
		    rpc->env->cluster_id) < 0 ||
		csi_volume_id_fmt(text, &id, NULL) < 0
	    ? NULL
	    : arena_strdup(rpc->arena, text);
}

static Csi__V1__Volume *
volume_of(const struct csi_rpc *rpc, const struct look *look)
{
	struct arena *arena = rpc->arena;
	Csi__V1__Volume *v = csi_new(&csi__v1__volume__descriptor, arena);
	const char *pool = ceph_pool_name(look->pool);
	/* What CreateVolume answers, but for what only its class knows. */
	const struct {
		const char *key, *value;
	} context[] = {
		{ "clusterID", rpc->env->cluster_id },
		{ "pool", pool },
		{ "journalPool", pool },
		{ "radosNamespace", rpc->env->rados_namespace },
		{ "dataPool",
		    look->data_pool != NULL ? ceph_pool_name(look->data_pool)
					    : NULL },
		{ "imageName", look->image },
	};

	v->volume_id = id_of(rpc, look->pool, look->uuid);
	v->capacity_bytes = (int64_t)look->summary.size_bytes;
	for (size_t i = 0; i < countof(context); i++)
		if (!str_is_empty(context[i].value))
			volume_map_put(arena, v, "volume_context",
			    context[i].key,
			    arena_strdup(arena, context[i].value));
	return v->volume_id != NULL ? v : NULL;
}

static char **
nodes_of(const struct csi_rpc *rpc, const struct look *look)
{
	char **nodes = arena_new_bytes(
	    rpc->arena, (look->nnodes + 1) * sizeof(*nodes));

	for (size_t i = 0; i < look->nnodes; i++)
		nodes[i] = arena_strdup(rpc->arena, look->node[i]);
	return nodes;
}

static void *
list_entry_of_volume(const struct csi_rpc *rpc, const struct look *look)
{
	Csi__V1__ListVolumesResponse__Entry *entry = csi_new(
	    &csi__v1__list_volumes_response__entry__descriptor, rpc->arena);

	entry->status = csi_new(
	    &csi__v1__list_volumes_response__volume_status__descriptor,
	    rpc->arena);
	entry->status->published_node_ids = nodes_of(rpc, look);
	entry->status->n_published_node_ids = look->nnodes;
	entry->volume = volume_of(rpc, look);
	return entry->volume != NULL ? entry : NULL;
}

static bool
get_volume(struct csi_rpc *rpc, const struct look *look)
{
	Csi__V1__ControllerGetVolumeResponse *reply = csi_rpc_reply(rpc);

	reply->volume = volume_of(rpc, look);
	reply->status = csi_new(
	    &csi__v1__controller_get_volume_response__volume_status__descriptor,
	    rpc->arena);
	reply->status->published_node_ids = nodes_of(rpc, look);
	reply->status->n_published_node_ids = look->nnodes;
	return reply->volume != NULL;
}

/* ---- snapshots ---- */

/*
 * The journal has the name of the source's image, which ends with the UUID of
 * its volume whatever is in front of it; snapshots are made in its pool.
 */
static char *
source_of(const struct csi_rpc *rpc, const struct look *look)
{
	const char *image = look->entry.item.attr[JOURNAL_SOURCE];
	size_t len = image != NULL ? strlen(image) : 0;
	struct journal_ref ref;

	if (len < JOURNAL_UUID_LEN ||
	    journal_ref_parse(
		image + len - JOURNAL_UUID_LEN, JOURNAL_UUID_LEN, &ref) < 0)
		return arena_strdup(rpc->arena, image != NULL ? image : "");
	return id_of(rpc, look->pool, ref.uuid);
}

/* NULL: it is not, or not yet. */
static Csi__V1__Snapshot *
snapshot_of(const struct csi_rpc *rpc, const struct look *look)
{
	const struct image_summary *image = &look->summary;
	const char *group = look->entry.item.attr[JOURNAL_GROUP];
	Csi__V1__Snapshot *s;

	if (!look->has_header)
		return NULL;
	s = csi_new(&csi__v1__snapshot__descriptor, rpc->arena);
	s->snapshot_id = id_of(rpc, look->pool, look->uuid);
	s->source_volume_id = source_of(rpc, look);
	s->size_bytes = (int64_t)image->size_bytes;
	s->creation_time = csi_new(
	    &google__protobuf__timestamp__descriptor, rpc->arena);
	s->creation_time->seconds = image->created.tv_sec;
	s->creation_time->nanos = (int32_t)image->created.tv_nsec;
	/* The image's own snapshot is what volumes are made from. */
	s->ready_to_use = image->snaps > 0;
	if (!str_is_empty(group))
		s->group_snapshot_id = arena_strdup(rpc->arena, group);
	return s->snapshot_id != NULL && s->source_volume_id != NULL ? s : NULL;
}

static void *
list_entry_of_snapshot(const struct csi_rpc *rpc, const struct look *look)
{
	Csi__V1__ListSnapshotsResponse__Entry *entry = csi_new(
	    &csi__v1__list_snapshots_response__entry__descriptor, rpc->arena);

	entry->snapshot = snapshot_of(rpc, look);
	return entry->snapshot != NULL ? entry : NULL;
}

static bool
get_snapshot(struct csi_rpc *rpc, const struct look *look)
{
	Csi__V1__GetSnapshotResponse *reply = csi_rpc_reply(rpc);

	reply->snapshot = snapshot_of(rpc, look);
	return reply->snapshot != NULL;
}

/* ---- health ---- */

#define SICK(name) CSI__V1__VOLUME_HEALTH_ERROR_TYPE__##name

static void
add_sickness(const struct csi_rpc *rpc, Csi__V1__VolumeHealth *health,
    Csi__V1__VolumeHealthErrorType status, const char *reason,
    const char *message)
{
	Csi__V1__VolumeHealth__VolumeHealthEntry *entry = csi_new(
	    &csi__v1__volume_health__volume_health_entry__descriptor,
	    rpc->arena);

	entry->status = status;
	entry->reason = arena_strdup(rpc->arena, reason);
	entry->message = arena_strdup(rpc->arena, message);
	health->health_statuses[health->n_health_statuses++] = entry;
}

/* What a controller can know: journal, directory, header, pool. */
static Csi__V1__VolumeHealth *
health_of(const struct csi_rpc *rpc, const struct look *look)
{
	const char *pool = ceph_pool_label(look->pool);
	Csi__V1__VolumeHealth *health = csi_new(
	    &csi__v1__volume_health__descriptor, rpc->arena);

	health->volume_id = id_of(rpc, look->pool, look->uuid);
	health->health_statuses = arena_new_bytes(
	    rpc->arena, 2 * sizeof(*health->health_statuses));
	if (look->damaged)
		add_sickness(rpc, health, SICK(INACCESSIBLE),
		    "JournalEntryDamaged", look->entry.err.text);
	else if (look->place.standing == IMAGE_GONE)
		add_sickness(rpc, health, SICK(DATA_LOSS), "ImageMissing",
		    arena_fmt(rpc->arena, "image %s in %s is gone", look->image,
			pool));
	else if (look->place.standing == IMAGE_IN_TRASH)
		add_sickness(rpc, health, SICK(INACCESSIBLE), "ImageInTrash",
		    arena_fmt(rpc->arena,
			"image %s in %s is in the trash, with id %s",
			look->image, pool, look->place.id));
	else if (look->place.standing == IMAGE_ELSEWHERE)
		add_sickness(rpc, health, SICK(INACCESSIBLE), "ImageReplaced",
		    arena_fmt(rpc->arena, "image %s in %s: %s", look->image,
			pool, look->place.why));
	else if (!look->has_header)
		add_sickness(rpc, health, SICK(DATA_LOSS), "HeaderDamaged",
		    look->summary.err.text);
	if (look->full)
		add_sickness(rpc, health, SICK(DEGRADED), "PoolFull",
		    arena_fmt(rpc->arena, "%s is full: writes fail",
			ceph_pool_label(look->data_pool != NULL
				? look->data_pool
				: look->pool)));
	return health->volume_id != NULL ? health : NULL;
}

static void *
list_entry_of_health(const struct csi_rpc *rpc, const struct look *look)
{
	return health_of(rpc, look);
}

static bool
get_health(struct csi_rpc *rpc, const struct look *look)
{
	Csi__V1__ControllerGetVolumeHealthResponse *reply = csi_rpc_reply(rpc);

	reply->volume_health = health_of(rpc, look);
	return reply->volume_health != NULL;
}

/* ---- the steps ---- */

/*
 * By csi_id: which kind of thing, and how it is told, in a list or alone;
 * false or NULL: it is not there.
 */
static const struct inventory_of {
	const struct journal_kind *kind;
	bool health;
	void *(*entry)(const struct csi_rpc *rpc, const struct look *look);
	bool (*reply)(struct csi_rpc *rpc, const struct look *look);
} inventories[CSI_COUNT] = {
	[CSI_LIST_VOLUMES] = { .kind = &journal_volumes,
	    .entry = list_entry_of_volume },
	[CSI_CONTROLLER_GET_VOLUME] = { .kind = &journal_volumes,
	    .reply = get_volume },
	[CSI_CONTROLLER_LIST_VOLUME_HEALTH] = { .kind = &journal_volumes,
	    .health = true,
	    .entry = list_entry_of_health },
	[CSI_CONTROLLER_GET_VOLUME_HEALTH] = { .kind = &journal_volumes,
	    .health = true,
	    .reply = get_health },
	[CSI_LIST_SNAPSHOTS] = { .kind = &journal_snapshots,
	    .entry = list_entry_of_snapshot },
	[CSI_GET_SNAPSHOT] = { .kind = &journal_snapshots,
	    .reply = get_snapshot },
};

/* Fields 1 and 2 of every reply with a list: entries and next_token. */
static void
list_reply(struct inventory *in, void **entries, size_t n, char *token)
{
	ProtobufCMessage *reply = csi_rpc_reply(&in->rpc);
	const ProtobufCFieldDescriptor *field = reply->descriptor->fields;

	*reflect_counter(reply, &field[0]) = n;
	*(void ***)(void *)((char *)reply + field[0].offset) = entries;
	if (token != NULL)
		*(char **)(void *)((char *)reply + field[1].offset) = token;
}

/*
 * The volume of ListSnapshots' filter; NULL: it has none. An identifier that
 * is nobody's leads to no UUID.
 */
static const struct csi_volume_id *
filter_of(struct inventory *in)
{
	const Csi__V1__ListSnapshotsRequest *r = in->rpc.request;

	if (in->rpc.in->def != &csi_definitions[CSI_LIST_SNAPSHOTS] ||
	    *r->source_volume_id == '\0')
		return NULL;
	if (csi_volume_id_parse(r->source_volume_id, &in->source, NULL) < 0)
		in->source = (struct csi_volume_id){ .uuid = "none" };
	return &in->source;
}

/* Is it about one thing, by its ID? */
static bool
is_of_one(const struct inventory *in)
{
	const Csi__V1__ListSnapshotsRequest *r = in->rpc.request;

	return in->rpc.in->def == &csi_definitions[CSI_LIST_SNAPSHOTS]
	    ? *r->snapshot_id != '\0'
	    : in->rpc.in->id_kind == CSI_ID_OURS;
}

static int
begin_look(struct inventory *in, const struct inventory_of *of, struct err *err)
{
	const struct csi_volume_id *source = filter_of(in);

	in->look = (struct look){
		.kind = of->kind,
		.uuid = in->rpc.in->id.uuid,
		.source = source != NULL ? source->uuid : NULL,
		.rooms = of->health ? &in->rooms : NULL,
		.arena = in->rpc.arena,
	};
	return ceph_pool_open_id(controller.conn, in->rpc.in->id.pool_id,
	    in->rpc.env->rados_namespace, &in->look.pool, err);
}

/* False: there is no such thing, which a list tells by being empty. */
static bool
tell_one(struct inventory *in, const struct inventory_of *of)
{
	bool known = in->look.pool != NULL && in->look.known;
	void *entry;

	if (of->reply != NULL)
		return known && of->reply(&in->rpc, &in->look);
	entry = known ? of->entry(&in->rpc, &in->look) : NULL;
	list_reply(in, arena_copy(in->rpc.arena, &entry, sizeof(entry)),
	    entry != NULL, NULL);
	return true;
}

static enum op_verdict
inventory_step(struct op *op)
{
	struct inventory *in = (struct inventory *)op;
	const struct csi_definition *def = in->rpc.in->def;
	const struct inventory_of *of = &inventories[csi_definition_id(def)];
	struct err err = ERR_INIT;
	int rc;

	switch (in->state) {
	case INVENTORY_START:
		if (!is_of_one(in)) {
			in->list = (struct list){
				.rpc = &in->rpc,
				.kind = of->kind,
				.health = of->health,
				.source = filter_of(in),
				.entry = of->entry,
			};
			list_start(&in->list, &op->wake);
			return op_await(in, INVENTORY_LISTED);
		}
		rc = begin_look(in, of, &err);
		if (rc == -ENOENT) /* its pool is gone */
			return op_goto(in, INVENTORY_LOOKED);
		if (rc < 0)
			return op_fail_err(in, INVENTORY_END, &err);
		look_start(&in->look, &op->wake);
		return op_await(in, INVENTORY_LOOKED);

	case INVENTORY_LISTED:
		if (op->rc < 0)
			return op_fail_as(in, INVENTORY_END, list.op);
		list_reply(
		    in, in->list.entries, in->list.n, in->list.next_token);
		return op_goto(in, INVENTORY_END);

	case INVENTORY_LOOKED:
		if (op->rc < 0)
			return op_fail_as(in, INVENTORY_END, look.op);
		if (!tell_one(in, of))
			return op_fail(in, INVENTORY_END, ERR_NOT_FOUND,
			    "%s %s does not exist", def->noun,
			    csi_definition_key(def, in->rpc.request));
		return op_goto(in, INVENTORY_END);

	case INVENTORY_END:
		return OP_DONE;
	}
	abort();
}

#define INVENTORY(of, text)                                                    \
	static const struct op_class of##_class = {                            \
		.name = text,                                                  \
		.step = inventory_step,                                        \
	};                                                                     \
	const struct csi_impl of##_impl = {                                    \
		.cls = &of##_class,                                            \
		.size = sizeof(struct inventory),                              \
	}

INVENTORY(list_volumes, "ListVolumes");
INVENTORY(list_health, "ControllerListVolumeHealth");
INVENTORY(list_snapshots, "ListSnapshots");
INVENTORY(get_volume, "ControllerGetVolume");
INVENTORY(get_health, "ControllerGetVolumeHealth");
INVENTORY(get_snapshot, "GetSnapshot");
