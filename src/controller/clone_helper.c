/*
 * clone_helper.c - making, undoing and freeing the helper of a clone.
 */
#include "controller/clone_helper.h"

#include "ceph/trash.h"
#include "controller/purge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 5 /* to make one, while another process is at it */

/* ---- make ---- */

static const struct cls_snapshot *
snapshot_of_id(const struct snapshot_list *list, uint64_t id)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->snap[i].id == id)
			return &list->snap[i];
	return NULL;
}

/* Of the volume (`id` its own), or of the helper. */
static void
make_job_start(struct helper_make *m, enum image_job_kind kind,
    struct ceph_pool *pool, const char *id, const char *snapshot,
    struct wake *waiter)
{
	m->job = (struct image_job){
		.kind = kind,
		.pool = pool,
		.image_id = id,
		.snapshot = snapshot,
	};
	if (kind == IMAGE_JOB_CLONE)
		m->job.spec = &m->spec;
	if (kind == IMAGE_JOB_UNSNAPSHOT) {
		m->job.snap = m->of.snap;
		m->job.cloned = true;
	}
	m->job.unopened = id == m->id;
	if (id == m->source->found.info->id)
		m->job.info = m->source->found.info;
	else if (m->job.unopened && m->made)
		m->job.info = &m->lookup.info;
	image_job_start(&m->job, waiter);
}

static void
list_start(struct helper_make *m, struct ceph_pool *pool, const char *id)
{
	snapshot_list_fini(&m->list);
	snapshot_list_start(&m->list, pool, id, &m->op.wake);
}

/* What an earlier try has left, by the volume's snapshots. */
enum helper_left {
	LEFT_PART = 0, /* nothing, or something of the helper */
	LEFT_WHOLE,    /* the helper, which knows its parent, and is known */
	LEFT_ORPHAN,   /* an image without a parent: is anything in it? */
	LEFT_WRONG,    /* nothing that can be completed */
};

static enum helper_left
judge_left(struct helper_make *m, struct err *err)
{
	const struct cls_parent *parent = &m->lookup.info.parent;
	bool has_header = m->lookup.op.err.rc == 0;
	bool has_parent = has_header && parent->pool >= 0;
	const struct cls_snapshot *snap = has_parent
	    ? snapshot_of_id(&m->list, parent->snap)
	    : snapshot_named(&m->list, m->like->name);

	if (has_parent && !volume_source_is_of(m->source, parent)) {
		(void)err_set(err, ERR_ALREADY_EXISTS,
		    "image %s exists and is no clone of image %s",
		    m->like->name, m->source->found.image);
		return LEFT_WRONG;
	}
	if (has_parent &&
	    (snap == NULL ||
		(snap->kind == SNAP_TRASH && snap->children == 0))) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s is a clone of a snapshot of image %s that is gone; remove it by hand",
		    m->like->name, m->source->found.image);
		return LEFT_WRONG;
	}
	if (snap == NULL)
		return has_header ? LEFT_ORPHAN : LEFT_PART;
	m->size_bytes = snap->size_bytes;
	return snap->kind == SNAP_TRASH ? LEFT_WHOLE : LEFT_PART;
}

static enum op_verdict
make_step(struct op *op)
{
	struct helper_make *m = (struct helper_make *)op;
	struct ceph_pool *source_pool = m->source->found.pool;
	const char *source_id = m->source->found.info->id;
	const struct cls_snapshot *snap;
	struct err err = ERR_INIT;

	switch (m->state) {
	case HELPMAKE_START:
		if (!m->is_resumed)
			return op_goto(m, HELPMAKE_SNAP);
		image_lookup_start(
		    &m->lookup, m->pool, m->like->name, NULL, false, &op->wake);
		return op_await(m, HELPMAKE_LOOKED_UP);

	case HELPMAKE_LOOKED_UP:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(m, HELPMAKE_END, lookup.op);
		if (op->rc == 0) {
			m->adopted = true;
			memcpy(m->id, m->lookup.info.id, sizeof(m->id));
			list_start(m, m->pool, m->id);
			return op_await(m, HELPMAKE_LISTED);
		}
		list_start(m, source_pool, source_id);
		return op_await(m, HELPMAKE_SOURCE_LISTED);

	case HELPMAKE_LISTED:
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, list.op);
		snap = snapshot_named(&m->list, m->snapshot);
		if (snap != NULL) {
			m->parent.snap = snap->id;
			m->size_bytes = snap->size_bytes;
			return op_goto(m, HELPMAKE_DONE);
		}
		list_start(m, source_pool, source_id);
		return op_await(m, HELPMAKE_SOURCE_LISTED);

	case HELPMAKE_SOURCE_LISTED:
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, list.op);
		switch (judge_left(m, &err)) {
		case LEFT_PART:
			return op_goto(m, HELPMAKE_SNAP);
		case LEFT_WHOLE:
			return op_goto(m, HELPMAKE_WHOLE);
		case LEFT_ORPHAN:
			image_empty_start(
			    &m->empty, m->pool, &m->lookup.info, &op->wake);
			return op_await(m, HELPMAKE_SEARCHED);
		case LEFT_WRONG:
			return op_fail_err(m, HELPMAKE_END, &err);
		}
		abort();

	case HELPMAKE_SEARCHED:
		/*
		 * No parent. Either it is half made, and empty; or ceph-csi
		 * had it flattened when it was whole.
		 */
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, empty.op);
		if (m->empty.why[0] == '\0')
			return op_goto(m, HELPMAKE_SNAP);
		m->size_bytes = m->lookup.info.size_bytes;
		return op_goto(m, HELPMAKE_WHOLE);

	case HELPMAKE_SNAP:
		/* One that is there is told to its watchers once more. */
		if (m->size_bytes == 0)
			m->size_bytes = m->source->size_bytes;
		make_job_start(m, IMAGE_JOB_SNAPSHOT, source_pool, source_id,
		    m->like->name, &op->wake);
		return op_await(m, HELPMAKE_SNAPPED);

	case HELPMAKE_SNAPPED:
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, job.op);
		m->of.snap = m->job.snap;
		m->spec.size_bytes = m->spec.overlap = m->size_bytes;
		make_job_start(
		    m, IMAGE_JOB_CLONE, m->pool, NULL, NULL, &op->wake);
		return op_await(m, HELPMAKE_CLONED);

	case HELPMAKE_CLONED:
		m->adopted = m->job.adopted;
		/*
		 * Another process is at it: the snapshot is gone again, or the
		 * helper is there, and a clone of one made before this.
		 */
		if ((op->rc == -ENOENT || op->rc == -EEXIST) && m->adopted &&
		    m->tries++ < TRIES_MAX) {
			m->is_resumed = true;
			make_job_start(m, IMAGE_JOB_UNSNAPSHOT, source_pool,
			    source_id, m->like->name, &op->wake);
			return op_await(m, HELPMAKE_AGAIN);
		}
		m->left = m->job.left;
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, job.op);
		memcpy(m->id, m->job.made_id, sizeof(m->id));
		wakes_init(&m->parts, &op->wake);
		make_job_start(m, IMAGE_JOB_UNSNAPSHOT, source_pool, source_id,
		    m->like->name, wakes_add(&m->parts));
		image_lookup_start(&m->lookup, m->pool, m->like->name, m->id,
		    true, wakes_add(&m->parts));
		return op_await(m, HELPMAKE_FREED);

	case HELPMAKE_AGAIN:
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, job.op);
		return op_goto(m, HELPMAKE_START);

	case HELPMAKE_FREED:
		if (err_is_set(&m->job.op.err))
			return op_fail_as(m, HELPMAKE_END, job.op);
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, lookup.op);
		m->made = true;
		return op_goto(m, HELPMAKE_WHOLE);

	case HELPMAKE_WHOLE:
		make_job_start(m, IMAGE_JOB_SNAPSHOT, m->pool, m->id,
		    m->snapshot, &op->wake);
		return op_await(m, HELPMAKE_DONE);

	case HELPMAKE_DONE:
		if (op->rc < 0)
			return op_fail_as(m, HELPMAKE_END, job.op);
		volume_parent_of(&m->parent, m->pool, m->id,
		    m->parent.snap != 0 ? m->parent.snap : m->job.snap);
		return op_goto(m, HELPMAKE_END);

	case HELPMAKE_END:
		snapshot_list_fini(&m->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class make_class = {
	.name = "helper.make",
	.step = make_step,
};

void
helper_make_start(struct helper_make *m, struct wake *waiter)
{
	const struct volume_source *source = m->source;

	volume_parent_of(&m->of, source->found.pool, source->found.info->id, 0);
	image_id_generate(m->pool->conn, m->own_id);
	m->spec = *m->like;
	m->spec.id = m->own_id;
	m->spec.features |= HELPER_FEATURES;
	m->spec.parent = &m->of;
	op_start(&m->op, &make_class, waiter);
}

/* ---- undo ---- */

/* Is it of the clone: of its name, in the trash or not? */
static bool
is_of_clone(const struct cls_snapshot *snap, const char *clone)
{
	return (snap->kind == SNAP_USER && str_eq(snap->name, clone)) ||
	    (snap->kind == SNAP_TRASH && str_eq(snap->original, clone));
}

static enum op_verdict
forget_step(struct op *op)
{
	struct clone_forget *f = (struct clone_forget *)op;
	const struct cls_snapshot *snap;
	struct cls_parent of;

	switch (f->state) {
	case FORGET_START:
		snapshot_list_start(&f->list, f->pool, f->id, &op->wake);
		return op_await(f, FORGET_LISTED);

	case FORGET_LISTED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(f, FORGET_END, list.op);
		return op_goto(f, FORGET_NEXT);

	case FORGET_NEXT:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(f, FORGET_END, op->rc,
			    "let image id %s forget its clone with id %s",
			    f->id, f->clone_id);
		while (f->at < f->list.n) {
			snap = &f->list.snap[f->at++];
			if (!is_of_clone(snap, f->snapshot))
				continue;
			volume_parent_of(&of, f->pool, f->id, snap->id);
			parent_detach_start(f->pool, &of, f->clone_pool,
			    f->clone_id, &op->wake);
			return op_await(f, FORGET_NEXT);
		}
		/* It may be in the trash, and have waited for that. */
		if (f->list.n > 0) {
			volume_parent_of(&of, f->pool, f->id, 0);
			purge_parent(f->pool->conn, &of);
		}
		return op_goto(f, FORGET_END);

	case FORGET_END:
		snapshot_list_fini(&f->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class forget_class = {
	.name = "clone.forget",
	.step = forget_step,
};

/* Lets an image forget a clone of its snapshot; that is where the helper is. */
static void
forget_start(struct helper_undo *u, struct ceph_pool *pool, const char *id,
    const char *snapshot, const char *clone_id)
{
	u->forget = (struct clone_forget){
		.pool = pool,
		.id = id,
		.snapshot = snapshot,
		.clone_pool = u->make->pool,
		.clone_id = clone_id,
	};
	op_start(&u->forget.op, &forget_class, &u->op.wake);
}

static enum op_verdict
undo_step(struct op *op)
{
	struct helper_undo *u = (struct helper_undo *)op;
	const struct helper_make *m = u->make;
	const struct volume_lookup *source = &m->source->found;

	switch (u->state) {
	case HELPUNDO_START:
		if (u->id[0] != '\0' || !(m->is_resumed || m->left))
			return op_goto(u, HELPUNDO_ALONE);
		image_place_start(
		    &u->place, m->pool, m->like->name, NULL, &op->wake);
		return op_await(u, HELPUNDO_LOOKED_UP);

	case HELPUNDO_LOOKED_UP:
		if (op->rc < 0)
			return op_fail_as(u, HELPUNDO_END, place.op);
		memcpy(u->id, u->place.id, sizeof(u->id));
		if (u->id[0] == '\0')
			return op_goto(u, HELPUNDO_ALONE);
		forget_start(
		    u, source->pool, source->info->id, m->like->name, u->id);
		return op_await(u, HELPUNDO_ALONE);

	case HELPUNDO_ALONE:
		if (err_is_set(&u->forget.op.err))
			return op_fail_as(u, HELPUNDO_END, forget.op);
		u->job = (struct image_job){
			.kind = IMAGE_JOB_UNSNAPSHOT,
			.pool = source->pool,
			.image_id = source->info->id,
			.snapshot = m->like->name,
		};
		image_job_start(&u->job, &op->wake);
		return op_await(u, HELPUNDO_SOURCE_FREED);

	case HELPUNDO_SOURCE_FREED:
		if (op->rc < 0)
			return op_fail_as(u, HELPUNDO_END, job.op);
		if (u->id[0] == '\0')
			return op_goto(u, HELPUNDO_END);
		if (u->clone_id == NULL)
			return op_goto(u, HELPUNDO_CHILDLESS);
		forget_start(u, m->pool, u->id, m->snapshot, u->clone_id);
		return op_await(u, HELPUNDO_CHILDLESS);

	case HELPUNDO_CHILDLESS:
		if (err_is_set(&u->forget.op.err))
			return op_fail_as(u, HELPUNDO_END, forget.op);
		u->job = (struct image_job){
			.kind = IMAGE_JOB_UNSNAPSHOT,
			.pool = m->pool,
			.image_id = u->id,
			.snapshot = m->snapshot,
		};
		image_job_start(&u->job, &op->wake);
		return op_await(u, HELPUNDO_FREED);

	case HELPUNDO_FREED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(u, HELPUNDO_END, job.op);
		journal_purge_note_start(m->pool, u->instance_id, u->id,
		    &(struct journal_purge){ .image = m->like->name },
		    &op->wake);
		return op_await(u, HELPUNDO_NOTED);

	case HELPUNDO_NOTED:
		if (op->rc < 0)
			return op_fail_rc(u, HELPUNDO_END, op->rc,
			    "note that image %s is to be purged",
			    m->like->name);
		trash_move_start(
		    &u->move, m->pool, m->like->name, u->id, NULL, &op->wake);
		return op_await(u, HELPUNDO_MOVED);

	case HELPUNDO_MOVED:
		if (op->rc < 0)
			return op_fail_as(u, HELPUNDO_END, move.op);
		purge_submit(
		    m->pool, u->instance_id, u->id, m->like->name, &u->move);
		return op_goto(u, HELPUNDO_END);

	case HELPUNDO_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class undo_class = {
	.name = "helper.undo",
	.step = undo_step,
};

void
helper_undo_start(struct helper_undo *u, const struct helper_make *make,
    const char *clone_id, const char *instance_id, struct wake *waiter)
{
	*u = (struct helper_undo){
		.make = make, .clone_id = clone_id, .instance_id = instance_id
	};
	memcpy(u->id, make->id, sizeof(u->id));
	op_start(&u->op, &undo_class, waiter);
}

/* ---- free ---- */

static enum op_verdict
free_step(struct op *op)
{
	struct helper_free *f = (struct helper_free *)op;
	const struct cls_snapshot *snap;
	bool own = false, others = false;

	switch (f->state) {
	case HELPFREE_START:
		snapshot_list_start(&f->list, f->pool, f->id, &op->wake);
		return op_await(f, HELPFREE_LISTED);

	case HELPFREE_LISTED:
		if (op->rc == -ENOENT)
			return op_goto(f, HELPFREE_END);
		if (op->rc < 0)
			return op_fail_as(f, HELPFREE_END, list.op);
		for (size_t i = 0; i < f->list.n; i++) {
			snap = &f->list.snap[i];
			own = own || is_of_clone(snap, f->clone);
			others = others ||
			    (snap->kind == SNAP_USER &&
				!is_of_clone(snap, f->clone));
		}
		if (!own && others)
			return op_fail_rc(f, HELPFREE_END, -ENOLINK,
			    "it has snapshots of its own");
		if (!own) {
			image_lookup_start(
			    &f->lookup, f->pool, NULL, f->id, false, &op->wake);
			return op_await(f, HELPFREE_LOOKED_UP);
		}
		f->job = (struct image_job){
			.kind = IMAGE_JOB_UNSNAPSHOT,
			.pool = f->pool,
			.image_id = f->id,
			.snapshot = f->clone,
		};
		image_job_start(&f->job, &op->wake);
		return op_await(f, HELPFREE_FREED);

	case HELPFREE_LOOKED_UP:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(f, HELPFREE_END, lookup.op);
		if (op->rc == 0 && f->lookup.info.parent.pool < 0)
			return op_fail_rc(
			    f, HELPFREE_END, -ENOLINK, "it is no clone");
		return op_goto(f, HELPFREE_END);

	case HELPFREE_FREED:
		if (op->rc < 0)
			return op_fail_as(f, HELPFREE_END, job.op);
		return op_goto(f, HELPFREE_END);

	case HELPFREE_END:
		snapshot_list_fini(&f->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class free_class = {
	.name = "helper.free",
	.step = free_step,
};

void
helper_free_start(struct helper_free *f, struct ceph_pool *pool, const char *id,
    const char *clone, struct wake *waiter)
{
	*f = (struct helper_free){ .pool = pool, .id = id, .clone = clone };
	op_start(&f->op, &free_class, waiter);
}
