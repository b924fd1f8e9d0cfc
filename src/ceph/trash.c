/*
 * trash.c - moving an image to the trash, and removing one that is there.
 *
 * The rules that hold it together: nothing is written before name and id are
 * known to belong together, and rbd_id.NAME goes only if it has this id;
 * progress of a purge counts only while the entry is REMOVING, from which
 * nobody can restore the image and write to it anew.
 */
#include "ceph/trash.h"

#include "base/clock.h"
#include "ceph/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Does the trash keep it for a time that is not over? */
static bool
is_deferred(const struct cls_trash_entry *entry)
{
	/* Not by our clock alone: another host's may be ahead of it. */
	return entry->deferred_until.tv_sec > entry->deleted.tv_sec &&
	    entry->deferred_until.tv_sec > clock_wall_ms() / 1000;
}

/* The entry that was read; the read goes. */
static int
take_entry(struct rados_read **read, struct cls_trash_entry *entry)
{
	struct dec d;
	int rc = rados_read_result(*read, 0, &d);

	if (rc == 0)
		rc = cls_parse_trash(d, entry);
	rados_read_drop(read);
	return rc;
}

void
trash_state_start(struct ceph_pool *pool, const char *id, enum trash_state from,
    enum trash_state to, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_ANY);

	rados_write_call(w, cls_trash_state_set(id, to, from));
	rados_write_about(w, id);
	rados_write_together_start(w, pool, RBD_TRASH, waiter);
}

/* ---- moving ---- */

/* Kept until a time that somebody has named, or on its way back? */
static int
check_entry(const struct trash_move *m, const struct cls_trash_entry *entry,
    struct err *err)
{
	const char *label = ceph_pool_label(m->pool);

	if (entry->state == TRASH_RESTORING)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s in %s: is being restored from the trash", m->name,
		    label);
	if (!str_eq(entry->name, m->name))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s in %s: id %s is in the trash as %s", m->name,
		    label, m->place.id, entry->name);
	if (is_deferred(entry) && !m->noted)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s in %s: the trash keeps it, id %s, until %lld s since 1970, as somebody has asked",
		    m->name, label, m->place.id,
		    (long long)entry->deferred_until.tv_sec);
	return 0;
}

/* Trash entry and note, in one operation. */
static void
entry_add_start(struct trash_move *m)
{
	const struct image_info *info = &m->lookup.info;
	int64_t now_ms = clock_wall_ms();
	bool noted = m->plan != NULL && m->plan->instance_id != NULL &&
	    (info->parent.pool < 0 || m->plan->keep_s > 0);
	int64_t keep_s = m->plan != NULL ? m->plan->keep_s : 0;
	bool removing = noted && keep_s == 0 && info->snaps == 0 &&
	    image_obstacle(info) == IMAGE_PLAIN;
	struct cls_trash_entry entry = {
		.source = TRASH_SOURCE_USER,
		.state = removing ? TRASH_REMOVING : TRASH_NORMAL,
		.deleted = {
			.tv_sec = now_ms / 1000,
			.tv_nsec = now_ms % 1000 * 1000000,
		},
	};
	struct journal_purge note = { .image = m->name };
	struct rados_write *w = rados_write_new(RADOS_CREATE);

	memcpy(entry.name, m->name, strlen(m->name) + 1);
	entry.deferred_until = entry.deleted;
	entry.deferred_until.tv_sec += keep_s;
	if (keep_s > 0)
		note.until_s = (uint64_t)entry.deferred_until.tv_sec;
	m->kept_until_s = note.until_s;
	rados_write_call(w, cls_trash_add(m->place.id, &entry));
	if (noted)
		journal_purge_note(w, m->plan->instance_id, m->place.id, &note);
	rados_write_although_full(w);
	rados_write_about(w, m->place.id);
	rados_write_together_start(w, m->pool, RBD_TRASH, &m->op.wake);
	m->noted = noted;
	m->fresh = removing;
}

/* What the trash says of it, and whether it has the plan's note. */
static void
entry_read_start(struct trash_move *m)
{
	struct arena *arena = arena_new(8192);
	const char *key;

	m->read = rados_read_new();
	(void)rados_read_call(m->read, cls_call_str("trash_get", m->place.id));
	if (m->plan != NULL && m->plan->instance_id != NULL) {
		key = journal_purge_key(
		    arena, m->plan->instance_id, m->place.id);
		(void)rados_read_omap_keys(m->read, &key, 1);
	}
	rados_read_start(m->read, m->pool, RBD_TRASH, &m->op.wake);
	arena_free(arena);
}

/* `part`s of `waits`. */
enum { UNNAME_ID = 0, UNNAME_DIR };

/* Entry and note, if there is an instance of whom, in one operation. */
static void
entry_remove_start(struct ceph_pool *pool, const char *id,
    const char *instance_id, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_EXISTS);

	rados_write_call(w, cls_call_str("trash_remove", id));
	if (instance_id != NULL)
		journal_purge_note(w, instance_id, id, NULL);
	rados_write_about(w, id);
	rados_write_together_start(w, pool, RBD_TRASH, waiter);
}

/*
 * The second half of a move: the name goes. Where only rbd_id.NAME has said
 * that the image stands, and the directory does not have it, somebody's rename
 * may have been cut off in between.
 */
static enum op_verdict
move_name_step(struct trash_move *m)
{
	struct op *op = &m->op;
	const char *label = ceph_pool_label(m->pool);
	int id_rc = m->waits.part[UNNAME_ID].rc;
	int dir_rc = m->waits.part[UNNAME_DIR].rc;
	char name[RBD_NAME_SIZE];
	int rc;

	switch ((int)m->state) {
	case MOVE_LISTED:
		wakes_init(&m->waits, &op->wake);
		image_id_remove_start(
		    m->pool, m->name, m->place.id, wakes_add(&m->waits));
		image_unlist_start(
		    m->pool, m->name, m->place.id, wakes_add(&m->waits));
		if (m->plan != NULL && m->plan->beside != NULL)
			m->plan->beside(m->plan, wakes_add(&m->waits));
		return op_await(m, MOVE_UNNAMED);

	case MOVE_UNNAMED:
		if (id_rc == -ECANCELED)
			return op_fail(m, MOVE_TAKE_BACK,
			    ERR_FAILED_PRECONDITION,
			    "image %s in %s: id %s is not its id any more; nothing is deleted",
			    m->name, label, m->place.id);
		if (id_rc < 0 && id_rc != -ENOENT)
			return image_fail_rc(
			    m, MOVE_END, id_rc, m->name, "remove its name");
		if (dir_rc < 0 && dir_rc != -ENOENT)
			return image_fail_rc(m, MOVE_END, dir_rc, m->name,
			    "remove it from the directory");
		if (dir_rc == 0 || !m->added || !m->place.by_name)
			return op_goto(m, MOVE_UNLISTED);
		m->read = rados_ask_start(m->pool, RBD_DIRECTORY,
		    cls_call_str("dir_get_name", m->place.id), &op->wake);
		return op_await(m, MOVE_UNLISTED);

	case MOVE_UNLISTED:
		if (m->read != NULL) {
			rc = rados_read_str(m->read, 0, name, sizeof(name));
			rados_read_drop(&m->read);
			if (rc == 0)
				return op_fail(m, MOVE_TAKE_BACK,
				    ERR_FAILED_PRECONDITION,
				    "image %s in %s: id %s has another name; nothing is deleted",
				    m->name, label, m->place.id);
			if (rc != -ENOENT)
				return image_fail_rc(m, MOVE_END, rc, m->name,
				    "look for its id in the directory");
		}
		if (!m->moving)
			return op_goto(m, MOVE_END);
		trash_state_start(m->pool, m->place.id, TRASH_MOVING,
		    TRASH_NORMAL, &op->wake);
		return op_await(m, MOVE_SETTLED);

	case MOVE_SETTLED:
		/* -ESTALE, -ENOENT: somebody purges it already */
		if (op->rc < 0 && op->rc != -ESTALE && op->rc != -ENOENT)
			return image_fail_rc(m, MOVE_END, op->rc, m->name,
			    "settle its trash entry");
		return op_goto(m, MOVE_END);

	case MOVE_TAKE_BACK:
		/* The name or the id is another image's. */
		if (!m->added)
			return op_goto(m, MOVE_END);
		entry_remove_start(m->pool, m->place.id,
		    m->noted ? m->plan->instance_id : NULL, &op->wake);
		return op_await(m, MOVE_TAKEN_BACK);

	case MOVE_TAKEN_BACK:
		if (op->rc < 0 && op->rc != -ENOENT)
			op_set_error_rc(op, op->rc,
			    "image %s in %s: take back its trash entry",
			    m->name, label);
		return op_goto(m, MOVE_END);

	default:
		return OP_DONE;
	}
}

/*
 * What else is to be known before anything is written, side by side: where the
 * image stands (unless that is known), what its header says, who has it open.
 */
static void
ask_start(
    struct trash_move *m, const char *id, bool by_name, struct wake *waiter)
{
	wakes_init(&m->waits, waiter);
	watch_header_update_start(
	    m->pool, id, &m->notified, wakes_add(&m->waits));
	image_lookup_start(
	    &m->lookup, m->pool, m->name, id, true, wakes_add(&m->waits));
	if (m->place.pool != NULL)
		return;
	if (by_name)
		image_place_named_start(
		    &m->place, m->pool, m->name, id, wakes_add(&m->waits));
	else
		image_place_start(
		    &m->place, m->pool, m->name, id, wakes_add(&m->waits));
}

static enum op_verdict
trash_move_step(struct op *op)
{
	struct trash_move *m = (struct trash_move *)op;
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };
	const char *label = ceph_pool_label(m->pool);
	enum watch_verdict verdict;
	struct err err = ERR_INIT;
	int rc;

	switch (m->state) {
	case MOVE_START:
		if (strlen(m->name) >= RBD_NAME_SIZE)
			return op_fail(m, MOVE_END, ERR_INVALID_ARGUMENT,
			    "image %s: the name is too long", m->name);
		if (m->looked)
			return op_goto(m, MOVE_ASKED);
		if (m->id != NULL) {
			ask_start(m, m->id, false, &op->wake);
			return op_await(m, MOVE_ASKED);
		}
		image_place_start(&m->place, m->pool, m->name, NULL, &op->wake);
		return op_await(m, MOVE_PLACED);

	case MOVE_PLACED:
		if (op->rc < 0)
			return op_fail_as(m, MOVE_END, place.op);
		if (m->place.standing == IMAGE_GONE)
			return op_goto(m, MOVE_END);
		ask_start(m, m->place.id, false, &op->wake);
		return op_await(m, MOVE_ASKED);

	case MOVE_ASKED:
		if (err_is_set(&m->place.op.err))
			return op_fail_as(m, MOVE_END, place.op);
		if (m->place.standing == IMAGE_GONE)
			return op_goto(m, MOVE_END);
		if (m->place.standing == IMAGE_ELSEWHERE)
			return op_fail(m, MOVE_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: %s; nothing is deleted", m->name,
			    label, m->place.why);
		if (err_is_set(&m->lookup.op.err) &&
		    m->lookup.op.err.rc != -ENOENT)
			return op_fail_as(m, MOVE_END, lookup.op);
		m->had_header = !err_is_set(&m->lookup.op.err);
		if (m->place.standing == IMAGE_IN_TRASH) { /* moved already */
			m->had_header = true;
			entry_read_start(m);
			return op_await(m, MOVE_ENTRY_READ);
		}
		if (!m->had_header)
			return op_goto(m, MOVE_LISTED);
		m->obstacle = image_obstacle(&m->lookup.info);
		if (m->obstacle != IMAGE_PLAIN)
			return op_fail(m, MOVE_END, ERR_UNIMPLEMENTED,
			    "image %s in %s: not to be moved to the trash natively, %s",
			    m->name, label, image_obstacle_text(m->obstacle));
		rc = watch_judge(m->waits.part[0].rc, &m->notified, &verdict);
		if (rc == -ENOENT) /* purged since we looked */
			m->had_header = false;
		if (rc == -ENOENT)
			return op_goto(m, MOVE_LISTED);
		if (rc < 0)
			return image_fail_rc(
			    m, MOVE_END, rc, m->name, "ask who has it open");
		m->watched = verdict != WATCH_NONE;
		if (m->watched)
			return op_fail(m, MOVE_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: is in use, open at %u client(s)",
			    m->name, label,
			    m->notified.acks + m->notified.timeouts);
		entry_add_start(m);
		return op_await(m, MOVE_ADDED);

	case MOVE_ADDED:
		m->added = op->rc == 0;
		if (m->added)
			return op_goto(m, MOVE_LISTED);
		m->noted = m->fresh = false;
		if (op->rc != -EEXIST)
			return image_fail_rc(m, MOVE_END, op->rc, m->name,
			    "add it to the trash");
		entry_read_start(m);
		return op_await(m, MOVE_ENTRY_READ);

	case MOVE_ENTRY_READ:
		m->noted = rados_read_omap(m->read)->n > 0;
		rc = take_entry(&m->read, &entry);
		if (rc == -ENOENT && m->place.standing == IMAGE_IN_TRASH)
			return op_goto(m, MOVE_END); /* purged since */
		if (rc == -ENOENT)
			return image_fail(m, MOVE_END, ERR_ABORTED, m->name,
			    "its trash entry has just been removed");
		if (rc < 0)
			return image_fail_rc(
			    m, MOVE_END, rc, m->name, "read its trash entry");
		if (check_entry(m, &entry, &err) < 0)
			return op_fail_err(m, MOVE_END, &err);
		m->moving = entry.state == TRASH_MOVING;
		if (m->place.standing != IMAGE_IN_TRASH)
			return op_goto(m, MOVE_LISTED);
		if (!m->moving)
			return op_goto(m, MOVE_END);
		trash_state_start(m->pool, m->place.id, TRASH_MOVING,
		    TRASH_NORMAL, &op->wake);
		return op_await(m, MOVE_SETTLED);

	case MOVE_LISTED:
	case MOVE_UNNAMED:
	case MOVE_UNLISTED:
	case MOVE_SETTLED:
	case MOVE_TAKE_BACK:
	case MOVE_TAKEN_BACK:
	case MOVE_END:
		return move_name_step(m);
	}
	abort();
}

static const struct op_class trash_move_class = {
	.name = "trash.move",
	.step = trash_move_step,
};

void
trash_move_start(struct trash_move *m, struct ceph_pool *pool, const char *name,
    const char *id, struct trash_plan *plan, struct wake *waiter)
{
	memset(m, 0, sizeof(*m));
	m->pool = pool;
	m->name = name;
	m->id = id;
	m->plan = plan;
	op_start(&m->op, &trash_move_class, waiter);
}

void
trash_look_start(struct trash_move *m, struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter)
{
	memset(m, 0, sizeof(*m));
	m->pool = pool;
	m->name = name;
	m->id = id;
	m->looked = true;
	ask_start(m, id, true, waiter);
}

void
trash_move_looked_start(
    struct trash_move *m, struct trash_plan *plan, struct wake *waiter)
{
	m->plan = plan;
	op_start(&m->op, &trash_move_class, waiter);
}

/* ---- purging: the data objects ---- */

/* Images with fewer objects are removed object by object without asking. */
#define LIST_FROM 4096
/* To remove an object that is not there costs as much as to list so many. */
#define LIST_WORTH 20
/* Objects of the pool in one slice. */
#define LIST_SLICE 4096
#define LIST_SLICES_MAX 65536

/* The next one by its number: all there can be, or those of the map. */
static bool
next_by_number(void *arg, char *buf, size_t size)
{
	struct trash_purge *p = arg;

	if (p->has_map)
		p->at.done = cls_object_map_next(&p->map, p->at.done);
	if (p->at.done >= p->count)
		return false;
	p->objects++;
	(void)snprintf(
	    buf, size, "%s.%016" PRIx64, p->lookup.info.prefix, p->at.done++);
	return true;
}

static bool
next_listed(void *arg, char *buf, size_t size)
{
	struct trash_purge *p = arg;

	if (p->taken == p->list->n)
		return false;
	p->objects++;
	(void)snprintf(buf, size, "%s.%016" PRIx64, p->lookup.info.prefix,
	    p->list->object[p->taken++]);
	return true;
}

/* ---- purging: its turn ---- */

static void
on_purge_turn(struct pace_turn *turn)
{
	struct trash_purge *p = container_of(turn, struct trash_purge, turn);

	p->in_turn = true;
	p->in_turn_ops = 0;
	wake_up(&p->op.wake, 0);
}

static void
turn_over(struct trash_purge *p)
{
	if (p->in_turn)
		pace_done(&p->turn, p->in_turn_ops);
	p->in_turn = false;
}

static void
data_remove_start(struct trash_purge *p)
{
	struct rados_remove_many many = {
		.pool = p->data_pool,
		.until_ms = p->until_ms,
		.next = p->at.slices > 0 ? next_listed : next_by_number,
		.arg = p,
	};

	p->taken = 0;
	rados_remove_many_start(&many, &p->op.wake);
}

static void
list_start(struct trash_purge *p)
{
	struct trash_list *list = p->list;

	free(list->object);
	list->object = NULL;
	list->n = 0;
	list->pool = p->data_pool;
	list->prefix = p->lookup.info.prefix;
	list->slice = (uint32_t)p->at.done;
	list->slices = p->at.slices;
	list->start(list, &p->op.wake);
}

/* Judges the removal of something and names the step that failed. */
static bool
removed(struct trash_purge *p, int rc, const char *what)
{
	if (rc == 0 || rc == -ENOENT)
		return true;
	op_set_error_rc(&p->op, rc, "image %s in %s: remove its %s", p->id,
	    ceph_pool_label(p->pool), what);
	return false;
}

static enum op_verdict
purge_data_step(struct trash_purge *p)
{
	struct op *op = &p->op;
	struct err err = ERR_INIT;
	uint64_t there;

	switch ((int)p->state) {
	case PURGE_MAP_READ:
		turn_over(p);
		p->has_map = p->read != NULL &&
		    image_map_take(p->read, &p->lookup.info, &p->map);
		p->until_ms = clock_now_ms() + p->slice_ms;
		if (image_data_pool_open(
			p->pool, &p->lookup.info, &p->data_pool, &err) < 0)
			return err.code == ERR_NOT_FOUND
			    ? op_goto(p, PURGE_DATA_GONE) /* with the pool */
			    : op_fail_err(p, PURGE_END, &err);
		if (p->has_map || p->list == NULL || p->count <= LIST_FROM) {
			if (p->at.slices > 0) /* listed when it had no map */
				p->at = (struct trash_progress){ 0 };
			data_remove_start(p);
			return op_await(p, PURGE_DATA_REMOVED);
		}
		if (p->at.slices > 0)
			return op_goto(p, PURGE_SLICE_NEXT);
		if (p->at.done > 0) {
			data_remove_start(p);
			return op_await(p, PURGE_DATA_REMOVED);
		}
		list_start(p);
		return op_await(p, PURGE_POOL_ASKED);

	case PURGE_POOL_ASKED:
		/* a failure means only that it takes longer */
		there = op->rc < 0 ? UINT64_MAX : p->list->pool_objects;
		if (there / LIST_WORTH >= p->count) {
			data_remove_start(p);
			return op_await(p, PURGE_DATA_REMOVED);
		}
		there = there / LIST_SLICE + 1;
		p->at.slices = there < LIST_SLICES_MAX ? (uint32_t)there
						       : LIST_SLICES_MAX;
		return op_goto(p, PURGE_SLICE_NEXT);

	case PURGE_SLICE_NEXT:
		list_start(p);
		return op_await(p, PURGE_LISTED);

	case PURGE_LISTED:
		if (op->rc < 0)
			return image_fail_rc(
			    p, PURGE_END, op->rc, p->id, "list its data");
		data_remove_start(p);
		return op_await(p, PURGE_DATA_REMOVED);

	case PURGE_DATA_REMOVED:
		if (!removed(p, op->rc, "data"))
			return op_goto(p, PURGE_END);
		if (p->at.slices == 0) {
			p->more = p->has_map ? cls_object_map_next(&p->map,
						   p->at.done) < p->count
					     : p->at.done < p->count;
		} else {
			if (p->taken == p->list->n && !p->list->more)
				p->at.done++;
			p->more = p->at.done < p->at.slices;
			if (p->more && clock_now_ms() < p->until_ms)
				return op_goto(p, PURGE_SLICE_NEXT);
		}
		return p->more ? op_goto(p, PURGE_END)
			       : op_goto(p, PURGE_DATA_GONE);

	default:
		return OP_DONE;
	}
}

/* ---- purging: the rest ---- */

/* What ties it to other images; they are cut, or only looked at. */
static void
ties_look_start(struct trash_purge *p, bool check)
{
	p->ties = (struct image_unlink){
		.pool = p->pool,
		.info = &p->lookup.info,
		.name = p->name,
		.check = check,
	};
	image_unlink_start(&p->ties, &p->op.wake);
}

static enum op_verdict
purge_rest_step(struct trash_purge *p)
{
	struct op *op = &p->op;
	char object[RBD_OBJECT_SIZE];
	/* Without a header it may have had anything. */
	bool no_map = p->map_gone ||
	    (p->lookup.info.prefix[0] != '\0' &&
		!(p->lookup.info.features & RBD_OBJECT_MAP));

	switch ((int)p->state) {
	case PURGE_DATA_GONE:
		/* Without a header nothing ties it any more. */
		if (p->lookup.info.prefix[0] == '\0' ||
		    (p->lookup.info.snaps == 0 &&
			p->lookup.info.parent.pool < 0))
			return op_goto(p, PURGE_UNTIED);
		/* That waits for monitors: in nobody's way. */
		turn_over(p);
		ties_look_start(p, false);
		return op_await(p, PURGE_TIES_CUT);

	case PURGE_TIES_CUT:
		if (op->rc < 0)
			return op_fail_as(p, PURGE_END, ties.op);
		return op_goto(p, PURGE_UNTIED);

	case PURGE_UNTIED:
		if (p->in_turn)
			return op_goto(p, PURGE_LAST_TURN);
		pace_ask(&p->turn);
		return op_await(p, PURGE_LAST_TURN);

	case PURGE_LAST_TURN:
		p->in_turn_ops += 2;
		image_object(object, RBD_HEADER_PREFIX, p->id);
		wakes_init(&p->waits, &op->wake);
		rados_remove_start(p->pool, object, wakes_add(&p->waits));
		if (no_map)
			return op_await(p, PURGE_REST_REMOVED);
		image_object(object, RBD_OBJECT_MAP_PREFIX, p->id);
		rados_remove_start(p->pool, object, wakes_add(&p->waits));
		return op_await(p, PURGE_REST_REMOVED);

	case PURGE_REST_REMOVED:
		return removed(p, p->waits.part[0].rc, "header") &&
			(no_map ||
			    removed(p, p->waits.part[1].rc, "object map"))
		    ? op_goto(p, PURGE_FORGET)
		    : op_goto(p, PURGE_END);

	case PURGE_FORGET:
		entry_remove_start(p->pool, p->id, p->instance_id, &op->wake);
		return op_await(p, PURGE_ENTRY_REMOVED);

	case PURGE_ENTRY_REMOVED:
		p->unnoted = op->rc == 0 && p->instance_id != NULL;
		(void)removed(p, op->rc, "trash entry");
		return op_goto(p, PURGE_END);

	case PURGE_REFUSED:
		trash_state_start(
		    p->pool, p->id, TRASH_REMOVING, TRASH_NORMAL, &op->wake);
		return op_await(p, PURGE_RESTORED);

	case PURGE_RESTORED:
		(void)removed(p, op->rc, "mark in the trash");
		return op_goto(p, PURGE_END);

	default:
		return OP_DONE;
	}
}

/* ---- purging: is it ours, and is it there? ---- */

static enum op_verdict
purge_begin_step(struct trash_purge *p)
{
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };
	const char *label = ceph_pool_label(p->pool);
	struct op *op = &p->op;
	char name[RBD_NAME_SIZE];
	int rc;

	switch ((int)p->state) {
	case PURGE_START:
		p->turn.go = on_purge_turn;
		pace_ask(&p->turn);
		return op_await(p, PURGE_TURN);

	case PURGE_TURN:
		p->in_turn_ops = p->info != NULL ? 1 : 3;
		if (p->info != NULL) {
			p->lookup.info = *p->info;
			return op_goto(p, PURGE_KNOWN);
		}
		if (p->name != NULL) {
			p->read = rados_ask_start(p->pool, RBD_TRASH,
			    cls_call_str("trash_get", p->id), &op->wake);
			return op_await(p, PURGE_ENTRY_CHECKED);
		}
		trash_state_start(
		    p->pool, p->id, TRASH_NORMAL, TRASH_REMOVING, &op->wake);
		return op_await(p, PURGE_MARKED);

	case PURGE_ENTRY_CHECKED:
		/* It went there some time ago: is that what lies there now? */
		rc = take_entry(&p->read, &entry);
		if (rc == -ENOENT)
			return op_goto(p, PURGE_END);
		if (rc < 0)
			return image_fail_rc(
			    p, PURGE_END, rc, p->id, "read its trash entry");
		p->foreign = !str_eq(entry.name, p->name);
		if (p->foreign)
			return op_goto(p, PURGE_END);
		if (is_deferred(&entry)) {
			p->kept_until_s = entry.deferred_until.tv_sec;
			return op_fail(p, PURGE_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: the trash keeps it until %lld s since 1970, as somebody has asked",
			    p->id, label, (long long)p->kept_until_s);
		}
		if (entry.state != TRASH_REMOVING)
			p->at = (struct trash_progress){ 0 };
		p->read = rados_ask_start(p->pool, RBD_DIRECTORY,
		    cls_call_str("dir_get_name", p->id), &op->wake);
		return op_await(p, PURGE_NAME_CHECKED);

	case PURGE_NAME_CHECKED:
		/* A move that met a rename, cut off: the image lives. */
		rc = rados_read_str(p->read, 0, name, sizeof(name));
		rados_read_drop(&p->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(p, PURGE_END, rc, p->id,
			    "look for its name in the directory");
		p->foreign = rc == 0 && !str_eq(name, p->name);
		if (p->foreign)
			return op_goto(p, PURGE_FORGET);
		trash_state_start(
		    p->pool, p->id, TRASH_NORMAL, TRASH_REMOVING, &op->wake);
		return op_await(p, PURGE_MARKED);

	case PURGE_MARKED:
		if (op->rc == -ENOENT)
			return op_goto(p, PURGE_END);
		if (op->rc == -ESTALE) {
			p->read = rados_ask_start(p->pool, RBD_TRASH,
			    cls_call_str("trash_get", p->id), &op->wake);
			return op_await(p, PURGE_ENTRY_READ);
		}
		if (op->rc < 0)
			return image_fail_rc(p, PURGE_END, op->rc, p->id,
			    "mark its trash entry");
		image_lookup_start(
		    &p->lookup, p->pool, NULL, p->id, true, &op->wake);
		return op_await(p, PURGE_LOOKED_UP);

	case PURGE_ENTRY_READ:
		rc = take_entry(&p->read, &entry);
		if (rc == -ENOENT)
			return op_goto(p, PURGE_END);
		if (rc < 0)
			return image_fail_rc(
			    p, PURGE_END, rc, p->id, "read its trash entry");
		return op_fail(p, PURGE_END, ERR_FAILED_PRECONDITION,
		    "image %s in %s: is being %s the trash", p->id, label,
		    entry.state == TRASH_MOVING ? "moved to" : "restored from");

	default:
		return OP_DONE;
	}
}

static enum op_verdict
trash_purge_step(struct op *op)
{
	struct trash_purge *p = (struct trash_purge *)op;
	const char *label = ceph_pool_label(p->pool);
	enum watch_verdict verdict;
	int rc;

	switch (p->state) {
	case PURGE_START:
	case PURGE_TURN:
	case PURGE_ENTRY_CHECKED:
	case PURGE_NAME_CHECKED:
	case PURGE_MARKED:
	case PURGE_ENTRY_READ:
		return purge_begin_step(p);

	case PURGE_LOOKED_UP:
		if (op->rc == -ENOENT) /* a purge that got that far */
			return op_goto(p, PURGE_DATA_GONE);
		if (op->rc < 0)
			return op_fail_as(p, PURGE_END, lookup.op);
		return op_goto(p, PURGE_KNOWN);

	case PURGE_KNOWN:
		p->obstacle = image_obstacle(&p->lookup.info);
		p->count = layout_objects(
		    &p->lookup.info.layout, p->lookup.info.size_bytes);
		if (p->obstacle != IMAGE_PLAIN)
			return op_fail(p, PURGE_REFUSED, ERR_UNIMPLEMENTED,
			    "image %s in %s: not to be purged natively, %s",
			    p->id, label, image_obstacle_text(p->obstacle));
		if (p->info != NULL &&
		    image_map_drop_start(p->pool, p->info, &op->wake))
			return op_await(p, PURGE_MAP_DROPPED);
		watch_header_update_start(
		    p->pool, p->id, &p->notified, &op->wake);
		return op_await(p, PURGE_WATCH_CHECKED);

	case PURGE_MAP_DROPPED:
		/*
		 * A moment ago nobody had it open, it has no name any more,
		 * and nothing was ever written to it. Whatever else the answer
		 * is, the map will be read, or is not there.
		 */
		p->map_gone = op->rc == 0;
		if (p->map_gone)
			return op_goto(p, PURGE_DATA_GONE);
		watch_header_update_start(
		    p->pool, p->id, &p->notified, &op->wake);
		return op_await(p, PURGE_WATCH_CHECKED);

	case PURGE_WATCH_CHECKED:
		rc = watch_judge(op->rc, &p->notified, &verdict);
		if (rc < 0)
			return image_fail_rc(
			    p, PURGE_END, rc, p->id, "ask who has it open");
		p->watched = verdict != WATCH_NONE;
		if (p->watched)
			return op_fail(p, PURGE_REFUSED,
			    ERR_FAILED_PRECONDITION,
			    "image %s in %s: is in use, open at %u client(s)",
			    p->id, label,
			    p->notified.acks + p->notified.timeouts);
		if (p->lookup.info.snaps == 0)
			return op_goto(p, PURGE_FREE);
		ties_look_start(p, true);
		return op_await(p, PURGE_FREE);

	case PURGE_FREE:
		if (p->lookup.info.snaps > 0 && op->rc < 0)
			return op_fail_as(p, PURGE_REFUSED, ties.op);
		p->read = image_map_read_start(
		    p->pool, &p->lookup.info, RBD_NOSNAP, &op->wake);
		return p->read != NULL ? op_await(p, PURGE_MAP_READ)
				       : op_goto(p, PURGE_MAP_READ);

	case PURGE_MAP_READ:
	case PURGE_POOL_ASKED:
	case PURGE_SLICE_NEXT:
	case PURGE_LISTED:
	case PURGE_DATA_REMOVED:
		return purge_data_step(p);

	case PURGE_DATA_GONE:
	case PURGE_TIES_CUT:
	case PURGE_UNTIED:
	case PURGE_LAST_TURN:
	case PURGE_REST_REMOVED:
	case PURGE_FORGET:
	case PURGE_ENTRY_REMOVED:
	case PURGE_REFUSED:
	case PURGE_RESTORED:
		return purge_rest_step(p);

	case PURGE_END:
		turn_over(p);
		rados_read_drop(&p->read);
		if (p->list != NULL)
			trash_list_fini(p->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class trash_purge_class = {
	.name = "trash.purge",
	.step = trash_purge_step,
};

void
trash_purge_start(struct trash_purge *p, struct wake *waiter)
{
	op_start(&p->op, &trash_purge_class, waiter);
}
