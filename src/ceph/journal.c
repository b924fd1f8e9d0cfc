/*
 * journal.c - looking up, reserving and releasing request names.
 */
#include "ceph/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct rados_omap_entry
text_entry(const char *key, const char *value)
{
	return (struct rados_omap_entry){
		.key = key,
		.value = value,
		.len = strlen(value),
	};
}

/* Reads all attributes of an item that we know, as one step. */
static unsigned
add_item_step(struct rados_read *read)
{
	const char *keys[JOURNAL_ATTR_COUNT];

	for (int i = 0; i < JOURNAL_ATTR_COUNT; i++)
		keys[i] = journal_attr_key((enum journal_attr)i);
	return rados_read_omap_keys(read, keys, JOURNAL_ATTR_COUNT);
}

/* Fails if an attribute of `needs` is damaged; of others that is no matter. */
static int
take_item(const struct rados_read *read, unsigned step, unsigned needs,
    const struct ceph_pool *pool, const char *uuid, struct arena *arena,
    struct journal_item *item, struct err *err)
{
	size_t n = rados_read_omap_count(read, step);
	const char *key;

	for (size_t i = 0; i < n; i++) {
		const struct rados_omap_entry *e = rados_read_omap_entry(
		    read, step, i);

		journal_item_take(item, arena, e->key, e->value, e->len);
	}
	key = journal_item_damage(item, needs);
	if (key == NULL)
		return 0;
	return err_set(err, ERR_DATA_LOSS,
	    "journal entry %s in %s: %s is damaged", uuid,
	    ceph_pool_label(pool), key);
}

static void
start_item_read(struct rados_read **read, unsigned *step,
    struct ceph_pool *pool, struct arena *arena, const char *uuid,
    struct wake *waiter)
{
	rados_read_free(*read);
	*read = rados_read_new();
	*step = add_item_step(*read);
	rados_read_start(*read, pool, journal_item_fmt(arena, uuid), waiter);
}

/* ---- find ---- */

static enum op_verdict
find_judge_key(struct journal_find *f)
{
	const struct rados_omap_entry *e;
	struct err err = ERR_INIT;
	const char *const *key;
	struct rados_write *w;
	size_t n;
	int rc;

	if (f->op.rc == -ENOENT) /* no directory yet */
		return op_goto(f, FIND_END);
	if (f->op.rc < 0)
		return op_fail_rc(f, FIND_END, f->op.rc,
		    "read the journal's directory in %s",
		    ceph_pool_label(f->pool));
	n = rados_read_omap_count(f->read, f->step);
	if (n == 0)
		return op_goto(f, FIND_END);
	/* In the order of keys: a reservation comes before the name itself. */
	e = rados_read_omap_entry(f->read, f->step, n - 1);
	if (str_starts(e->key, JOURNAL_RESERVE_PREFIX)) {
		f->reserved = journal_reserve_parse(
		    f->arena, e->value, e->len, f->reserved_uuid);
		if (f->reserved == NULL)
			return op_fail(f, FIND_END, ERR_DATA_LOSS,
			    "journal of %s: key %s has no valid value",
			    ceph_pool_label(f->pool), e->key);
		return op_goto(f, FIND_END);
	}
	if (journal_ref_parse(e->value, e->len, &f->ref) < 0)
		return op_fail(f, FIND_END, ERR_DATA_LOSS,
		    "journal of %s: key %s has no valid value",
		    ceph_pool_label(f->pool), e->key);
	f->value = arena_fmt(
	    f->arena, "%.*s", (int)e->len, (const char *)e->value);
	f->item_pool = f->pool;
	if (f->ref.has_pool) {
		rc = ceph_pool_open_id(ceph_pool_connection(f->pool),
		    f->ref.pool_id, ceph_pool_namespace(f->pool), &f->item_pool,
		    &err);
		if (rc == -ENOENT) {
			key = &e->key;
			w = rados_write_new();
			rados_write_assert_exists(w);
			rados_write_omap_expect(w, e->key, e->value, e->len);
			rados_write_omap_remove(w, key, 1);
			rados_write_start(w, f->pool,
			    journal_directory_fmt(f->arena, f->instance_id),
			    &f->op.wake);
			return op_await(f, FIND_KEY_DROPPED);
		}
		if (rc < 0)
			return op_fail_err(f, FIND_END, &err);
	}
	f->found = true;
	start_item_read(&f->read, &f->step, f->item_pool, f->arena, f->ref.uuid,
	    &f->op.wake);
	return op_await(f, FIND_ITEM_READ);
}

static enum op_verdict
find_judge_item(struct journal_find *f)
{
	struct err err = ERR_INIT;
	const char *name;

	if (f->op.rc == -ENOENT) /* half-written: the caller completes it */
		return op_goto(f, FIND_END);
	if (f->op.rc < 0)
		return op_fail_rc(f, FIND_END, f->op.rc,
		    "read journal entry %s in %s", f->ref.uuid,
		    ceph_pool_label(f->item_pool));
	if (take_item(f->read, f->step,
		JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_KMS) |
		    JOURNAL_BIT(JOURNAL_ENCRYPTION),
		f->item_pool, f->ref.uuid, f->arena, &f->item, &err) < 0)
		return op_fail_err(f, FIND_END, &err);
	name = f->item.attr[JOURNAL_VOLNAME];
	if (!str_is_empty(name) && !str_eq(name, f->name))
		return op_fail(f, FIND_END, ERR_INTERNAL,
		    "journal entry %s in %s belongs to %s, not to %s",
		    f->ref.uuid, ceph_pool_label(f->item_pool), name, f->name);
	return op_goto(f, FIND_END);
}

static enum op_verdict
find_step(struct op *op)
{
	struct journal_find *f = container_of(op, struct journal_find, op);
	const char *keys[2];

	switch (f->state) {
	case FIND_START:
		keys[0] = journal_key_fmt(f->arena, f->name);
		keys[1] = journal_reserve_fmt(f->arena, f->name);
		f->read = rados_read_new();
		f->step = rados_read_omap_keys(f->read, keys, countof(keys));
		rados_read_start(f->read, f->pool,
		    journal_directory_fmt(f->arena, f->instance_id), &op->wake);
		return op_await(f, FIND_KEY_READ);

	case FIND_KEY_READ:
		return find_judge_key(f);

	case FIND_KEY_DROPPED:
		if (op->rc == -ECANCELED)
			return op_fail(f, FIND_END, ERR_ABORTED,
			    "journal key of %s in %s was changed meanwhile",
			    f->name, ceph_pool_label(f->pool));
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(f, FIND_END, op->rc,
			    "remove the journal key of %s, whose pool is gone",
			    f->name);
		return op_goto(f, FIND_END);

	case FIND_ITEM_READ:
		return find_judge_item(f);

	case FIND_END:
		rados_read_free(f->read);
		f->read = NULL;
		return OP_DONE;
	}
	abort();
}

static const struct op_class find_class = {
	.name = "journal.find",
	.step = find_step,
};

void
journal_find_start(struct journal_find *find, struct ceph_pool *pool,
    const char *instance_id, const char *name, struct arena *arena,
    struct wake *waiter)
{
	memset(find, 0, sizeof(*find));
	find->pool = pool;
	find->instance_id = instance_id;
	find->name = name;
	find->arena = arena;
	op_start(&find->op, &find_class, waiter);
}

/* ---- reserve ---- */

static const char *
volume_name(const struct journal_reserve *r)
{
	return r->item.attr[JOURNAL_VOLNAME];
}

void
journal_key_remove_start(struct ceph_pool *pool, const char *instance_id,
    const struct rados_omap_entry *key, const char *other,
    const char *other_value, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	struct arena *arena = arena_new(1024);

	rados_write_assert_exists(w);
	rados_write_omap_expect(w, key->key, key->value, key->len);
	if (other != NULL)
		rados_write_omap_expect(w, other, other_value,
		    other_value != NULL ? strlen(other_value) : 0);
	rados_write_omap_remove(w, &key->key, 1);
	rados_write_start(
	    w, pool, journal_directory_fmt(arena, instance_id), waiter);
	arena_free(arena);
}

static void
remove_key(struct ceph_pool *pool, const char *instance_id, const char *key,
    const char *value, struct wake *waiter)
{
	struct rados_omap_entry entry = text_entry(key, value);

	journal_key_remove_start(pool, instance_id, &entry, NULL, NULL, waiter);
}

/* The name is ours if nobody has it and nobody makes it. */
static void
claim_start(struct journal_reserve *r)
{
	struct rados_omap_entry entry = text_entry(
	    journal_reserve_fmt(r->arena, volume_name(r)),
	    r->item.attr[JOURNAL_IMAGENAME]);
	struct rados_write *w = rados_write_new();

	rados_write_create(w, false);
	rados_write_omap_expect(
	    w, journal_key_fmt(r->arena, volume_name(r)), NULL, 0);
	rados_write_omap_expect(w, entry.key, NULL, 0);
	rados_write_omap_set(w, &entry, 1);
	rados_write_start(w, r->pool,
	    journal_directory_fmt(r->arena, r->instance_id), &r->op.wake);
}

static enum op_verdict
reserve_step(struct op *op)
{
	struct journal_reserve *r = container_of(
	    op, struct journal_reserve, op);

	switch (r->state) {
	case RESERVE_START:
		claim_start(r);
		return op_await(r, RESERVE_CLAIMED);

	case RESERVE_CLAIMED:
		if (op->rc >= 0)
			return op_goto(r, RESERVE_END);
		if (op->rc == -ECANCELED)
			return op_fail_rc(r, RESERVE_END, -EAGAIN,
			    "another process makes %s", volume_name(r));
		op_set_error_rc(op, op->rc, "reserve %s in the journal of %s",
		    volume_name(r), ceph_pool_label(r->pool));
		/*
		 * It may have landed all the same. On a cluster that does not
		 * answer no undo is tried: the next call goes on from there.
		 */
		if (op->rc == -ETIME)
			return op_goto(r, RESERVE_END);
		remove_key(r->pool, r->instance_id,
		    journal_reserve_fmt(r->arena, volume_name(r)),
		    r->item.attr[JOURNAL_IMAGENAME], &op->wake);
		return op_await(r, RESERVE_UNDONE);

	case RESERVE_UNDONE:
		return op_goto(r, RESERVE_END);

	case RESERVE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class reserve_class = {
	.name = "journal.reserve",
	.step = reserve_step,
};

static void
random_bytes(unsigned char *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len)
		abort(); /* cannot fail for so few bytes */
}

void
journal_reserve_start(struct journal_reserve *r,
    const struct journal_find *find, const char *prefix, const char *owner,
    struct wake *waiter)
{
	unsigned char seed[16];

	memset(r, 0, sizeof(*r));
	r->pool = r->item_pool = find->pool;
	r->instance_id = find->instance_id;
	r->arena = find->arena;
	if (find->found) {
		r->key_value = find->value;
		memcpy(r->uuid, find->ref.uuid, sizeof(r->uuid));
		r->item = find->item;
		r->item_pool = find->item_pool;
	} else if (find->reserved != NULL) {
		memcpy(r->uuid, find->reserved_uuid, sizeof(r->uuid));
		r->item.attr[JOURNAL_IMAGENAME] = find->reserved;
	} else {
		random_bytes(seed, sizeof(seed));
		journal_uuid_fmt(r->uuid, seed);
	}
	r->item.attr[JOURNAL_VOLNAME] = find->name;
	if (str_is_empty(r->item.attr[JOURNAL_IMAGENAME]))
		r->item.attr[JOURNAL_IMAGENAME] = arena_fmt(
		    r->arena, "%s%s", prefix, r->uuid);
	if (str_is_empty(r->item.attr[JOURNAL_OWNER]))
		r->item.attr[JOURNAL_OWNER] = owner;
	if (find->found || find->reserved != NULL)
		wake_up(waiter, 0);
	else
		op_start(&r->op, &reserve_class, waiter);
}

/* ---- commit ---- */

static void
write_item_start(const struct journal_reserve *r, struct wake *waiter)
{
	struct rados_omap_entry entries[JOURNAL_ATTR_COUNT];
	struct rados_write *w = rados_write_new();
	size_t n = 0;

	for (int i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if (!str_is_empty(r->item.attr[i]))
			entries[n++] = text_entry(
			    journal_attr_key((enum journal_attr)i),
			    r->item.attr[i]);
	rados_write_create(w, false);
	rados_write_omap_set(w, entries, n);
	rados_write_start(
	    w, r->item_pool, journal_item_fmt(r->arena, r->uuid), waiter);
}

/* One of the two keys takes the other one's place, or nothing happens. */
static void
swap_keys_start(const struct journal_reserve *r, const char *from,
    const char *value, const char *to, const char *new_value,
    struct wake *waiter)
{
	struct rados_omap_entry entry = text_entry(to, new_value);
	struct rados_write *w = rados_write_new();

	rados_write_assert_exists(w);
	rados_write_omap_expect(w, from, value, strlen(value));
	rados_write_omap_expect(w, to, NULL, 0);
	rados_write_omap_remove(w, &from, 1);
	rados_write_omap_set(w, &entry, 1);
	rados_write_start(w, r->pool,
	    journal_directory_fmt(r->arena, r->instance_id), waiter);
}

/* Half a volume's key is there, unless somebody has removed it meanwhile. */
static void
assert_key_start(const struct journal_reserve *r, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();

	rados_write_assert_exists(w);
	rados_write_omap_expect(w, journal_key_fmt(r->arena, volume_name(r)),
	    r->key_value, strlen(r->key_value));
	rados_write_start(w, r->pool,
	    journal_directory_fmt(r->arena, r->instance_id), waiter);
}

static enum op_verdict
commit_step(struct op *op)
{
	struct journal_commit *c = container_of(op, struct journal_commit, op);
	const struct journal_reserve *r = c->reserve;

	switch (c->state) {
	case COMMIT_START:
		write_item_start(r, &op->wake);
		return op_await(c, COMMIT_ITEM_WRITTEN);

	case COMMIT_ITEM_WRITTEN:
		if (op->rc < 0)
			return op_fail_rc(c, COMMIT_END, op->rc,
			    "write journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->item_pool));
		if (r->key_value != NULL) {
			assert_key_start(r, &op->wake);
			return op_await(c, COMMIT_KEY_SET);
		}
		c->key_tried = true;
		swap_keys_start(r,
		    journal_reserve_fmt(r->arena, volume_name(r)),
		    r->item.attr[JOURNAL_IMAGENAME],
		    journal_key_fmt(r->arena, volume_name(r)), r->uuid,
		    &op->wake);
		return op_await(c, COMMIT_KEY_SET);

	case COMMIT_KEY_SET:
		if (op->rc == -ECANCELED || op->rc == -ENOENT)
			return op_fail_rc(c, COMMIT_END, -EAGAIN,
			    "another process makes %s", volume_name(r));
		if (op->rc < 0)
			return op_fail_rc(c, COMMIT_END, op->rc,
			    "enter %s in the journal of %s", volume_name(r),
			    ceph_pool_label(r->pool));
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
journal_commit_start(struct journal_commit *c,
    const struct journal_reserve *reserve, struct wake *waiter)
{
	memset(c, 0, sizeof(*c));
	c->reserve = reserve;
	op_start(&c->op, &commit_class, waiter);
}

void
journal_uncommit_start(const struct journal_reserve *r, struct wake *waiter)
{
	swap_keys_start(r, journal_key_fmt(r->arena, volume_name(r)), r->uuid,
	    journal_reserve_fmt(r->arena, volume_name(r)),
	    r->item.attr[JOURNAL_IMAGENAME], waiter);
}

/* ---- read ---- */

static enum op_verdict
read_step(struct op *op)
{
	struct journal_read *r = container_of(op, struct journal_read, op);
	struct err err = ERR_INIT;

	switch (r->state) {
	case READ_START:
		start_item_read(
		    &r->read, &r->step, r->pool, r->arena, r->uuid, &op->wake);
		return op_await(r, READ_ITEM_READ);

	case READ_ITEM_READ:
		if (op->rc == -ENOENT)
			return op_fail(r, READ_END, ERR_NOT_FOUND,
			    "no journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->pool));
		if (op->rc < 0)
			return op_fail_rc(r, READ_END, op->rc,
			    "read journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->pool));
		if (take_item(r->read, r->step, r->needs, r->pool, r->uuid,
			r->arena, &r->item, &err) < 0)
			return op_fail_err(r, READ_END, &err);
		return op_goto(r, READ_END);

	case READ_END:
		rados_read_free(r->read);
		r->read = NULL;
		return OP_DONE;
	}
	abort();
}

static const struct op_class read_class = {
	.name = "journal.read",
	.step = read_step,
};

void
journal_read_start(struct journal_read *read, struct ceph_pool *pool,
    const char *uuid, unsigned needs, struct arena *arena, struct wake *waiter)
{
	memset(read, 0, sizeof(*read));
	read->pool = pool;
	read->needs = needs;
	read->uuid = uuid;
	read->arena = arena;
	op_start(&read->op, &read_class, waiter);
}

/* ---- release ---- */

/* The directory's value: with the image's pool if that is another one. */
static const char *
release_value(const struct journal_release *r, struct arena *arena)
{
	if (r->pool == r->item_pool)
		return r->uuid;
	return arena_fmt(arena, "%016llx/%s",
	    (unsigned long long)ceph_pool_id(r->item_pool), r->uuid);
}

static void
release_one(struct journal_release *r, bool key)
{
	struct arena *arena = arena_new(4096);

	if (!key)
		rados_remove_start(r->item_pool,
		    journal_item_fmt(arena, r->uuid), &r->op.wake);
	else if (r->reserved != NULL)
		remove_key(r->pool, r->instance_id,
		    journal_reserve_fmt(arena, r->name), r->reserved,
		    &r->op.wake);
	else if (r->name != NULL)
		remove_key(r->pool, r->instance_id,
		    journal_key_fmt(arena, r->name), release_value(r, arena),
		    &r->op.wake);
	else
		wake_up(&r->op.wake, 0);
	arena_free(arena);
}

static enum op_verdict
release_step(struct op *op)
{
	struct journal_release *r = container_of(
	    op, struct journal_release, op);
	bool gone = op->rc >= 0 || op->rc == -ENOENT || op->rc == -ECANCELED;

	switch (r->state) {
	case RELEASE_START:
		release_one(r, r->reserved == NULL);
		return op_await(r, RELEASE_FIRST_GONE);

	case RELEASE_FIRST_GONE:
	case RELEASE_SECOND_GONE:
		if (!gone)
			return op_fail_rc(r, RELEASE_END, op->rc,
			    "release journal entry %s in %s", r->uuid,
			    ceph_pool_label(r->item_pool));
		if (r->state == RELEASE_SECOND_GONE)
			return op_goto(r, RELEASE_END);
		release_one(r, r->reserved != NULL);
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

void
journal_purge_note_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const struct journal_purge *purge,
    struct wake *waiter)
{
	struct arena *arena = arena_new(8192);
	struct rados_omap_entry entry = text_entry(
	    image_id, journal_purge_fmt(arena, purge));
	struct rados_write *w = rados_write_new();

	rados_write_create(w, false);
	rados_write_omap_set(w, &entry, 1);
	rados_write_although_full(w);
	rados_write_start(
	    w, pool, journal_purges_fmt(arena, instance_id), waiter);
	arena_free(arena);
}

void
journal_purge_done_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	struct arena *arena = arena_new(1024);

	rados_write_assert_exists(w);
	rados_write_omap_remove(w, &image_id, 1);
	rados_write_start(
	    w, pool, journal_purges_fmt(arena, instance_id), waiter);
	arena_free(arena);
}

struct rados_read *
journal_purge_read_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, struct wake *waiter)
{
	struct rados_read *read = rados_read_new();
	struct arena *arena = arena_new(1024);

	(void)rados_read_omap_keys(read, &image_id, 1);
	rados_read_start(
	    read, pool, journal_purges_fmt(arena, instance_id), waiter);
	arena_free(arena);
	return read;
}

struct rados_read *
journal_purge_list_start(struct ceph_pool *pool, const char *instance_id,
    const char *after, unsigned *step, struct wake *waiter)
{
	struct rados_read *read = rados_read_new();
	struct arena *arena = arena_new(1024);

	*step = rados_read_omap_page(read, after, "", JOURNAL_PURGE_PAGE);
	rados_read_start(
	    read, pool, journal_purges_fmt(arena, instance_id), waiter);
	arena_free(arena);
	return read;
}
