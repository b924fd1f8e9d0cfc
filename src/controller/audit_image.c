/*
 * audit_image.c - see audit_image.h.
 */
#include "controller/audit_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *
audit_image_rest(const struct journal_kind *kind, const char *image,
    char uuid[JOURNAL_UUID_LEN + 1])
{
	const char *at = image + strlen(kind->image);
	struct journal_ref ref;

	if (!str_starts(image, kind->image) || strlen(at) < JOURNAL_UUID_LEN ||
	    journal_ref_parse(at, JOURNAL_UUID_LEN, &ref) < 0)
		return NULL;
	memcpy(uuid, ref.uuid, sizeof(ref.uuid));
	return at + JOURNAL_UUID_LEN;
}

static void
image_found(struct image_check *c, const char *kind, const char *text)
{
	c->found[c->n++] = (struct image_finding){ .kind = kind, .text = text };
}

/* A copy is made of a snapshot, csi-snap-UUID or IMAGE-temp, for a moment. */
static bool
is_for_copy(const char *snapshot)
{
	char uuid[JOURNAL_UUID_LEN + 1];
	const char *rest = audit_image_rest(&journal_snapshots, snapshot, uuid);

	if (rest != NULL)
		return *rest == '\0';
	rest = audit_image_rest(&journal_volumes, snapshot, uuid);
	return rest != NULL && str_eq(rest, IMAGE_HELPER_SUFFIX);
}

/* True: some are to be freed. */
static bool
judge_snapshots(struct image_check *c)
{
	const struct cls_snapshot *left = NULL;
	bool unneeded = false;

	for (size_t i = 0; i < c->snaps.n; i++) {
		const struct cls_snapshot *snap = &c->snaps.snap[i];

		if (snap->kind == SNAP_TRASH && snap->children == 0)
			unneeded = true;
		if (snap->kind == SNAP_USER && !str_eq(snap->name, c->image) &&
		    is_for_copy(snap->name))
			left = snap;
	}
	if (left != NULL)
		image_found(c, "snapshot-left",
		    arena_fmt(c->arena,
			"its snapshot %s is for a copy that is being made, or that was cut off: then creating that again, or deleting it, removes the snapshot; else `rbd snap rm` does",
			left->name));
	if (unneeded)
		image_found(c, "snapshot-unneeded",
		    "a snapshot in its trash has no clone any more: it is being freed, or that was cut off; repair frees it");
	return unneeded && c->repair;
}

/* Is a record that of an image, or a volume, other than this one? */
static bool
is_foreign_record(const struct image_check *c, const char *key)
{
	static const struct {
		const char *prefix;
		bool by_image; /* its id, else the volume's, follows */
	} records[] = {
		{ VOLUME_META_PUBLISHED, true },
		{ VOLUME_META_CLIENT, true },
		{ VOLUME_META_USER, false },
		{ VOLUME_META_ADDRESS, false },
	};

	for (size_t i = 0; i < countof(records); i++) {
		const char *of = key + strlen(records[i].prefix);
		const char *wanted = records[i].by_image ? c->id : c->uuid;
		size_t len;

		if (!str_starts(key, records[i].prefix))
			continue;
		/* A volume's ID ends with the UUID. */
		len = strcspn(of, "/");
		if (!records[i].by_image && len > strlen(wanted)) {
			of += len - strlen(wanted);
			len = strlen(wanted);
		}
		return len != strlen(wanted) || memcmp(of, wanted, len) != 0;
	}
	return false;
}

/* librbd copies metadata to clones: who has the one has not the other. */
static bool
remove_foreign(struct image_check *c)
{
	const char **keys = arena_new_bytes(
	    c->arena, (c->meta.n + 1) * sizeof(*keys));
	size_t n = 0;

	for (size_t i = 0; i < c->meta.n; i++)
		if (is_foreign_record(c, c->meta.meta[i].key))
			keys[n++] = c->meta.meta[i].key;
	if (n == 0)
		return false;
	image_found(c, "stale-record",
	    arena_fmt(c->arena,
		"its metadata say who has the volume that they were copied from: %s%s; repair removes them",
		keys[0], n > 1 ? " and others" : ""));
	if (c->repair)
		image_meta_remove_start(c->pool, c->id, keys, n, &c->op.wake);
	return c->repair;
}

static enum op_verdict
image_check_step(struct op *op)
{
	struct image_check *c = (struct image_check *)op;

	switch (c->state) {
	case IMAGECHECK_START:
		snapshot_list_start(&c->snaps, c->pool, c->id, &op->wake);
		return op_await(c, IMAGECHECK_LISTED);

	case IMAGECHECK_LISTED:
		if (op->rc == -ENOENT) /* has just been deleted */
			return op_goto(c, IMAGECHECK_END);
		if (op->rc < 0)
			return op_fail_as(c, IMAGECHECK_END, snaps.op);
		if (!judge_snapshots(c))
			return op_goto(c, IMAGECHECK_RECORDS);
		snapshot_reap_start(c->pool, c->id, &op->wake);
		return op_await(c, IMAGECHECK_REAPED);

	case IMAGECHECK_REAPED:
		c->found[c->n - 1].repaired = true;
		return op_goto(c, IMAGECHECK_RECORDS);

	case IMAGECHECK_RECORDS:
		image_meta_list_start(&c->meta, c->pool, c->id, 0, &op->wake);
		return op_await(c, IMAGECHECK_READ);

	case IMAGECHECK_READ:
		if (op->rc == -ENOENT)
			return op_goto(c, IMAGECHECK_END);
		if (op->rc < 0)
			return op_fail_as(c, IMAGECHECK_END, meta);
		return remove_foreign(c) ? op_await(c, IMAGECHECK_MENDED)
					 : op_goto(c, IMAGECHECK_END);

	case IMAGECHECK_MENDED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(c, IMAGECHECK_END, op->rc,
			    "remove records of image %s in %s", c->image,
			    ceph_pool_label(c->pool));
		c->found[c->n - 1].repaired = op->rc == 0;
		return op_goto(c, IMAGECHECK_END);

	case IMAGECHECK_END:
		snapshot_list_fini(&c->snaps);
		image_meta_list_fini(&c->meta);
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_check_class = {
	.name = "image.check",
	.step = image_check_step,
};

void
image_check_start(struct image_check *c, struct wake *waiter)
{
	op_start(&c->op, &image_check_class, waiter);
}
