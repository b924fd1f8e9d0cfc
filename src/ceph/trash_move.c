/*
 * trash_move.c - moving an image to the trash.
 *
 * The rule that holds it together: nothing is written before name and id are
 * known to belong together, and rbd_id.NAME goes only if it has this id.
 */
#include "ceph/trash.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

bool
trash_is_deferred(const struct cls_trash_entry *entry)
{
	/* Not by our clock alone: another host's may be ahead of it. */
	return entry->deferred_until.tv_sec > entry->deleted.tv_sec &&
	    entry->deferred_until.tv_sec > clock_wall_ms() / 1000;
}

static enum op_verdict
name_remove(struct trash_move *m)
{
	image_id_remove_start(m->pool, m->name, m->place.id, &m->op.wake);
	return op_await(m, MOVE_NAME_REMOVED);
}

/* Kept until a time that somebody has named, or on its way back? */
static bool
may_leave(struct trash_move *m, const struct cls_trash_entry *entry)
{
	const char *label = ceph_pool_label(m->pool);

	if (entry->state == TRASH_RESTORING)
		op_set_error(&m->op, ERR_FAILED_PRECONDITION,
		    "image %s in %s: is being restored from the trash", m->name,
		    label);
	else if (!str_eq(entry->name, m->name))
		op_set_error(&m->op, ERR_FAILED_PRECONDITION,
		    "image %s in %s: id %s is in the trash as %s", m->name,
		    label, m->place.id, entry->name);
	else if (trash_is_deferred(entry))
		op_set_error(&m->op, ERR_FAILED_PRECONDITION,
		    "image %s in %s: the trash keeps it, id %s, until %lld s "
		    "since 1970, as somebody has asked",
		    m->name, label, m->place.id,
		    (long long)entry->deferred_until.tv_sec);
	else
		return true;
	return false;
}

void
trash_settle_start(struct ceph_pool *pool, const char *id, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();

	rados_write_call(
	    w, cls_trash_state_set(id, TRASH_NORMAL, TRASH_MOVING));
	rados_write_start(w, pool, RBD_TRASH, waiter);
}

static enum op_verdict
placed(struct trash_move *m)
{
	if (m->op.rc < 0)
		return op_fail_err(m, MOVE_END, &m->place.op.err);
	switch (m->place.standing) {
	case IMAGE_GONE:
		return op_goto(m, MOVE_END);
	case IMAGE_ELSEWHERE:
		return op_fail(m, MOVE_END, ERR_FAILED_PRECONDITION,
		    "image %s in %s: %s; nothing is deleted", m->name,
		    ceph_pool_label(m->pool), m->place.why);
	case IMAGE_IN_TRASH:
		if (!may_leave(m, &m->place.trash))
			return op_goto(m, MOVE_END);
		break;
	case IMAGE_STANDS:
		break;
	}
	image_lookup_start(
	    &m->lookup, m->pool, m->name, m->place.id, true, &m->op.wake);
	return op_await(m, MOVE_LOOKED_UP);
}

static enum op_verdict
looked_up(struct trash_move *m)
{
	if (m->op.rc < 0 && m->op.rc != -ENOENT)
		return op_fail_err(m, MOVE_END, &m->lookup.op.err);
	m->had_header = m->op.rc == 0;
	if (m->place.standing == IMAGE_IN_TRASH) { /* it is moved already */
		m->had_header = true;
		if (m->place.trash.state != TRASH_MOVING)
			return op_goto(m, MOVE_END);
		trash_settle_start(m->pool, m->place.id, &m->op.wake);
		return op_await(m, MOVE_SETTLED);
	}
	if (!m->had_header)
		return name_remove(m);
	m->obstacle = image_obstacle(&m->lookup.info, false);
	if (m->obstacle != IMAGE_PLAIN)
		return op_fail(m, MOVE_END, ERR_UNIMPLEMENTED,
		    "image %s in %s: not to be moved to the trash natively, "
		    "%s",
		    m->name, ceph_pool_label(m->pool),
		    image_obstacle_text(m->obstacle));
	watch_header_update_start(
	    m->pool, m->place.id, &m->notified, &m->op.wake);
	return op_await(m, MOVE_WATCH_CHECKED);
}

static void
entry_add_start(struct trash_move *m)
{
	int64_t now_ms = clock_wall_ms();
	struct cls_trash_entry entry = {
		.source = TRASH_SOURCE_USER,
		.state = TRASH_NORMAL,
		.deleted = {
			.tv_sec = now_ms / 1000,
			.tv_nsec = now_ms % 1000 * 1000000,
		},
	};
	struct rados_write *w = rados_write_new();

	memcpy(entry.name, m->name, strlen(m->name) + 1);
	entry.deferred_until = entry.deleted;
	rados_write_create(w, false);
	rados_write_call(w, cls_trash_add(m->place.id, &entry));
	rados_write_although_full(w);
	rados_write_start(w, m->pool, RBD_TRASH, &m->op.wake);
}

static enum op_verdict
watch_checked(struct trash_move *m)
{
	enum watch_verdict verdict;
	int rc = watch_judge(m->op.rc, &m->notified, &verdict);

	if (rc == -ENOENT) /* purged since we looked */
		return name_remove(m);
	if (rc < 0)
		return op_fail_rc(m, MOVE_END, rc,
		    "image %s in %s: ask who has it open", m->name,
		    ceph_pool_label(m->pool));
	if (verdict != WATCH_NONE) {
		m->watched = true;
		return op_fail(m, MOVE_END, ERR_FAILED_PRECONDITION,
		    "image %s in %s: is in use, open at %u client(s)", m->name,
		    ceph_pool_label(m->pool),
		    m->notified.acks + m->notified.timeouts);
	}
	entry_add_start(m);
	return op_await(m, MOVE_ADDED);
}

static enum op_verdict
added(struct trash_move *m)
{
	if (m->op.rc == 0) {
		m->added = true;
		return name_remove(m);
	}
	if (m->op.rc != -EEXIST)
		return op_fail_rc(m, MOVE_END, m->op.rc,
		    "image %s in %s: add it to the trash", m->name,
		    ceph_pool_label(m->pool));
	m->read = rados_read_new();
	(void)rados_read_call(m->read, cls_trash_get(m->place.id));
	rados_read_start(m->read, m->pool, RBD_TRASH, &m->op.wake);
	return op_await(m, MOVE_ENTRY_READ);
}

static enum op_verdict
entry_read(struct trash_move *m)
{
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };
	struct dec d;
	int rc = rados_read_result(m->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_trash(d, &entry);
	rados_read_free(m->read);
	m->read = NULL;
	if (rc == -ENOENT)
		return op_fail(m, MOVE_END, ERR_ABORTED,
		    "image %s in %s: its trash entry has just been removed",
		    m->name, ceph_pool_label(m->pool));
	if (rc < 0)
		return op_fail_rc(m, MOVE_END, rc,
		    "image %s in %s: read its trash entry", m->name,
		    ceph_pool_label(m->pool));
	if (!may_leave(m, &entry))
		return op_goto(m, MOVE_END);
	m->moving = entry.state == TRASH_MOVING;
	return name_remove(m);
}

static enum op_verdict
name_removed(struct trash_move *m)
{
	struct rados_write *w;

	if (m->op.rc == -ECANCELED) {
		op_set_error(&m->op, ERR_FAILED_PRECONDITION,
		    "image %s in %s: id %s is not its id any more; nothing is "
		    "deleted",
		    m->name, ceph_pool_label(m->pool), m->place.id);
		if (!m->added)
			return op_goto(m, MOVE_END);
		w = rados_write_new();
		rados_write_call(w, cls_trash_remove(m->place.id));
		rados_write_start(w, m->pool, RBD_TRASH, &m->op.wake);
		return op_await(m, MOVE_TAKEN_BACK);
	}
	if (m->op.rc < 0 && m->op.rc != -ENOENT)
		return op_fail_rc(m, MOVE_END, m->op.rc,
		    "image %s in %s: remove its name", m->name,
		    ceph_pool_label(m->pool));
	w = rados_write_new();
	rados_write_call(w, cls_dir_remove_image(m->name, m->place.id));
	rados_write_start(w, m->pool, RBD_DIRECTORY, &m->op.wake);
	return op_await(m, MOVE_DIR_REMOVED);
}

static enum op_verdict
dir_removed(struct trash_move *m)
{
	if (m->op.rc < 0 && m->op.rc != -ENOENT)
		return op_fail_rc(m, MOVE_END, m->op.rc,
		    "image %s in %s: remove it from the directory", m->name,
		    ceph_pool_label(m->pool));
	if (!m->moving)
		return op_goto(m, MOVE_END);
	trash_settle_start(m->pool, m->place.id, &m->op.wake);
	return op_await(m, MOVE_SETTLED);
}

static enum op_verdict
trash_move_step(struct op *op)
{
	struct trash_move *m = (struct trash_move *)op;

	switch (m->state) {
	case MOVE_START:
		if (strlen(m->name) >= RBD_NAME_SIZE)
			return op_fail(m, MOVE_END, ERR_INVALID_ARGUMENT,
			    "image %s: the name is too long", m->name);
		image_place_start(
		    &m->place, m->pool, m->name, m->id, &op->wake);
		return op_await(m, MOVE_PLACED);

	case MOVE_PLACED:
		return placed(m);
	case MOVE_LOOKED_UP:
		return looked_up(m);
	case MOVE_WATCH_CHECKED:
		return watch_checked(m);
	case MOVE_ADDED:
		return added(m);
	case MOVE_ENTRY_READ:
		return entry_read(m);
	case MOVE_NAME_REMOVED:
		return name_removed(m);
	case MOVE_DIR_REMOVED:
		return dir_removed(m);

	case MOVE_SETTLED:
		/* -ESTALE, -ENOENT: somebody purges it already */
		if (op->rc < 0 && op->rc != -ESTALE && op->rc != -ENOENT)
			return op_fail_rc(m, MOVE_END, op->rc,
			    "image %s in %s: settle its trash entry", m->name,
			    ceph_pool_label(m->pool));
		return op_goto(m, MOVE_END);

	case MOVE_TAKEN_BACK:
		if (op->rc < 0 && op->rc != -ENOENT)
			op_set_error_rc(op, op->rc,
			    "image %s in %s: take back its trash entry",
			    m->name, ceph_pool_label(m->pool));
		return op_goto(m, MOVE_END);

	case MOVE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class trash_move_class = {
	.name = "trash.move",
	.step = trash_move_step,
};

void
trash_move_start(struct trash_move *m, struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter)
{
	memset(m, 0, sizeof(*m));
	m->pool = pool;
	m->name = name;
	m->id = id;
	op_start(&m->op, &trash_move_class, waiter);
}
