/*
 * journal.c - looking up, reserving and releasing request names.
 */
#include "ceph/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void
journal_change_start(struct ceph_pool *pool, const char *object, bool create,
    const struct journal_change *change, size_t n, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(
	    create ? RADOS_CREATE : RADOS_EXISTS);

	for (size_t i = 0; i < n; i++) {
		rados_write_about(w, change[i].key);
		rados_write_omap_expect(w, change[i].key, change[i].was,
		    change[i].was != NULL ? strlen(change[i].was) : 0);
	}
	for (size_t i = 0; i < n; i++) {
		struct rados_omap_entry entry = { .key = change[i].key };

		if (str_eq(change[i].was, change[i].now))
			continue;
		if (change[i].now == NULL) {
			rados_write_omap_remove(w, change[i].key);
			continue;
		}
		entry.value = change[i].now;
		entry.len = strlen(change[i].now);
		rados_write_omap_set(w, &entry, 1);
	}
	rados_write_together_start(w, pool, object, waiter);
}

static void
directory_change_start(const struct journal *j, bool create,
    const struct journal_change *change, size_t n, struct wake *waiter)
{
	auto_free char *object = str_fmt(
	    "%s%s", j->kind->directory, j->instance_id);

	journal_change_start(j->pool, object, create, change, n, waiter);
}

/* ---- read ---- */

static void
on_item_read(struct wake *wake, int rc)
{
	struct journal_read *r = container_of(wake, struct journal_read, wake);
	const struct rados_omap *omap = rados_read_omap(r->read);
	const char *key;

	for (size_t i = 0; i < omap->n; i++)
		(void)journal_item_take(r->kind, &r->item, r->arena,
		    omap->entry[i].key, omap->entry[i].value,
		    omap->entry[i].len);
	rados_read_drop(&r->read);
	key = journal_item_damage(r->kind, &r->item, r->needs);
	if (rc == -ENOENT)
		(void)err_set(&r->err, ERR_NOT_FOUND,
		    "no journal entry %s in %s", r->uuid,
		    ceph_pool_label(r->pool));
	else if (rc < 0)
		(void)err_set_rc(&r->err, rc, "read journal entry %s in %s",
		    r->uuid, ceph_pool_label(r->pool));
	else if (key != NULL)
		(void)err_set(&r->err, ERR_DATA_LOSS,
		    "journal entry %s in %s: %s is damaged", r->uuid,
		    ceph_pool_label(r->pool), key);
	wake_up(r->waiter, r->err.rc);
}

void
journal_read_start(struct journal_read *r, const struct journal_kind *kind,
    struct ceph_pool *pool, const char *uuid, unsigned needs,
    struct arena *arena, struct wake *waiter)
{
	auto_free char *object = str_fmt("%s%s", kind->item, uuid);
	const char *keys[JOURNAL_ATTR_COUNT];
	size_t n = 0;

	*r = (struct journal_read){
		.pool = pool,
		.uuid = uuid,
		.kind = kind,
		.needs = needs,
		.arena = arena,
		.read = rados_read_new(),
		.wake.fn = on_item_read,
		.waiter = waiter,
	};
	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if (kind->attr[i] != NULL)
			keys[n++] = kind->attr[i];
	(void)rados_read_omap_keys(r->read, keys, n);
	rados_read_start(r->read, pool, object, &r->wake);
}

/* ---- names that are known ---- */

/* Bits by hash; forgotten when a tenth of them is set. */
static struct {
	unsigned char bits[8192];
	unsigned set;
} known;

static size_t
known_bit(const struct journal *j, const char *name)
{
	uint64_t hash = STR_HASH_SEED ^ (uint64_t)j->pool->id;
	const char *const part[] = { j->pool->rados_namespace, j->instance_id,
		j->kind->directory, name };

	for (size_t i = 0; i < countof(part); i++)
		hash = str_hash(hash, part[i]);
	return (hash ^ hash >> 32) % (sizeof(known.bits) * 8);
}

bool
journal_may_know(const struct journal *j, const char *name)
{
	size_t bit = known_bit(j, name);

	return (known.bits[bit / 8] & 1u << bit % 8) != 0;
}

static void
know(const struct journal *j, const char *name)
{
	size_t bit = known_bit(j, name);

	if (journal_may_know(j, name))
		return;
	if (known.set++ == sizeof(known.bits) * 8 / 10)
		journal_forget();
	known.bits[bit / 8] |= (unsigned char)(1u << bit % 8);
}

void
journal_forget(void)
{
	memset(&known, 0, sizeof(known));
}

/* ---- find ---- */

/* What the directory has under the name, or nothing. */
static int
take_key(struct journal_find *f, struct err *err)
{
	const struct rados_omap *omap = rados_read_omap(f->read);
	const struct rados_omap_entry *e;
	int rc = 0;

	if (omap->n == 0)
		return 0;
	know(&f->journal, f->name);
	/* In the order of keys: a reservation comes before the name itself. */
	for (size_t i = 0; i < omap->n; i++) {
		e = &omap->entry[i];
		if (str_starts(e->key, JOURNAL_RESERVE)) {
			rc = journal_reservation_parse(
			    &f->reserved, f->arena, e->value, e->len);
			f->is_reserved = true;
			continue;
		}
		rc = journal_ref_parse(e->value, e->len, &f->ref);
		f->value = arena_fmt(
		    f->arena, "%.*s", (int)e->len, (const char *)e->value);
		f->is_reserved = false;
	}
	if (rc < 0)
		return err_set(err, ERR_DATA_LOSS,
		    "journal of %s: key %s has no valid value",
		    ceph_pool_label(f->journal.pool), e->key);
	return 0;
}

static enum op_verdict
find_step(struct op *op)
{
	struct journal_find *f = (struct journal_find *)op;
	const struct journal *j = &f->journal;
	const char *label = ceph_pool_label(j->pool), *name;
	struct journal_change gone;
	const char *keys[2];
	struct err err = ERR_INIT;
	int rc;

	switch (f->state) {
	case FIND_START:
		keys[0] = arena_fmt(f->arena, "%s%s", j->kind->key, f->name);
		keys[1] = arena_fmt(f->arena, JOURNAL_RESERVE "%s", f->name);
		f->read = rados_read_new();
		(void)rados_read_omap_keys(f->read, keys, countof(keys));
		rados_read_start(f->read, j->pool,
		    arena_fmt(
			f->arena, "%s%s", j->kind->directory, j->instance_id),
		    &op->wake);
		return op_await(f, FIND_KEY_READ);

	case FIND_KEY_READ:
		if (op->rc == -ENOENT) /* no directory yet */
			return op_goto(f, FIND_END);
		if (op->rc < 0)
			return op_fail_rc(f, FIND_END, op->rc,
			    "read the journal's directory in %s", label);
		if (take_key(f, &err) < 0)
			return op_fail_err(f, FIND_END, &err);
		if (f->value == NULL)
			return op_goto(f, FIND_END);
		f->item_pool = j->pool;
		rc = !f->ref.has_pool
		    ? 0
		    : ceph_pool_open_id(j->pool->conn, f->ref.pool_id,
			  j->pool->rados_namespace, &f->item_pool, &err);
		if (rc == -ENOENT) {
			gone.key = arena_fmt(
			    f->arena, "%s%s", j->kind->key, f->name);
			gone.was = f->value;
			gone.now = NULL;
			directory_change_start(j, false, &gone, 1, &op->wake);
			return op_await(f, FIND_KEY_DROPPED);
		}
		if (rc < 0)
			return op_fail_err(f, FIND_END, &err);
		f->found = true;
		journal_read_start(&f->entry, j->kind, f->item_pool,
		    f->ref.uuid,
		    JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_KMS) |
			JOURNAL_BIT(JOURNAL_ENCRYPTION) |
			JOURNAL_BIT(JOURNAL_SOURCE),
		    f->arena, &op->wake);
		return op_await(f, FIND_ITEM_READ);

	case FIND_KEY_DROPPED:
		if (op->rc == -ECANCELED)
			return op_fail(f, FIND_END, ERR_ABORTED,
			    "journal key of %s in %s was changed meanwhile",
			    f->name, label);
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(f, FIND_END, op->rc,
			    "remove the journal key of %s, whose pool is gone",
			    f->name);
		return op_goto(f, FIND_END);

	case FIND_ITEM_READ:
		/*
		 * A deletion removes the key before the item: it may have run
		 * between our reads. With its key still there the item was
		 * half-written, and the caller completes it.
		 */
		if (op->rc == -ENOENT && !f->is_sure) {
			rados_read_drop(&f->read);
			f->is_sure = true;
			f->found = f->is_reserved = false;
			f->reserved = (struct journal_reservation){ 0 };
			f->value = NULL;
			return op_goto(f, FIND_START);
		}
		if (op->rc == -ENOENT)
			return op_goto(f, FIND_END);
		if (op->rc < 0)
			return op_fail_as(f, FIND_END, entry);
		f->item = f->entry.item;
		name = f->item.attr[JOURNAL_NAME];
		if (!str_is_empty(name) && !str_eq(name, f->name))
			return op_fail(f, FIND_END, ERR_INTERNAL,
			    "journal entry %s in %s belongs to %s, not to %s",
			    f->ref.uuid, ceph_pool_label(f->item_pool), name,
			    f->name);
		return op_goto(f, FIND_END);

	case FIND_END:
		rados_read_drop(&f->read);
		return OP_DONE;
	}
	abort();
}

static const struct op_class find_class = {
	.name = "journal.find",
	.step = find_step,
};

void
journal_find_none(struct journal_find *find, const struct journal *journal,
    const char *name, struct arena *arena)
{
	memset(find, 0, sizeof(*find));
	find->journal = *journal;
	find->name = name;
	find->arena = arena;
}

void
journal_find_start(struct journal_find *find, const struct journal *journal,
    const char *name, struct arena *arena, struct wake *waiter)
{
	journal_find_none(find, journal, name, arena);
	op_start(&find->op, &find_class, waiter);
}

/* ---- reserve ---- */

static void
on_unclaimed(struct wake *wake, int rc)
{
	struct journal_reserve *r = container_of(
	    wake, struct journal_reserve, wake);

	(void)rc; /* the failure to claim it counts */
	wake_up(r->waiter, r->err.rc);
}

static void
on_claimed(struct wake *wake, int rc)
{
	struct journal_reserve *r = container_of(
	    wake, struct journal_reserve, wake);
	const char *name = r->item.attr[JOURNAL_NAME];
	struct journal_change undo = { .key = r->reserve_key, .was = r->value };

	if (rc == -ECANCELED)
		(void)err_set_rc(
		    &r->err, -EAGAIN, "another process makes %s", name);
	else if (rc < 0)
		(void)err_set_rc(&r->err, rc, "reserve %s in the journal of %s",
		    name, ceph_pool_label(r->journal.pool));
	/*
	 * After a failure it may have landed all the same. On a cluster that
	 * does not answer no undo is tried: the next call goes on from there.
	 */
	if (rc == 0)
		know(&r->journal, name);
	wake->fn = on_unclaimed;
	if (rc < 0 && rc != -ECANCELED && rc != -ETIME)
		directory_change_start(&r->journal, false, &undo, 1, wake);
	else
		wake_up(r->waiter, r->err.rc);
}

/* From the stage that it is in by what is known, else -ECANCELED. */
static void
stage_set_start(struct journal_reserve *r, enum journal_stage stage,
    void (*then)(struct wake *wake, int rc))
{
	const char *was = r->value;

	r->reservation.stage = stage;
	r->value = journal_reservation_fmt(&r->reservation, r->arena);
	r->wake.fn = then;
	directory_change_start(&r->journal, false,
	    &(struct journal_change){ r->reserve_key, was, r->value }, 1,
	    &r->wake);
}

static void
on_shared(struct wake *wake, int rc)
{
	struct journal_reserve *r = container_of(
	    wake, struct journal_reserve, wake);
	const char *name = r->item.attr[JOURNAL_NAME];

	if (rc == -ECANCELED || rc == -ENOENT)
		(void)err_set_rc(
		    &r->err, -EAGAIN, "another process makes %s", name);
	else if (rc < 0)
		(void)err_set_rc(&r->err, rc,
		    "share the reservation of %s in the journal of %s", name,
		    ceph_pool_label(r->journal.pool));
	wake_up(r->waiter, r->err.rc);
}

void
journal_reserve_start(struct journal_reserve *r,
    const struct journal_find *find, const char *prefix, const char *owner,
    const char *source, struct wake *waiter)
{
	const struct journal_kind *kind = find->journal.kind;
	struct arena *arena = find->arena;
	unsigned char seed[16];

	memset(r, 0, sizeof(*r));
	r->arena = arena;
	r->waiter = waiter;
	r->journal = find->journal;
	r->item_pool = find->journal.pool;
	r->key = arena_fmt(arena, "%s%s", kind->key, find->name);
	r->reserve_key = arena_fmt(arena, JOURNAL_RESERVE "%s", find->name);
	if (find->found) {
		r->key_value = find->value;
		memcpy(r->uuid, find->ref.uuid, sizeof(r->uuid));
		r->item = find->item;
		r->item_pool = find->item_pool;
	} else if (find->is_reserved) {
		memcpy(r->uuid, find->reserved.uuid, sizeof(r->uuid));
		r->item.attr[JOURNAL_IMAGENAME] = find->reserved.image;
		r->reservation = find->reserved;
		r->marked = find->reserved.stage == JOURNAL_UNDONE;
	} else {
		if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
			abort(); /* cannot fail for so few bytes */
		journal_uuid_fmt(r->uuid, seed);
		r->fresh = true;
	}
	r->item_object = arena_fmt(arena, "%s%s", kind->item, r->uuid);
	r->item.attr[JOURNAL_NAME] = find->name;
	if (str_is_empty(r->item.attr[JOURNAL_IMAGENAME]))
		r->item.attr[JOURNAL_IMAGENAME] = arena_fmt(
		    arena, "%s%s", prefix, r->uuid);
	if (!find->is_reserved)
		r->reservation = (struct journal_reservation){
			.source = source,
			.image = r->item.attr[JOURNAL_IMAGENAME],
		};
	r->value = journal_reservation_fmt(&r->reservation, arena);
	if (str_is_empty(r->item.attr[JOURNAL_OWNER]))
		r->item.attr[JOURNAL_OWNER] = owner;
	if (r->fresh) { /* ours if nobody has the name and nobody makes it */
		r->wake.fn = on_claimed;
		directory_change_start(&r->journal, true,
		    (struct journal_change[]){ { r->key, NULL, NULL },
			{ r->reserve_key, NULL, r->value } },
		    2, &r->wake);
	} else if (find->is_reserved && r->reservation.stage == JOURNAL_BEGUN) {
		stage_set_start(r, JOURNAL_SHARED, on_shared);
	} else {
		wake_up(waiter, 0);
	}
}

/* ---- commit ---- */

static void
item_write_start(const struct journal_reserve *r, struct wake *waiter)
{
	const struct journal_kind *kind = r->journal.kind;
	struct rados_omap_entry entries[JOURNAL_ATTR_COUNT];
	struct rados_write *w = rados_write_new(RADOS_CREATE);
	size_t n = 0;

	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if (!str_is_empty(r->item.attr[i]))
			entries[n++] = (struct rados_omap_entry){
				.key = kind->attr[i],
				.value = r->item.attr[i],
				.len = strlen(r->item.attr[i]),
			};
	rados_write_omap_set(w, entries, n);
	rados_write_start(w, r->item_pool, r->item_object, waiter);
}

static void
on_item_written(struct wake *wake, int rc)
{
	struct journal_reserve *r = container_of(
	    wake, struct journal_reserve, item_wake);

	if (rc < 0)
		r->written[0] = '\0';
	wake_up(r->item_waiter, rc);
}

void
journal_item_start(struct journal_reserve *r, struct wake *waiter)
{
	r->item_wake.fn = on_item_written;
	r->item_waiter = waiter;
	(void)snprintf(r->written, sizeof(r->written), "%s",
	    r->item.attr[JOURNAL_IMAGEID]);
	item_write_start(r, &r->item_wake);
}

static enum op_verdict
commit_step(struct op *op)
{
	struct journal_commit *c = (struct journal_commit *)op;
	const struct journal_reserve *r = c->reserve;

	switch (c->state) {
	case COMMIT_START:
		op->rc = 0;
		if (str_eq(r->written, r->item.attr[JOURNAL_IMAGEID]))
			return op_goto(c, COMMIT_ITEM_WRITTEN);
		item_write_start(r, &op->wake);
		return op_await(c, COMMIT_ITEM_WRITTEN);

	case COMMIT_ITEM_WRITTEN:
		if (op->rc < 0)
			return op_fail_rc(c, COMMIT_END, op->rc,
			    "write journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->item_pool));
		if (r->key_value == NULL)
			directory_change_start(&r->journal, false,
			    (struct journal_change[]){
				{ r->reserve_key, r->value, NULL },
				{ r->key, NULL, r->uuid } },
			    2, &op->wake);
		else /* unless somebody has removed it meanwhile */
			directory_change_start(&r->journal, false,
			    &(struct journal_change){
				r->key, r->key_value, r->key_value },
			    1, &op->wake);
		return op_await(c, COMMIT_KEY_SET);

	case COMMIT_KEY_SET:
		if (op->rc == -ECANCELED || op->rc == -ENOENT)
			return op_fail_rc(c, COMMIT_END, -EAGAIN,
			    "another process makes %s",
			    r->item.attr[JOURNAL_NAME]);
		if (op->rc < 0)
			return op_fail_rc(c, COMMIT_END, op->rc,
			    "enter %s in the journal of %s",
			    r->item.attr[JOURNAL_NAME],
			    ceph_pool_label(r->journal.pool));
		return op_goto(c, COMMIT_END);

	case COMMIT_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class commit_class = {
	.name = "journal.commit",
	.step = commit_step,
};

void
journal_commit_start(struct journal_commit *c, struct journal_reserve *reserve,
    struct wake *waiter)
{
	memset(c, 0, sizeof(*c));
	c->reserve = reserve;
	op_start(&c->op, &commit_class, waiter);
}

/* ---- mark ---- */

static void
on_marked(struct wake *wake, int rc)
{
	struct journal_reserve *r = container_of(
	    wake, struct journal_reserve, wake);

	r->marked = rc == 0;
	r->refused = rc < 0;
	wake_up(r->waiter, rc);
}

void
journal_mark_start(struct journal_reserve *r, struct wake *waiter)
{
	r->waiter = waiter;
	if (r->marked)
		wake_up(waiter, 0);
	else if (!r->fresh || r->refused)
		wake_up(waiter, -EBUSY);
	else
		stage_set_start(r, JOURNAL_UNDONE, on_marked);
}

bool
journal_find_has(const struct journal_find *f, const char *uuid)
{
	return (f->found && str_eq(f->ref.uuid, uuid)) ||
	    str_eq(f->reserved.uuid, uuid);
}

/* ---- release ---- */

/* Removes the item, or what leads to it; there may be nothing to remove. */
static void
release_one_start(struct journal_release *r, bool item, struct wake *waiter)
{
	const struct journal_kind *kind = r->journal.kind;
	bool elsewhere = r->journal.pool != r->item_pool;
	auto_free char *object = str_fmt("%s%s", kind->item, r->uuid);
	auto_free char *key = str_fmt("%s%s",
	    r->reserved != NULL ? JOURNAL_RESERVE : kind->key,
	    r->name != NULL ? r->name : "");
	auto_free char *value = elsewhere
	    ? str_fmt(
		  "%016llx/%s", (unsigned long long)r->item_pool->id, r->uuid)
	    : str_dup(r->uuid);
	struct journal_change gone = {
		.key = key,
		.was = r->reserved != NULL ? r->reserved : value,
	};

	if (item)
		rados_remove_start(r->item_pool, object, waiter);
	else if (r->name != NULL && !r->key_gone)
		directory_change_start(&r->journal, false, &gone, 1, waiter);
	else
		wake_up(waiter, 0);
}

static void
on_key_gone(struct wake *wake, int rc)
{
	struct journal_release *r = container_of(
	    wake, struct journal_release, wake);

	r->key_gone = rc == 0 || rc == -ENOENT || rc == -ECANCELED;
	wake_up(r->waiter, 0);
}

void
journal_release_key_start(struct journal_release *r, struct wake *waiter)
{
	r->wake.fn = on_key_gone;
	r->waiter = waiter;
	release_one_start(r, false, &r->wake);
}

static enum op_verdict
release_step(struct op *op)
{
	struct journal_release *r = (struct journal_release *)op;

	switch (r->state) {
	case RELEASE_START:
		release_one_start(r, r->reserved != NULL, &op->wake);
		return op_await(r, RELEASE_FIRST_GONE);

	case RELEASE_FIRST_GONE:
	case RELEASE_SECOND_GONE:
		if (op->rc < 0 && op->rc != -ENOENT && op->rc != -ECANCELED)
			return op_fail_rc(r, RELEASE_END, op->rc,
			    "release journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->item_pool));
		if (r->state == RELEASE_SECOND_GONE)
			return op_goto(r, RELEASE_END);
		release_one_start(r, r->reserved == NULL, &op->wake);
		return op_await(r, RELEASE_SECOND_GONE);

	case RELEASE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class release_class = {
	.name = "journal.release",
	.step = release_step,
};

void
journal_release_start(struct journal_release *release, struct wake *waiter)
{
	memset(&release->op, 0, sizeof(release->op));
	release->state = RELEASE_START;
	op_start(&release->op, &release_class, waiter);
}

/* ---- purge notes ---- */

#define NOTE_BYTES_MAX 8192

void
journal_purge_note(struct rados_write *w, const char *instance_id,
    const char *image_id, const struct journal_purge *purge)
{
	struct arena *arena = arena_new(NOTE_BYTES_MAX);
	struct rados_omap_entry entry = {
		.key = journal_purge_key(arena, instance_id, image_id),
	};

	if (purge != NULL) {
		entry.value = journal_purge_fmt(arena, purge);
		entry.len = strlen(entry.value);
		rados_write_omap_set(w, &entry, 1);
		rados_write_although_full(w);
	} else {
		rados_write_omap_remove(w, entry.key);
	}
	arena_free(arena);
}

void
journal_purge_note_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const struct journal_purge *purge,
    struct wake *waiter)
{
	struct rados_write *w = rados_write_new(
	    purge != NULL ? RADOS_CREATE : RADOS_EXISTS);

	journal_purge_note(w, instance_id, image_id, purge);
	rados_write_about(w, image_id);
	rados_write_together_start(w, pool, RBD_TRASH, waiter);
}

struct rados_read *
journal_purge_read_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *after, struct wake *waiter)
{
	struct arena *arena = arena_new(NOTE_BYTES_MAX);
	const char *key = journal_purge_key(
	    arena, instance_id, image_id != NULL ? image_id : "");
	struct rados_read *read = rados_read_new();

	if (image_id != NULL)
		(void)rados_read_omap_keys(read, &key, 1);
	else
		(void)rados_read_omap_page(
		    read, after, key, JOURNAL_PURGE_PAGE);
	rados_read_start(read, pool, RBD_TRASH, waiter);
	arena_free(arena);
	return read;
}
