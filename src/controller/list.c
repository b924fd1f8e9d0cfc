/*
 * list.c - walking pools and directories, and looking at what they name, some
 * at a time.
 */
#include "controller/list.h"

#include "ceph/pools.h"
#include "controller/controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Keys of a directory in one read: more than are wanted if many are left out. */
#define KEYS_MAX 256
#define ARENA_MAX ((size_t)32 << 20)

/* ---- looking at all keys of a page ---- */

static void
look_at_next(struct list_slot *slot)
{
	struct list *l = slot->list;
	struct list_key *key = &l->key[l->next];

	slot->at = l->next++;
	slot->look = (struct look){
		.kind = l->kind,
		.pool = key->pool,
		.uuid = key->uuid,
		.source = l->source != NULL ? l->source->uuid : NULL,
		.rooms = l->health ? &l->rooms : NULL,
		.arena = l->arena,
	};
	l->looking++;
	look_start(&slot->look, &slot->wake);
}

static void
on_looked(struct wake *wake, int rc)
{
	struct list_slot *slot = container_of(wake, struct list_slot, wake);
	struct list *l = slot->list;

	l->looking--;
	if (rc < 0 && !err_is_set(&l->failure))
		l->failure = slot->look.op.err;
	if (rc == 0 && slot->look.known)
		l->key[slot->at].entry = l->entry(l->rpc, &slot->look);
	if (l->next < l->nkeys && !err_is_set(&l->failure))
		look_at_next(slot);
	else if (l->looking == 0)
		wake_up(&l->op.wake, l->failure.rc);
}

/* ---- pools, directories, pages ---- */

/* The pool with the lowest id from `id` on, in l->pool; NULL: all are done. */
static int
pool_from(struct list *l, int64_t id, struct err *err)
{
	l->pool = NULL;
	return ceph_pools_next(controller.conn, id - 1,
	    l->rpc->env->rados_namespace, &l->pool, err);
}

static int
begin(struct list *l, struct err *err)
{
	const struct csi_token *token = &l->rpc->in->page.token;
	struct arena *arena = l->rpc->arena;
	int rc;

	l->after = "";
	l->arena = arena_new(ARENA_MAX);
	l->entries = arena_new_bytes(
	    arena, (l->rpc->in->page.max + 1) * sizeof(*l->entries));
	l->slot = arena_new_bytes(arena, LIST_LOOKS * sizeof(*l->slot));
	for (size_t i = 0; i < LIST_LOOKS; i++) {
		l->slot[i].wake.fn = on_looked;
		l->slot[i].list = l;
	}
	rc = pool_from(l, token->pool_id, err);
	if (rc == 0 && l->pool != NULL && l->pool->id == token->pool_id &&
	    *token->name != '\0')
		l->after = arena_fmt(arena, "%s%s", l->kind->key, token->name);
	return rc;
}

static void
take_keys(struct list *l)
{
	const struct rados_omap *omap = rados_read_omap(l->read);

	l->nkeys = 0;
	l->more = omap->n > 0 && omap->more;
	l->key = arena_new_bytes(l->arena, (omap->n + 1) * sizeof(*l->key));
	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];
		struct list_key *key = &l->key[l->nkeys++];
		struct journal_ref ref;

		key->key = arena_strdup(l->rpc->arena, e->key);
		key->pool = l->pool;
		/*
		 * ceph-csi has handles of another cluster there, too. A source's
		 * snapshots are in its pool; their keys may be in any other.
		 */
		if (journal_ref_parse(e->value, e->len, &ref) < 0 ||
		    (ref.has_pool &&
			ceph_pool_open_id(controller.conn, ref.pool_id,
			    l->pool->rados_namespace, &key->pool, NULL) < 0) ||
		    (l->source != NULL && key->pool->id != l->source->pool_id))
			l->nkeys--;
		else
			memcpy(key->uuid, ref.uuid, sizeof(key->uuid));
	}
	if (omap->n > 0)
		l->last = arena_strdup(
		    l->rpc->arena, omap->entry[omap->n - 1].key);
}

static void
set_token(struct list *l)
{
	const char *name = l->after;

	if (*name != '\0')
		name += strlen(l->kind->key);
	l->next_token = csi_token_fmt(l->rpc->arena, l->rpc->in->page.of,
	    &(const struct csi_token){
		.cluster_id = l->rpc->env->cluster_id,
		.pool_id = l->pool->id,
		.name = name,
	    });
}

/* Adds what was found in the order of keys; false: the page is full. */
static bool
take_entries(struct list *l)
{
	for (size_t i = 0; i < l->nkeys; i++) {
		const struct list_key *key = &l->key[i];
		size_t bytes;

		if (key->entry != NULL) {
			bytes = protobuf_c_message_get_packed_size(key->entry);
			if (l->n == l->rpc->in->page.max ||
			    (l->n > 0 && l->bytes + bytes > CSI_PAGE_BYTES))
				return false;
			l->entries[l->n++] = key->entry;
			l->bytes += bytes;
		}
		l->after = key->key;
	}
	if (l->more) /* perhaps behind keys that name nothing */
		l->after = l->last;
	return true;
}

static enum op_verdict
list_step(struct op *op)
{
	struct list *l = (struct list *)op;
	size_t room = l->rpc->in->page.max - l->n;
	struct err err = ERR_INIT;
	const char *object;

	switch (l->state) {
	case LIST_START:
		if (begin(l, &err) < 0)
			return op_fail_err(l, LIST_END, &err);
		return op_goto(l, LIST_POOL);

	case LIST_POOL:
		/* A user who may read some pools has those; a revoked one none. */
		if (l->pool == NULL && l->refused && !l->answered)
			return op_fail(l, LIST_END, ERR_PERMISSION_DENIED,
			    "list the %ss: client.%s may not read any pool",
			    l->kind->noun, controller.conn->user);
		if (l->pool == NULL)
			return op_goto(l, LIST_END);
		if (l->rpc->op.detached)
			return op_fail(
			    l, LIST_END, ERR_CANCELLED, "the caller is gone");
		/* A full page wants to know whether there is another one. */
		if (room == 0)
			room = 1;
		else if (l->source != NULL || room > KEYS_MAX)
			room = KEYS_MAX;
		object = arena_fmt(l->arena, "%s%s", l->kind->directory,
		    l->rpc->env->instance_id);
		rados_read_drop(&l->read);
		l->read = rados_read_new();
		(void)rados_read_omap_page(
		    l->read, l->after, l->kind->key, (unsigned)room);
		rados_read_start(l->read, l->pool, object, &op->wake);
		return op_await(l, LIST_PAGE_READ);

	case LIST_PAGE_READ:
		if (op->rc == -EPERM || op->rc == -EACCES) {
			l->refused = true;
			return op_goto(l, LIST_POOL_DONE);
		}
		l->answered = true;
		if (op->rc == -ENOENT)
			return op_goto(l, LIST_POOL_DONE);
		if (op->rc < 0)
			return op_fail_rc(l, LIST_END, op->rc,
			    "list the %ss of %s", l->kind->noun,
			    ceph_pool_label(l->pool));
		/* Perhaps the first call for this pool in days. */
		controller_resume(l->pool, l->rpc->env->instance_id);
		take_keys(l);
		if (room == 0 && l->nkeys > 0) {
			set_token(l);
			return op_goto(l, LIST_END);
		}
		l->next = 0;
		if (l->nkeys == 0)
			return op_goto(l, LIST_LOOKED);
		for (size_t i = 0; i < LIST_LOOKS && l->next < l->nkeys; i++)
			look_at_next(&l->slot[i]);
		return op_await(l, LIST_LOOKED);

	case LIST_LOOKED:
		if (op->rc < 0)
			return op_fail_err(l, LIST_END, &l->failure);
		if (!take_entries(l)) {
			set_token(l);
			return op_goto(l, LIST_END);
		}
		arena_free(l->arena);
		l->arena = arena_new(ARENA_MAX);
		return l->more ? op_goto(l, LIST_POOL)
			       : op_goto(l, LIST_POOL_DONE);

	case LIST_POOL_DONE:
		l->after = "";
		if (pool_from(l, l->pool->id + 1, &err) < 0)
			return op_fail_err(l, LIST_END, &err);
		return op_goto(l, LIST_POOL);

	case LIST_END:
		rados_read_drop(&l->read);
		arena_free(l->arena);
		l->arena = NULL;
		return OP_DONE;
	}
	abort();
}

static const struct op_class list_class = {
	.name = "list",
	.step = list_step,
};

void
list_start(struct list *list, struct wake *waiter)
{
	op_start(&list->op, &list_class, waiter);
}
