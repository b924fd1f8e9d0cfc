/*
 * create_volume.c - CreateVolume of a fresh volume.
 *
 * The rule that holds it together: the name is reserved by a key of our own,
 * then the image is made, then the journal's entry, and the key that leads to
 * it stands in for the reservation last. So a key leads to a whole volume, at
 * whatever point we are killed, and ceph-csi never sees half of one. A retry
 * that finds the reservation goes through all steps again under its UUID, each
 * of which accepts what an earlier try has done (docs/JOURNAL.md).
 */
#include "controller/controller.h"
#include "controller/lane.h"
#include "controller/purge.h"
#include "controller/volume.h"

#include "base/log.h"
#include "base/rules.h"
#include "ceph/trash.h"
#include "csi.pb-c.h"
#include "csi/params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define META_MAX 5
#define LOOKUPS_MAX 5 /* races with other processes before we give up */

enum create_volume_state {
	CREATEVOL_START = 0,
	CREATEVOL_LOCKED,     /* the request name is ours in this process */
	CREATEVOL_FOUND,      /* the journal has been asked for the name */
	CREATEVOL_IMAGE_READ, /* it is there: its image was looked up */
	CREATEVOL_PLACED,     /* no such image: where name and id are */
	CREATEVOL_NOTE_READ,  /* in the trash: is it ours to purge? */
	CREATEVOL_STALE_GONE, /* its image was gone: the entry is, too */
	CREATEVOL_ROOM_KNOWN, /* the data pool is not full */
	CREATEVOL_RESERVED,   /* name, UUID and image name are ours */
	CREATEVOL_IMAGE_MADE, /* the image exists with its metadata */
	CREATEVOL_LANE_MADE,  /* the same, by librbd */
	CREATEVOL_COMMITTED,  /* entry and key are there: complete */
	CREATEVOL_OVERTAKEN,  /* by another process: what it has made */
	/* undo ladder: what this call has made, newest first */
	CREATEVOL_UNDO_COMMIT,
	CREATEVOL_UNDO_IMAGE,
	CREATEVOL_UNDO_NOTED, /* a note says that it is to be purged */
	CREATEVOL_UNDO_MOVED, /* the image is in the trash */
	CREATEVOL_UNDO_ENTRY,
	CREATEVOL_UNDONE,
	CREATEVOL_UNLOCK,
	CREATEVOL_END,
};

struct create_volume {
	struct csi_rpc rpc;
	enum create_volume_state state;
	const Csi__V1__CreateVolumeRequest *req;
	struct csi_map params;
	struct csi_class_params cls;
	uint64_t size_bytes;
	struct ceph_pool *pool, *data_pool;
	struct keylock_claim claim;
	unsigned lookups;

	struct cls_meta meta[META_MAX];
	struct image_spec spec;
	char id[RBD_ID_SIZE]; /* of the image; of the try at first */
	bool made;            /* the image is of this call, wholly */

	struct journal journal;
	struct journal_find find;
	struct journal_reserve reserve;
	struct journal_commit commit;
	struct journal_release release;
	struct rados_read *note;
	union {
		struct image_lookup lookup;
		struct image_place place;
		struct image_create create;
		struct trash_move move;
	};
	struct lane_job lane;
};

/* ---- what is asked for ---- */

static bool
is_for_context(const char *key)
{
	return !str_starts(key, "csi.storage.k8s.io/") &&
	    !str_eq(key, "topologyConstrainedPools");
}

static void
add_meta(struct create_volume *c, const char *key, const char *value)
{
	if (!str_is_empty(value))
		c->meta[c->spec.nmeta++] = (struct cls_meta){
			.key = key,
			.value = value,
			.len = strlen(value),
		};
}

static void
fill_meta(struct create_volume *c)
{
	static const char *const claim[] = {
		VOLUME_META_PVC_NAME,
		VOLUME_META_PVC_NAMESPACE,
		VOLUME_META_PV_NAME,
	};

	/* The parameters of the sidecar have the same names. */
	for (size_t i = 0; i < countof(claim); i++)
		add_meta(c, claim[i], csi_map_get(&c->params, claim[i]));
	add_meta(c, VOLUME_META_CLUSTER, c->rpc.env->cluster_name);
	add_meta(c, VOLUME_META_MOUNTER, c->cls.mounter);
	c->spec.meta = c->meta;
}

static uint8_t
order_of(uint64_t object_size)
{
	return object_size == 0 ? 0 : (uint8_t)__builtin_ctzll(object_size);
}

/* A pool that the StorageClass names and that is not there. */
static int
open_pool(struct create_volume *c, const char *param, const char *name,
    struct ceph_pool **pool, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = ceph_pool_open(controller_connection(), name,
	    c->rpc.env->rados_namespace, pool, &why);

	if (rc == -ENOENT)
		return err_set(err, ERR_INVALID_ARGUMENT, "parameters.%s: %s",
		    param, why.text);
	if (rc < 0) {
		*err = why;
		err_prefix(err, "parameters.%s: open pool %s", param, name);
	}
	return rc;
}

/*
 * What is copied to the volume_context comes back with each call of the node,
 * together with what we and external-provisioner add to it: all of it has to
 * be within the limit of a map.
 */
#define CONTEXT_SPARE 128 /* storage.kubernetes.io/csiProvisionerIdentity */

static int
check_context(const struct create_volume *c, struct err *err)
{
	const struct csi_class_params *p = &c->cls;
	const char *ns = c->rpc.env->rados_namespace;
	size_t bytes = CONTEXT_SPARE +
	    strlen("pool"
		   "journalPool") +
	    2 * strlen(p->pool) + strlen("imageName") + strlen(p->name_prefix) +
	    CSI_UUID_LEN;
	struct err why = ERR_INIT;

	if (csi_mounter_of(p->mounter) == CSI_MOUNTER_KRBD && *ns != '\0' &&
	    rules_namespace("rbd.radosNamespace of config.json", ns, &why) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "%s", why.text);
	bytes += *ns != '\0' ? strlen("radosNamespace") + strlen(ns) : 0;
	for (size_t i = 0; i < c->params.count; i++)
		if (is_for_context(csi_map_key(&c->params, i)))
			bytes += strlen(csi_map_key(&c->params, i)) +
			    strlen(csi_map_value(&c->params, i));
	if (bytes > CSI_MAP_MAX_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "parameters: make a volume_context of %zu bytes, more than "
		    "%d",
		    bytes, CSI_MAP_MAX_BYTES);
	return 0;
}

static void
tell_unknown(const struct create_volume *c)
{
	const char *key;
	size_t at = 0;

	while ((key = csi_class_params_unknown(&c->params, &at)) != NULL)
		log_warn("volume.parameter",
		    "volume=%s parameter=%s text=\"is unknown, and only copied "
		    "to the volume_context\"",
		    c->req->name, key);
}

static int
read_request(struct create_volume *c, struct err *err)
{
	struct image_spec *spec = &c->spec;
	int rc;

	c->req = c->rpc.request;
	c->params = csi_map_of(c->req, parameters);
	c->cls = c->rpc.in->class;
	c->size_bytes = c->rpc.in->size_bytes;
	if ((rc = check_context(c, err)) < 0 ||
	    (rc = open_pool(c, "pool", c->cls.pool, &c->pool, err)) < 0)
		return rc;
	if (c->cls.data_pool != NULL &&
	    (rc = open_pool(
		 c, "dataPool", c->cls.data_pool, &c->data_pool, err)) < 0)
		return rc;
	spec->size_bytes = c->size_bytes;
	spec->features = c->cls.has_features
	    ? c->cls.features
	    : ceph_connection_features(controller_connection());
	spec->layout = (struct layout){
		.order = order_of(c->cls.object_size),
		.stripe_unit = c->cls.stripe_unit,
		.stripe_count = c->cls.stripe_count,
	};
	spec->data_pool = c->data_pool;
	fill_meta(c);
	tell_unknown(c);
	return 0;
}

/* ---- the answer ---- */

static void
put_context(struct create_volume *c, Csi__V1__Volume *v, const char *key,
    const char *value)
{
	/* What the StorageClass says wins over what we say. */
	if (str_is_empty(value) || csi_map_get(&c->params, key) != NULL)
		return;
	volume_map_put(c->rpc.arena,
	    &csi__v1__volume__volume_context_entry__descriptor,
	    &v->volume_context, &v->n_volume_context, key, value);
}

static void
fill_context(struct create_volume *c, Csi__V1__Volume *v, const char *image)
{
	put_context(c, v, "pool", c->cls.pool);
	put_context(c, v, "journalPool", c->cls.pool);
	put_context(c, v, "imageName", image);
	put_context(c, v, "radosNamespace", c->rpc.env->rados_namespace);
	put_context(c, v, "dataPool", c->cls.data_pool);
	for (size_t i = 0; i < c->params.count; i++) {
		const char *key = csi_map_key(&c->params, i);

		if (!is_for_context(key))
			continue;
		volume_map_put(c->rpc.arena,
		    &csi__v1__volume__volume_context_entry__descriptor,
		    &v->volume_context, &v->n_volume_context, key,
		    csi_map_value(&c->params, i));
	}
}

static enum op_verdict
answer(struct create_volume *c, const struct ceph_pool *pool, const char *uuid,
    const char *image, uint64_t size_bytes)
{
	struct arena *arena = c->rpc.arena;
	Csi__V1__CreateVolumeResponse *reply = csi_new(
	    &csi__v1__create_volume_response__descriptor, arena);
	Csi__V1__Volume *v = csi_new(&csi__v1__volume__descriptor, arena);
	char *text = arena_new_bytes(arena, CSI_VOLUME_ID_MAX + 1);
	struct csi_volume_id id = { .pool_id = pool->id };
	struct err err = ERR_INIT;

	if (str_put(id.cluster_id, sizeof(id.cluster_id), "%s",
		c->rpc.env->cluster_id) < 0 ||
	    str_put(id.uuid, sizeof(id.uuid), "%s", uuid) < 0 ||
	    csi_volume_id_fmt(text, &id, &err) < 0)
		return op_fail(c, CREATEVOL_UNLOCK, ERR_INVALID_ARGUMENT,
		    "parameters.clusterID: %s makes no volume ID",
		    c->rpc.env->cluster_id);
	v->volume_id = text;
	v->capacity_bytes = (int64_t)size_bytes;
	fill_context(c, v, image);
	reply->volume = v;
	c->rpc.reply = reply;
	return op_goto(c, CREATEVOL_UNLOCK);
}

/* ---- the steps ---- */

static enum op_verdict
look_up(struct create_volume *c)
{
	if (c->rpc.op.detached) /* nothing of it is made: stop here */
		return op_fail(
		    c, CREATEVOL_UNLOCK, ERR_CANCELLED, "the caller is gone");
	if (c->lookups++ == LOOKUPS_MAX)
		return op_fail(c, CREATEVOL_UNLOCK, ERR_ABORTED,
		    "volume %s is being made by several processes",
		    c->req->name);
	journal_find_start(
	    &c->find, &c->journal, c->req->name, c->rpc.arena, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_FOUND);
}

static enum op_verdict
refuse_source(struct create_volume *c)
{
	return op_fail(c, CREATEVOL_UNLOCK, ERR_INVALID_ARGUMENT,
	    "volume_content_source: volumes from snapshots or other volumes "
	    "are not supported");
}

static enum op_verdict
reserve(struct create_volume *c)
{
	journal_reserve_start(&c->reserve, &c->find, c->cls.name_prefix,
	    csi_map_get(&c->params, VOLUME_META_PVC_NAMESPACE),
	    &c->rpc.op.wake);
	return op_await(c, CREATEVOL_RESERVED);
}

static enum op_verdict
judge_find(struct create_volume *c)
{
	const struct journal_item *item = &c->find.item;

	if (c->rpc.op.rc < 0)
		return op_fail_err(c, CREATEVOL_UNLOCK, &c->find.op.err);
	if (!str_is_empty(item->attr[JOURNAL_KMS]) ||
	    !str_is_empty(item->attr[JOURNAL_ENCRYPTION]))
		return op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
		    "volume %s exists and is encrypted", c->req->name);
	if (c->find.found && journal_item_is_complete(item) &&
	    !str_is_empty(item->attr[JOURNAL_IMAGEID])) {
		image_lookup_start(&c->lookup, c->find.item_pool,
		    item->attr[JOURNAL_IMAGENAME], NULL, false,
		    &c->rpc.op.wake);
		return op_await(c, CREATEVOL_IMAGE_READ);
	}
	if (c->req->volume_content_source != NULL)
		return refuse_source(c);
	if (c->rpc.op.detached)
		return op_fail(
		    c, CREATEVOL_UNLOCK, ERR_CANCELLED, "the caller is gone");
	if (c->data_pool == NULL)
		return reserve(c);
	/* Nothing is written there now; the other pool tells by itself. */
	rados_room_start(c->data_pool, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_ROOM_KNOWN);
}

/* An entry without an image: worth nothing. */
static enum op_verdict
drop_stale(struct create_volume *c)
{
	log_warn("volume.stale", "name=%s image=%s", c->req->name,
	    c->find.item.attr[JOURNAL_IMAGENAME]);
	c->release = (struct journal_release){
		.journal = c->journal,
		.item_pool = c->find.item_pool,
		.uuid = c->find.ref.uuid,
		.name = c->req->name,
	};
	journal_release_start(&c->release, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_STALE_GONE);
}

static enum op_verdict
refuse_image(struct create_volume *c, const char *why)
{
	return op_fail(c, CREATEVOL_UNLOCK, ERR_FAILED_PRECONDITION,
	    "volume %s exists as image %s, but %s; nothing is changed",
	    c->req->name, c->find.item.attr[JOURNAL_IMAGENAME], why);
}

/* The entry's image is not where the entry says. */
static enum op_verdict
judge_place(struct create_volume *c)
{
	if (c->rpc.op.rc < 0)
		return op_fail_err(c, CREATEVOL_UNLOCK, &c->place.op.err);
	switch (c->place.standing) {
	case IMAGE_GONE:
		return drop_stale(c);
	case IMAGE_IN_TRASH:
		c->note = journal_purge_read_start(c->find.item_pool,
		    c->rpc.env->instance_id, c->place.id, NULL,
		    &c->rpc.op.wake);
		return op_await(c, CREATEVOL_NOTE_READ);
	case IMAGE_STANDS:
		return refuse_image(c, "that has no header");
	case IMAGE_ELSEWHERE:
		break;
	}
	return refuse_image(c, c->place.why);
}

/* With a note a deletion was cut off; without one the image is somebody's. */
static enum op_verdict
judge_note(struct create_volume *c)
{
	int rc = c->rpc.op.rc;
	bool ours = rc == 0 && rados_read_omap_count(c->note, 0) > 0;

	rados_read_free(c->note);
	c->note = NULL;
	if (rc < 0 && rc != -ENOENT)
		return op_fail_rc(c, CREATEVOL_UNLOCK, rc,
		    "read the purge notes of %s",
		    ceph_pool_label(c->find.item_pool));
	return ours ? drop_stale(c) : refuse_image(c, "that is in the trash");
}

/* The same request, or another one for the same name? */
static enum op_verdict
judge_existing(struct create_volume *c)
{
	const Csi__V1__CapacityRange *range = c->req->capacity_range;
	const struct image_info *info = &c->lookup.info;
	const char *id = c->find.item.attr[JOURNAL_IMAGEID];

	if (c->rpc.op.rc == -ENOENT && c->req->volume_content_source != NULL)
		return refuse_source(c);
	if (c->rpc.op.rc == -ENOENT) {
		image_place_start(&c->place, c->find.item_pool,
		    c->find.item.attr[JOURNAL_IMAGENAME], id, &c->rpc.op.wake);
		return op_await(c, CREATEVOL_PLACED);
	}
	if (c->rpc.op.rc < 0)
		return op_fail_err(c, CREATEVOL_UNLOCK, &c->lookup.op.err);
	if (!str_eq(info->id, id))
		return refuse_image(c,
		    arena_fmt(
			c->rpc.arena, "that has id %s, not %s", info->id, id));
	if (c->req->volume_content_source != NULL)
		return info->parent.pool >= 0
		    ? refuse_source(c) /* it may have been made from it */
		    : op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
			  "volume %s exists and was not made from "
			  "volume_content_source",
			  c->req->name);
	if (info->size_bytes < c->size_bytes)
		return op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
		    "volume %s exists with %llu bytes, fewer than the %llu "
		    "asked for",
		    c->req->name, (unsigned long long)info->size_bytes,
		    (unsigned long long)c->size_bytes);
	if (range != NULL && range->limit_bytes > 0 &&
	    info->size_bytes > (uint64_t)range->limit_bytes)
		return op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
		    "volume %s exists with %llu bytes, above limit_bytes",
		    c->req->name, (unsigned long long)info->size_bytes);
	return answer(c, c->find.item_pool, c->find.ref.uuid,
	    c->find.item.attr[JOURNAL_IMAGENAME], info->size_bytes);
}

static enum op_verdict
make_image(struct create_volume *c)
{
	if (c->rpc.op.rc == -EAGAIN) {
		memset(&c->rpc.op.err, 0, sizeof(c->rpc.op.err));
		return look_up(c);
	}
	if (c->rpc.op.rc < 0)
		return op_fail_err(c, CREATEVOL_UNLOCK, &c->reserve.op.err);
	c->spec.name = c->reserve.item.attr[JOURNAL_IMAGENAME];
	if ((c->spec.features & ~features_created()) != 0) {
		c->lane = (struct lane_job){
			.kind = LANE_CREATE,
			.pool = c->reserve.item_pool,
			.image = c->spec.name,
			.spec = &c->spec,
		};
		lane_job_start(&c->lane, &c->rpc.op.wake);
		return op_await(c, CREATEVOL_LANE_MADE);
	}
	image_id_generate(controller_connection(), c->id);
	c->spec.id = c->id;
	image_create_start(
	    &c->create, c->reserve.item_pool, &c->spec, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_IMAGE_MADE);
}

static enum op_verdict
commit(struct create_volume *c, const char *id)
{
	if (id != c->id && str_put(c->id, sizeof(c->id), "%s", id) < 0)
		return op_fail(c, CREATEVOL_UNLOCK, ERR_INTERNAL,
		    "image %s has an id that is too long", c->spec.name);
	c->reserve.item.attr[JOURNAL_IMAGEID] = c->id;
	journal_commit_start(&c->commit, &c->reserve, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_COMMITTED);
}

static enum op_verdict
judge_created(struct create_volume *c)
{
	c->made = !c->create.adopted;
	if (c->rpc.op.rc >= 0)
		return commit(c, c->create.id);
	/*
	 * An image that was there before this call keeps its reservation.
	 * Otherwise image_create has removed what it had made, unless the
	 * cluster does not answer: the reservation leads to what is left.
	 */
	return op_fail_err(c,
	    c->made && c->rpc.op.rc != -ETIME ? CREATEVOL_UNDO_ENTRY
					      : CREATEVOL_UNLOCK,
	    &c->create.op.err);
}

static enum op_verdict
judge_commit(struct create_volume *c)
{
	if (c->rpc.op.rc == -EAGAIN) {
		journal_find_start(&c->find, &c->journal, c->req->name,
		    c->rpc.arena, &c->rpc.op.wake);
		return op_await(c, CREATEVOL_OVERTAKEN);
	}
	/*
	 * What another call has begun may be in its hands: it stays. So does
	 * what a cluster has that does not answer.
	 */
	if (c->rpc.op.rc < 0)
		return op_fail_err(c,
		    c->made && c->rpc.op.rc != -ETIME ? CREATEVOL_UNDO_COMMIT
						      : CREATEVOL_UNLOCK,
		    &c->commit.op.err);
	return answer(c, c->reserve.item_pool, c->reserve.uuid, c->spec.name,
	    c->size_bytes);
}

/* The reservation is gone: the name is a volume by now, or was given up. */
static enum op_verdict
judge_overtaken(struct create_volume *c)
{
	bool same = c->rpc.op.rc == 0 && c->find.found &&
	    str_eq(c->find.ref.uuid, c->reserve.uuid);

	if (same)
		return answer(c, c->reserve.item_pool, c->reserve.uuid,
		    c->spec.name, c->size_bytes);
	return op_fail(c,
	    c->rpc.op.rc == 0 && c->made ? CREATEVOL_UNDO_IMAGE
					 : CREATEVOL_UNLOCK,
	    ERR_ABORTED, "volume %s is being made by several processes",
	    c->req->name);
}

static void
start_undo_entry(struct create_volume *c)
{
	c->release = (struct journal_release){
		.journal = c->journal,
		.item_pool = c->reserve.item_pool,
		.uuid = c->reserve.uuid,
		.name = c->req->name,
		.reserved = c->reserve.key_value != NULL ? NULL : c->spec.name,
	};
	journal_release_start(&c->release, &c->rpc.op.wake);
}

static enum op_verdict
create_volume_step(struct op *op)
{
	struct create_volume *c = (struct create_volume *)op;
	struct err err = ERR_INIT;

	switch (c->state) {
	case CREATEVOL_START:
		if (read_request(c, &err) < 0)
			return op_fail_err(c, CREATEVOL_END, &err);
		c->journal = (struct journal){ &journal_volumes, c->pool,
			c->rpc.env->instance_id };
		purge_resume(c->pool, c->rpc.env->instance_id);
		c->claim.what = "CreateVolume";
		keylock_take_start(controller_names(), &c->claim,
		    controller_name_key(c->rpc.arena, c->pool, c->req->name),
		    &op->wake);
		return op_await(c, CREATEVOL_LOCKED);

	case CREATEVOL_LOCKED:
		return look_up(c);

	case CREATEVOL_FOUND:
		return judge_find(c);

	case CREATEVOL_IMAGE_READ:
		return judge_existing(c);

	case CREATEVOL_PLACED:
		return judge_place(c);

	case CREATEVOL_NOTE_READ:
		return judge_note(c);

	case CREATEVOL_STALE_GONE:
		if (op->rc < 0)
			return op_fail_err(
			    c, CREATEVOL_UNLOCK, &c->release.op.err);
		return look_up(c);

	case CREATEVOL_ROOM_KNOWN:
		if (op->rc < 0)
			return op_fail_rc(c, CREATEVOL_UNLOCK, op->rc,
			    "parameters.dataPool: %s",
			    ceph_pool_label(c->data_pool));
		return reserve(c);

	case CREATEVOL_RESERVED:
		return make_image(c);

	case CREATEVOL_IMAGE_MADE:
		return judge_created(c);

	case CREATEVOL_LANE_MADE:
		/* It may have been made all the same: the entry stays. */
		if (op->rc < 0)
			return op_fail_err(c, CREATEVOL_UNLOCK, &c->lane.err);
		return commit(c, c->lane.made_id);

	case CREATEVOL_COMMITTED:
		return judge_commit(c);

	case CREATEVOL_OVERTAKEN:
		return judge_overtaken(c);

	case CREATEVOL_UNDO_COMMIT:
		if (!c->commit.key_tried)
			return op_goto(c, CREATEVOL_UNDO_IMAGE);
		journal_uncommit_start(&c->reserve, &op->wake);
		return op_await(c, CREATEVOL_UNDO_IMAGE);

	case CREATEVOL_UNDO_IMAGE:
		/* While a key may lead to the volume it stays whole. */
		if (c->commit.key_tried && op->rc < 0 && op->rc != -ENOENT &&
		    op->rc != -ECANCELED && op->rc != -EAGAIN)
			return op_goto(c, CREATEVOL_UNLOCK);
		/*
		 * The note comes first, unlike in a deletion: no entry leads
		 * to an image in the trash. A note about an image that is not
		 * there is void.
		 */
		journal_purge_note_start(c->reserve.item_pool,
		    c->rpc.env->instance_id, c->id,
		    &(struct journal_purge){ .image = c->spec.name },
		    &op->wake);
		return op_await(c, CREATEVOL_UNDO_NOTED);

	case CREATEVOL_UNDO_NOTED:
		if (op->rc < 0) /* the reservation leads to what is left */
			return op_goto(c, CREATEVOL_UNLOCK);
		trash_move_start(&c->move, c->reserve.item_pool, c->spec.name,
		    c->id, &op->wake);
		return op_await(c, CREATEVOL_UNDO_MOVED);

	case CREATEVOL_UNDO_MOVED:
		if (op->rc < 0)
			return op_goto(c, CREATEVOL_UNLOCK);
		purge_submit(c->reserve.item_pool, c->rpc.env->instance_id,
		    c->id, c->spec.name);
		return op_goto(c, CREATEVOL_UNDO_ENTRY);

	case CREATEVOL_UNDO_ENTRY:
		start_undo_entry(c);
		return op_await(c, CREATEVOL_UNDONE);

	case CREATEVOL_UNDONE:
		if (op->rc < 0)
			log_warn("volume.undo", "name=%s code=%s", c->req->name,
			    err_code_name(c->release.op.err.code));
		return op_goto(c, CREATEVOL_UNLOCK);

	case CREATEVOL_UNLOCK:
		keylock_release(controller_names(), &c->claim);
		return op_goto(c, CREATEVOL_END);

	case CREATEVOL_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class create_volume_class = {
	.name = "CreateVolume",
	.step = create_volume_step,
};

const struct csi_impl create_volume_impl = {
	.cls = &create_volume_class,
	.size = sizeof(struct create_volume),
};
