/*
 * create_volume.c - CreateVolume: of a new, empty volume, or of one that is a
 * copy of a snapshot or a volume.
 *
 * The rule that holds it together: the name is reserved by a key of our own,
 * then the image is made, then the journal's entry, and the key that leads to
 * it stands in for the reservation last. So a key leads to a whole volume, at
 * whatever point we are killed, and ceph-csi never sees half of one. A retry
 * that finds the reservation goes through all steps again under its UUID, each
 * of which accepts what an earlier try has done (docs/JOURNAL.md). What a copy
 * is to be made of is judged before the name is reserved.
 */
#include "controller/clone_helper.h"
#include "controller/controller.h"
#include "controller/depth.h"
#include "controller/entry.h"
#include "controller/pool_choice.h"
#include "controller/purge.h"
#include "controller/volume_key.h"

#include "base/log.h"
#include "base/rules.h"
#include "ceph/trash.h"
#include "csi.pb-c.h"
#include "csi/params.h"

#include <errno.h>
#include <string.h>

#define META_MAX 5
#define LOOKUPS_MAX 5 /* races with other processes before we give up */

enum create_volume_state {
	CREATEVOL_START = 0,
	CREATEVOL_POOL_CHOSEN, /* pool and data pool are known */
	CREATEVOL_LOCKED,      /* the request name is ours in this process */
	CREATEVOL_LOOK_UP,     /* nothing is known of the name (any more) */
	CREATEVOL_FOUND,       /* the journal has been asked for the name */
	CREATEVOL_COMPARED,    /* it is there: was it made of the source? */
	/* making it */
	CREATEVOL_SOURCE_READ, /* what it is to be a copy of is known */
	CREATEVOL_SOURCE_DONE, /* and may be copied, or it is to be empty */
	CREATEVOL_ROOM_KNOWN,  /* the data pool, if there is one, is not full */
	CREATEVOL_RESERVED,    /* name, UUID and image name are ours */
	CREATEVOL_HELPER_MADE, /* the copy of a volume has a helper */
	CREATEVOL_IMAGE,       /* all that it is made of is there */
	CREATEVOL_KEYED,       /* its key is kept, or it has none */
	CREATEVOL_IMAGE_MADE,  /* the image exists with its metadata */
	CREATEVOL_IMAGE_DONE,  /* its id is known */
	CREATEVOL_COMMITTED,   /* entry and key are there: complete */
	CREATEVOL_OVERTAKEN,   /* by another process: what it has made */
	CREATEVOL_ANSWER,      /* the volume is there */
	/* undo ladder: what was made, newest first */
	CREATEVOL_UNDO,
	CREATEVOL_UNDO_MARKED, /* nobody makes it or commits it any more */
	CREATEVOL_UNDO_NAMED,  /* the name leads to whatever is left of it */
	CREATEVOL_UNDO_IMAGE,
	CREATEVOL_UNDO_NOTED, /* a note says that it is to be purged */
	CREATEVOL_UNDO_MOVED, /* the image is in the trash, or has no name */
	CREATEVOL_UNDO_HELPER,
	CREATEVOL_UNDO_HELPED, /* the helper is in the trash, or none was made */
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
	const struct csi_class_params *cls;
	struct pool_choice choice;
	struct ceph_pool *pool, *data_pool; /* of the choice */
	struct keylock_claim claim;
	unsigned lookups;

	struct cls_meta meta[META_MAX]; /* its own */
	size_t nmeta;
	struct image_spec spec;
	struct wakes making;  /* image and entry */
	char id[RBD_ID_SIZE]; /* of the image; of the try at first */
	bool is_made;         /* wholly: it is undone as a deletion is */
	bool is_left;         /* not wholly, and some of it may be there */

	/* what it is to be a copy of */
	const char *source_id; /* NULL: of nothing */
	struct volume_source source;
	struct depth_check depth;
	struct image_spec helper_spec;
	struct helper_make helper; /* of the copy of a volume */
	struct volume_key key;

	struct journal journal;
	struct entry_find entry;
	struct journal_reserve reserve;
	struct journal_commit commit;
	struct journal_release release;
	struct trash_plan plan; /* of what is undone */
	union {
		struct image_job job;
		struct trash_move move;
		struct helper_undo helper_undo;
	};

	/* what is answered */
	Csi__V1__Volume *volume;
	struct ceph_pool *at;
	const char *uuid, *image;
	uint64_t bytes;
};

/* ---- what is asked for ---- */

/*
 * What is copied to the volume_context comes back with each call of the node,
 * together with what we and external-provisioner add to it: all of it has to
 * be within the limit of a map.
 */
#define CONTEXT_SPARE 128 /* storage.kubernetes.io/csiProvisionerIdentity */

/* Pools by topology stand in for those that the StorageClass names. */
static bool
is_replaced(const struct create_volume *c, const char *key)
{
	return c->choice.topology != NULL &&
	    (str_eq(key, "pool") || str_eq(key, "dataPool"));
}

/* What the StorageClass says wins over what we say. */
static void
put_context(struct create_volume *c, const char *key, const char *value)
{
	if (!str_is_empty(value) &&
	    (csi_map_get(&c->params, key) == NULL || is_replaced(c, key)))
		volume_map_put(
		    c->rpc.arena, c->volume, "volume_context", key, value);
}

/* All of the volume_context but the image's name, which is not known yet. */
static int
make_context(struct create_volume *c, struct err *err)
{
	const struct csi_class_params *p = c->cls;
	const char *ns = c->rpc.env->rados_namespace;
	size_t bytes = CONTEXT_SPARE + strlen("imageName") +
	    strlen(p->name_prefix) + CSI_UUID_LEN;
	struct err why = ERR_INIT;
	struct csi_map map;

	if (csi_mounter_of(p->mounter) == CSI_MOUNTER_KRBD && *ns != '\0' &&
	    rules_name("rbd.radosNamespace of config.json", ns, RULES_NAMESPACE,
		&why) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "%s", why.text);
	c->volume = csi_new(&csi__v1__volume__descriptor, c->rpc.arena);
	put_context(c, "pool", c->choice.pool_name);
	put_context(c, "journalPool", c->choice.pool_name);
	put_context(c, "radosNamespace", ns);
	put_context(c, "dataPool", c->choice.data_pool_name);
	for (size_t i = 0; i < c->params.count; i++) {
		const char *key = csi_map_key(&c->params, i);

		if (csi_param_travels(key) && !is_replaced(c, key))
			volume_map_put(c->rpc.arena, c->volume,
			    "volume_context", key,
			    csi_map_value(&c->params, i));
	}
	if (c->choice.topology != NULL) {
		c->volume->n_accessible_topology = 1;
		c->volume->accessible_topology = &c->choice.topology;
	}
	map = csi_map_of(c->volume, volume_context);
	for (size_t i = 0; i < map.count; i++)
		bytes += strlen(csi_map_key(&map, i)) +
		    strlen(csi_map_value(&map, i));
	if (bytes > CSI_MAP_MAX_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "parameters: make a volume_context of %zu bytes, more than %d",
		    bytes, CSI_MAP_MAX_BYTES);
	return 0;
}

static int
read_create_request(struct create_volume *c, struct err *err)
{
	const struct csi_class_params *cls = c->cls = &c->rpc.in->class;
	struct image_spec *spec = &c->spec;
	/* The parameters of the sidecar have the same names. */
	const struct {
		const char *key, *value;
	} meta[META_MAX] = {
		{ VOLUME_META_PVC_NAME, NULL },
		{ VOLUME_META_PVC_NAMESPACE, NULL },
		{ VOLUME_META_PV_NAME, NULL },
		{ VOLUME_META_CLUSTER, c->rpc.env->cluster_name },
		{ VOLUME_META_MOUNTER, cls->mounter },
	};
	const char *key, *value;
	size_t at = 0;

	c->source_id = c->rpc.in->id_text;
	c->req = c->rpc.request;
	c->params = csi_map_of(c->req, parameters);
	c->pool = c->choice.pool;
	c->data_pool = c->choice.data_pool;
	c->journal = (struct journal){ &journal_volumes, c->pool,
		c->rpc.env->instance_id };
	if (make_context(c, err) < 0 ||
	    (cls->encrypted && kms_check(cls->kms_id, err) < 0))
		return err->rc;
	*spec = (struct image_spec){
		.size_bytes = c->rpc.in->size_bytes,
		.features = cls->has_features
		    ? cls->features
		    : ceph_connection_features(controller.conn),
		.layout = {
			.order = cls->object_size == 0
			    ? 0
			    : (uint8_t)__builtin_ctzll(cls->object_size),
			.stripe_unit = cls->stripe_unit,
			.stripe_count = cls->stripe_count,
		},
		.data_pool = c->data_pool,
		.meta = c->meta,
		.reserve = &c->reserve,
	};
	for (size_t i = 0; i < META_MAX; i++) {
		value = meta[i].value != NULL
		    ? meta[i].value
		    : csi_map_get(&c->params, meta[i].key);
		if (!str_is_empty(value))
			c->meta[c->nmeta++] = cls_meta_text(meta[i].key, value);
	}
	spec->nmeta = c->nmeta;
	while ((key = csi_class_params_unknown(&c->params, &at)) != NULL)
		log_warn("volume.parameter",
		    "volume=%s parameter=%s text=\"is unknown, and only copied to the volume_context\"",
		    c->req->name, key);
	return 0;
}

/*
 * The limits that are asked for, beside those that the image's metadata have
 * already, for the size that it is to have.
 */
static void
add_limits(struct create_volume *c)
{
	struct image_spec *spec = &c->spec;
	struct csi_qos has = { .given = { NULL } };
	struct csi_qos_meta limit[CSI_QOS_KEYS];
	struct cls_meta meta[CSI_QOS_KEYS];
	size_t n;

	for (size_t i = 0; i < spec->nmeta; i++)
		csi_qos_take(&has, spec->meta[i].key, spec->meta[i].value);
	n = csi_qos_diff(
	    &has, &c->rpc.in->qos, spec->size_bytes, c->rpc.arena, limit);
	for (size_t j = 0; j < n; j++)
		meta[j] = cls_meta_text(limit[j].key, limit[j].value);
	spec->meta = volume_meta_join(
	    c->rpc.arena, spec->meta, spec->nmeta, meta, n, &spec->nmeta);
}

/* ---- what it is to be a copy of ---- */

/* As much as is asked for, and at least what is copied. */
static int
fit_size(struct create_volume *c, uint64_t copied, struct err *err)
{
	const Csi__V1__CapacityRange *range = c->req->capacity_range;

	c->spec.size_bytes = c->rpc.in->size_bytes;
	if (c->spec.size_bytes >= copied)
		return 0;
	if (range != NULL && range->required_bytes > 0)
		return err_set(err, ERR_OUT_OF_RANGE,
		    "capacity_range.required_bytes: %llu bytes are fewer than the %llu of the volume_content_source",
		    (unsigned long long)c->spec.size_bytes,
		    (unsigned long long)copied);
	if (range != NULL && range->limit_bytes > 0 &&
	    copied > (uint64_t)range->limit_bytes)
		return err_set(err, ERR_OUT_OF_RANGE,
		    "capacity_range.limit_bytes: is below the %llu bytes of the volume_content_source",
		    (unsigned long long)copied);
	c->spec.size_bytes = copied;
	return 0;
}

/*
 * Features and size of objects are those of the image that is cloned unless
 * the StorageClass names some: of the snapshot's, or of the helper, which has
 * no more than it needs if the class names none. Its metadata come along, too.
 */
static int
fit_source(struct create_volume *c, struct err *err)
{
	const struct volume_source *source = &c->source;
	const struct image_info *info = source->found.info;
	struct cls_meta *meta = arena_new_bytes(
	    c->rpc.arena, (c->nmeta + source->nmeta + 1) * sizeof(*meta));

	if (!c->cls->has_features)
		c->spec.features = source->is_snapshot
		    ? info->features & features_created()
		    : HELPER_FEATURES;
	if (!(c->spec.features & RBD_LAYERING))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "parameters.imageFeatures: a copy needs layering");
	if (c->spec.layout.order == 0)
		c->spec.layout.order = info->layout.order;
	memcpy(meta, c->meta, c->nmeta * sizeof(*meta));
	memcpy(meta + c->nmeta, source->meta, source->nmeta * sizeof(*meta));
	c->spec.meta = meta;
	c->spec.nmeta = c->nmeta + source->nmeta;
	c->spec.parent = &source->parent;
	c->spec.overlap = source->size_bytes;
	return fit_size(c, source->size_bytes, err);
}

/* The id of the image that is copied, or NULL. */
static const char *
source_image(const struct create_volume *c)
{
	return c->source_id != NULL ? c->source.found.info->id : NULL;
}

/* ---- judging a volume of this name ---- */

/* The same request, or another one for the same name? */
static int
check_existing(const struct create_volume *c, struct err *err)
{
	const Csi__V1__CapacityRange *range = c->req->capacity_range;
	const struct image_info *info = &c->entry.lookup.info;
	const char *from = c->entry.find.item.attr[JOURNAL_SOURCE];

	if (from != NULL ? !str_eq(from, c->source_id)
			 : (c->source_id != NULL) != (info->parent.pool >= 0))
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s exists and was made from %s, not from %s",
		    c->req->name,
		    from != NULL                 ? from
			: info->parent.pool >= 0 ? "a source"
						 : "nothing that still shows",
		    c->source_id != NULL ? c->source_id : "nothing");
	if (info->size_bytes < c->spec.size_bytes)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s exists with %llu bytes, fewer than the %llu asked for",
		    c->req->name, (unsigned long long)info->size_bytes,
		    (unsigned long long)c->spec.size_bytes);
	if (range != NULL && range->limit_bytes > 0 &&
	    info->size_bytes > (uint64_t)range->limit_bytes)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s exists with %llu bytes, above limit_bytes",
		    c->req->name, (unsigned long long)info->size_bytes);
	return 0;
}

/* ---- the answer ---- */

static int
fill_reply(struct create_volume *c, struct err *err)
{
	Csi__V1__CreateVolumeResponse *reply;

	c->volume->volume_id = volume_id_make(&c->rpc, c->at, c->uuid, err);
	if (c->volume->volume_id == NULL)
		return err->rc;
	c->volume->capacity_bytes = (int64_t)c->bytes;
	c->volume->content_source = c->req->volume_content_source;
	put_context(c, "imageName", c->image);
	reply = csi_rpc_reply(&c->rpc);
	reply->volume = c->volume;
	return 0;
}

/* ---- the steps ---- */

static void
look_up_start(struct create_volume *c)
{
	entry_find_start(&c->entry, &c->rpc, &c->journal, c->req->name, c->cls,
	    &c->rpc.op.wake);
}

static enum op_verdict
create_undo_step(struct create_volume *c)
{
	const char *instance_id = c->rpc.env->instance_id;
	struct ceph_pool *pool = c->reserve.item_pool;
	struct op *op = &c->rpc.op;
	char map[RBD_OBJECT_SIZE];

	switch ((int)c->state) {
	case CREATEVOL_UNDO:
		entry_undo_start(&c->reserve, &c->spec, &op->err, &op->wake);
		return op_await(c, CREATEVOL_UNDO_MARKED);

	case CREATEVOL_UNDO_MARKED:
		/* A key may lead to it, or others go on with it: it stays. */
		if (op->rc < 0)
			return err_is_set(&op->err)
			    ? op_goto(c, CREATEVOL_UNLOCK)
			    : op_goto(c, CREATEVOL_LOOK_UP);
		if (c->is_made)
			return op_goto(c, CREATEVOL_UNDO_IMAGE);
		if (c->reserve.fresh && !c->is_left)
			return op_goto(c, CREATEVOL_UNDO_HELPER);
		/* Its own undo was cut off: any part may be left. */
		image_list_start(pool, c->spec.name, c->id, &op->wake);
		return op_await(c, CREATEVOL_UNDO_NAMED);

	case CREATEVOL_UNDO_NAMED:
		if (op->rc == -ENOENT)
			return op_fail(c, CREATEVOL_UNLOCK, ERR_NOT_FOUND,
			    "%s: no such RADOS namespace",
			    ceph_pool_label(pool));
		if (op->rc < 0 && op->rc != -EEXIST)
			return op_fail_rc(c, CREATEVOL_UNLOCK, op->rc,
			    "volume %s: remove what is left of image %s",
			    c->req->name, c->spec.name);
		if (c->source_id == NULL || !c->source.is_snapshot)
			return op_goto(c, CREATEVOL_UNDO_IMAGE);
		parent_detach_start(c->source.found.pool, &c->source.parent,
		    pool, c->id, &op->wake);
		return op_await(c, CREATEVOL_UNDO_IMAGE);

	case CREATEVOL_UNDO_IMAGE:
		c->plan.instance_id = instance_id;
		op->rc = 0;
		if (c->source_id == NULL)
			return op_goto(c, CREATEVOL_UNDO_NOTED);
		/* A clone's note does not come with its trash entry. */
		journal_purge_note_start(pool, instance_id, c->id,
		    &(struct journal_purge){ .image = c->spec.name },
		    &op->wake);
		return op_await(c, CREATEVOL_UNDO_NOTED);

	case CREATEVOL_UNDO_NOTED:
		/* From here on the reservation leads to what is left. */
		if (op->rc < 0)
			return op_fail_rc(c, CREATEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", c->spec.name);
		trash_move_start(
		    &c->move, pool, c->spec.name, c->id, &c->plan, &op->wake);
		return op_await(c, CREATEVOL_UNDO_MOVED);

	case CREATEVOL_UNDO_MOVED:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, move.op);
		purge_submit(pool, instance_id, c->id, c->spec.name, &c->move);
		if (c->move.had_header)
			return op_goto(c, CREATEVOL_UNDO_HELPER);
		/* Its map may be there all the same, and nothing leads to it. */
		image_object(map, RBD_OBJECT_MAP_PREFIX, c->id);
		rados_remove_start(pool, map, &op->wake);
		return op_await(c, CREATEVOL_UNDO_HELPER);

	case CREATEVOL_UNDO_HELPER:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(c, CREATEVOL_UNLOCK, op->rc,
			    "remove the object map of image %s", c->spec.name);
		if (c->helper.source == NULL)
			return op_goto(c, CREATEVOL_UNDO_ENTRY);
		helper_undo_start(&c->helper_undo, &c->helper,
		    c->reserve.fresh && !c->is_left ? NULL : c->id, instance_id,
		    &op->wake);
		return op_await(c, CREATEVOL_UNDO_HELPED);

	case CREATEVOL_UNDO_HELPED:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, helper_undo.op);
		return op_goto(c, CREATEVOL_UNDO_ENTRY);

	case CREATEVOL_UNDO_ENTRY:
		entry_release_start(
		    &c->release, &c->reserve, c->req->name, &op->wake);
		return op_await(c, CREATEVOL_UNDONE);

	case CREATEVOL_UNDONE:
		if (op->rc < 0)
			log_warn("volume.undo", "name=%s code=%s", c->req->name,
			    err_code_name(c->release.op.err.code));
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, release.op);
		/* What was in the way is gone: from the begin. */
		return err_is_set(&op->err) ? op_goto(c, CREATEVOL_UNLOCK)
					    : op_goto(c, CREATEVOL_LOOK_UP);

	case CREATEVOL_UNLOCK:
		keylock_release(controller.names, &c->claim);
		return op_goto(c, CREATEVOL_END);

	default:
		return OP_DONE;
	}
}

/* No such volume: makes its image. */
static enum op_verdict
create_image_step(struct create_volume *c)
{
	struct op *op = &c->rpc.op;
	struct err err = ERR_INIT;

	switch ((int)c->state) {
	case CREATEVOL_SOURCE_READ:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, source.op);
		if (fit_source(c, &err) < 0)
			return op_fail_err(c, CREATEVOL_UNLOCK, &err);
		if (c->entry.find.found || c->entry.find.is_reserved)
			return op_goto(c, CREATEVOL_SOURCE_DONE);
		c->depth = (struct depth_check){
			.env = c->rpc.env,
			.arena = c->rpc.arena,
			.pool = c->source.found.pool,
			.image = c->source.found.image,
			.info = c->source.found.info,
			.is_snapshot = c->source.is_snapshot,
		};
		depth_check_start(&c->depth, &op->wake);
		return op_await(c, CREATEVOL_SOURCE_DONE);

	case CREATEVOL_SOURCE_DONE:
		if (c->source_id != NULL && op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, depth.op);
		if (c->entry.find.is_reserved &&
		    !str_eq(c->entry.find.reserved.source, source_image(c)))
			return op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
			    "volume %s is half made, of another source",
			    c->req->name);
		if (op->detached)
			return op_fail(c, CREATEVOL_UNLOCK, ERR_CANCELLED,
			    "the caller is gone");
		if (c->data_pool == NULL)
			return op_goto(c, CREATEVOL_ROOM_KNOWN);
		/* Nothing is written there now; the other pool tells itself. */
		rados_room_start(c->data_pool, RADOS_OURS, &op->wake);
		return op_await(c, CREATEVOL_ROOM_KNOWN);

	case CREATEVOL_ROOM_KNOWN:
		if (op->rc < 0)
			return op_fail_rc(c, CREATEVOL_UNLOCK, op->rc,
			    "parameters.dataPool: %s",
			    ceph_pool_label(c->data_pool));
		journal_reserve_start(&c->reserve, &c->entry.find,
		    c->cls->name_prefix,
		    csi_map_get(&c->params, VOLUME_META_PVC_NAMESPACE),
		    source_image(c), &op->wake);
		return op_await(c, CREATEVOL_RESERVED);

	case CREATEVOL_RESERVED:
		if (op->rc == -EAGAIN)
			return op_goto(c, CREATEVOL_LOOK_UP);
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, reserve);
		c->spec.name = c->reserve.item.attr[JOURNAL_IMAGENAME];
		c->reserve.item.attr[JOURNAL_SOURCE] = c->source_id;
		c->is_made = c->is_left = false;
		image_id_of(c->reserve.uuid, c->id);
		if (c->source_id == NULL || c->source.is_snapshot)
			return c->reserve.marked ? op_goto(c, CREATEVOL_UNDO)
						 : op_goto(c, CREATEVOL_IMAGE);
		c->helper_spec = (struct image_spec){
			.name = arena_fmt(c->rpc.arena,
			    "%s" IMAGE_HELPER_SUFFIX, c->spec.name),
			.features = c->cls->features,
			.layout = c->spec.layout,
			.data_pool = c->spec.data_pool,
			.meta = c->source.meta,
			.nmeta = c->source.nmeta,
			.reserve = &c->reserve,
		};
		c->helper = (struct helper_make){
			.source = &c->source,
			.pool = c->reserve.item_pool,
			.like = &c->helper_spec,
			.snapshot = c->spec.name,
			.is_resumed = c->entry.find.found ||
			    c->entry.find.is_reserved,
		};
		if (c->reserve.marked)
			return op_goto(c, CREATEVOL_UNDO);
		helper_make_start(&c->helper, &op->wake);
		return op_await(c, CREATEVOL_HELPER_MADE);

	case CREATEVOL_HELPER_MADE:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNDO, helper.op);
		c->spec.parent = &c->helper.parent;
		c->spec.overlap = c->helper.size_bytes;
		if (fit_size(c, c->helper.size_bytes, &err) < 0)
			return op_fail_err(c, CREATEVOL_UNDO, &err);
		return op_goto(c, CREATEVOL_IMAGE);

	case CREATEVOL_IMAGE:
		add_limits(c);
		if (!c->cls->encrypted)
			return op_goto(c, CREATEVOL_KEYED);
		volume_key_start(&c->key, &c->rpc, c->cls->kms_id,
		    c->source_id != NULL ? &c->source : NULL, &c->spec,
		    &c->reserve, &op->wake);
		return op_await(c, CREATEVOL_KEYED);

	case CREATEVOL_KEYED:
		if (err_is_set(&c->key.op.err))
			return op_fail_as(c, CREATEVOL_UNDO, key.op);
		if (c->reserve.key_value != NULL)
			image_id_generate(controller.conn, c->id);
		c->spec.id = c->id;
		c->spec.fresh = c->reserve.fresh;
		c->reserve.item.attr[JOURNAL_IMAGEID] = c->id;
		c->job = (struct image_job){
			.kind = IMAGE_JOB_CLONE,
			.pool = c->reserve.item_pool,
			.spec = &c->spec,
		};
		wakes_init(&c->making, &op->wake);
		image_job_start(&c->job, wakes_add(&c->making));
		if (c->reserve.fresh)
			journal_item_start(&c->reserve, wakes_add(&c->making));
		return op_await(c, CREATEVOL_IMAGE_MADE);

	case CREATEVOL_IMAGE_MADE:
		if (!err_is_set(&c->job.op.err)) {
			memcpy(c->id, c->job.made_id, sizeof(c->id));
			c->is_made = true;
			return op_goto(c, CREATEVOL_IMAGE_DONE);
		}
		c->is_left = c->job.left;
		return op_fail_as(c, CREATEVOL_UNDO, job.op);

	default:
		return OP_DONE;
	}
}

/* The image is there: makes a volume of it. */
static enum op_verdict
create_commit_step(struct create_volume *c)
{
	struct op *op = &c->rpc.op;
	struct err err = ERR_INIT;

	switch ((int)c->state) {
	case CREATEVOL_IMAGE_DONE:
		c->reserve.item.attr[JOURNAL_IMAGEID] = c->id;
		journal_commit_start(&c->commit, &c->reserve, &op->wake);
		return op_await(c, CREATEVOL_COMMITTED);

	case CREATEVOL_COMMITTED:
		if (op->rc == -EAGAIN) {
			look_up_start(c);
			return op_await(c, CREATEVOL_OVERTAKEN);
		}
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNDO, commit.op);
		return op_goto(c, CREATEVOL_ANSWER);

	case CREATEVOL_OVERTAKEN:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, entry.op);
		return entry_overtaken(&c->entry.find, &c->reserve)
		    ? op_goto(c, CREATEVOL_FOUND)
		    : op_goto(c, CREATEVOL_UNDO);

	case CREATEVOL_ANSWER:
		if (c->at == NULL) { /* it is new */
			c->at = c->reserve.item_pool;
			c->uuid = c->reserve.uuid;
			c->image = c->spec.name;
			c->bytes = c->spec.size_bytes;
		}
		if (fill_reply(c, &err) < 0)
			return op_fail_err(c, CREATEVOL_UNLOCK, &err);
		return op_goto(c, CREATEVOL_UNLOCK);

	default:
		return OP_DONE;
	}
}

/* There is a volume of the name: is it what is asked for? */
static enum op_verdict
create_existing_step(struct create_volume *c)
{
	const struct journal_find *find = &c->entry.find;
	struct err err = ERR_INIT;

	if (check_existing(c, &err) < 0)
		return op_fail_err(c, CREATEVOL_UNLOCK, &err);
	c->at = find->item_pool;
	c->uuid = find->ref.uuid;
	c->image = find->item.attr[JOURNAL_IMAGENAME];
	c->bytes = c->entry.lookup.info.size_bytes;
	if (c->source_id == NULL || find->item.attr[JOURNAL_SOURCE] != NULL)
		return op_goto(c, CREATEVOL_ANSWER);
	volume_source_start(&c->source, &c->rpc, c->at, c->image,
	    &c->entry.lookup.info, &c->rpc.op.wake);
	return op_await(c, CREATEVOL_COMPARED);
}

static enum op_verdict
create_volume_step(struct op *op)
{
	struct create_volume *c = (struct create_volume *)op;
	struct err err = ERR_INIT;

	switch (c->state) {
	case CREATEVOL_START:
		pool_choice_start(&c->choice, &c->rpc, &op->wake);
		return op_await(c, CREATEVOL_POOL_CHOSEN);

	case CREATEVOL_POOL_CHOSEN:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_END, choice.op);
		if (read_create_request(c, &err) < 0)
			return op_fail_err(c, CREATEVOL_END, &err);
		controller_resume(c->pool, c->rpc.env->instance_id);
		controller_name_take_start(
		    &c->claim, &c->rpc, &c->journal, c->req->name, &op->wake);
		return op_await(c, CREATEVOL_LOCKED);

	case CREATEVOL_LOCKED:
		if (op->detached || journal_may_know(&c->journal, c->req->name))
			return op_goto(c, CREATEVOL_LOOK_UP);
		/* Most names are new: the reservation tells if this one is. */
		entry_find_none(&c->entry, &c->rpc, &c->journal, c->req->name);
		op->rc = 0;
		return op_goto(c, CREATEVOL_FOUND);

	case CREATEVOL_LOOK_UP:
		if (op->detached) /* nothing of it is made: stop here */
			return op_fail(c, CREATEVOL_UNLOCK, ERR_CANCELLED,
			    "the caller is gone");
		if (c->lookups++ == LOOKUPS_MAX)
			return op_fail(c, CREATEVOL_UNLOCK, ERR_ABORTED,
			    "volume %s is being made by several processes",
			    c->req->name);
		if (c->source_id == NULL) { /* an earlier try has added some */
			c->spec.meta = c->meta;
			c->spec.nmeta = c->nmeta;
		}
		look_up_start(c);
		return op_await(c, CREATEVOL_FOUND);

	case CREATEVOL_FOUND:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, entry.op);
		if (c->entry.stands)
			return create_existing_step(c);
		if (c->source_id == NULL)
			return op_goto(c, CREATEVOL_SOURCE_DONE);
		volume_source_start(
		    &c->source, &c->rpc, NULL, NULL, NULL, &op->wake);
		return op_await(c, CREATEVOL_SOURCE_READ);

	case CREATEVOL_COMPARED:
		if (op->rc < 0)
			return op_fail_as(c, CREATEVOL_UNLOCK, source.op);
		if (!c->source.is_origin)
			return op_fail(c, CREATEVOL_UNLOCK, ERR_ALREADY_EXISTS,
			    "volume %s exists and was not made from %s",
			    c->req->name, c->source_id);
		return op_goto(c, CREATEVOL_ANSWER);

	case CREATEVOL_SOURCE_READ:
	case CREATEVOL_SOURCE_DONE:
	case CREATEVOL_ROOM_KNOWN:
	case CREATEVOL_RESERVED:
	case CREATEVOL_HELPER_MADE:
	case CREATEVOL_IMAGE:
	case CREATEVOL_KEYED:
	case CREATEVOL_IMAGE_MADE:
		return create_image_step(c);

	case CREATEVOL_IMAGE_DONE:
	case CREATEVOL_COMMITTED:
	case CREATEVOL_OVERTAKEN:
	case CREATEVOL_ANSWER:
		return create_commit_step(c);

	case CREATEVOL_UNDO:
	case CREATEVOL_UNDO_MARKED:
	case CREATEVOL_UNDO_NAMED:
	case CREATEVOL_UNDO_IMAGE:
	case CREATEVOL_UNDO_NOTED:
	case CREATEVOL_UNDO_MOVED:
	case CREATEVOL_UNDO_HELPER:
	case CREATEVOL_UNDO_HELPED:
	case CREATEVOL_UNDO_ENTRY:
	case CREATEVOL_UNDONE:
	case CREATEVOL_UNLOCK:
	case CREATEVOL_END:
		return create_undo_step(c);
	}
	abort();
}

static void
create_volume_end(struct op *op)
{
	volume_source_fini(&((struct create_volume *)op)->source);
}

static const struct op_class create_volume_class = {
	.name = "CreateVolume",
	.step = create_volume_step,
	.end = create_volume_end,
};

const struct csi_impl create_volume_impl = {
	.cls = &create_volume_class,
	.size = sizeof(struct create_volume),
};
