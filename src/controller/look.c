/*
 * look.c - looking at one volume or snapshot: two reads, its entry and its
 * image's header, and for its health a third one, of the directory.
 */
#include "controller/look.h"

#include "controller/controller.h"
#include "controller/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What the entry says; false: it is not what is looked for. */
static bool
take_entry(struct look *l)
{
	const struct journal_item *item = &l->entry.item;
	const char *source = item->attr[JOURNAL_SOURCE];

	if (l->source != NULL &&
	    (source == NULL || !str_ends(source, l->source)))
		return false;
	l->known = true;
	l->image = item->attr[JOURNAL_IMAGENAME];
	if (str_is_empty(l->image)) /* very old ones do not name it */
		l->image = arena_fmt(l->arena, "%s%s", l->kind->image, l->uuid);
	if (!str_is_empty(item->attr[JOURNAL_IMAGEID]))
		l->image_id = item->attr[JOURNAL_IMAGEID];
	return true;
}

/* In front of the names of nodes that have the volume. */
static const char *
published(const struct look *l)
{
	return volume_meta_published(l->arena, l->image_id, "");
}

/* The pool of its data may have been removed: that shows in what is next. */
static void
take_header(struct look *l)
{
	l->has_header = true;
	if (l->summary.data_pool >= 0 &&
	    ceph_pool_open_id(controller.conn, l->summary.data_pool,
		l->pool->rados_namespace, &l->data_pool, NULL) < 0)
		l->data_pool = NULL;
	l->node = arena_new_bytes(
	    l->arena, (l->summary.nkeys + 1) * sizeof(*l->node));
	for (size_t i = 0; i < l->summary.nkeys; i++)
		l->node[l->nnodes++] = l->summary.key[i] + strlen(published(l));
}

static void
take_nodes(struct look *l)
{
	l->nnodes = 0;
	l->node = arena_new_bytes(l->arena, (l->list.n + 1) * sizeof(*l->node));
	for (size_t i = 0; i < l->list.n; i++)
		if (str_starts(l->list.meta[i].key, published(l)))
			l->node[l->nnodes++] = arena_strdup(l->arena,
			    l->list.meta[i].key + strlen(published(l)));
}

static struct ceph_pool *
room_of(const struct look *l)
{
	return l->data_pool != NULL ? l->data_pool : l->pool;
}

/* True: it is known already whether the pool is full. */
static bool
knows_room(struct look *l)
{
	for (size_t i = 0; i < l->rooms->n; i++)
		if (l->rooms->room[i].pool == room_of(l)) {
			l->full = l->rooms->room[i].full;
			return true;
		}
	return false;
}

static enum op_verdict
look_step(struct op *op)
{
	struct look *l = (struct look *)op;

	switch (l->state) {
	case LOOK_START:
		journal_read_start(&l->entry, l->kind, l->pool, l->uuid,
		    JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_SOURCE), l->arena,
		    &op->wake);
		return op_await(l, LOOK_ENTRY_READ);

	case LOOK_ENTRY_READ:
		l->known = l->damaged = l->entry.err.code == ERR_DATA_LOSS;
		if (op->rc == -ENOENT || l->damaged)
			return op_goto(l, LOOK_END);
		if (op->rc < 0)
			return op_fail_as(l, LOOK_END, entry);
		if (!take_entry(l))
			return op_goto(l, LOOK_END);
		if (l->rooms == NULL && l->image_id != NULL)
			return op_goto(l, LOOK_FOUND);
		image_place_start(
		    &l->place, l->pool, l->image, l->image_id, &op->wake);
		return op_await(l, LOOK_PLACED);

	case LOOK_PLACED:
		if (op->rc < 0)
			return op_fail_as(l, LOOK_END, place.op);
		if (l->image_id == NULL && l->place.id[0] != '\0')
			l->image_id = l->place.id;
		return l->image_id != NULL ? op_goto(l, LOOK_FOUND)
					   : op_goto(l, LOOK_END);

	case LOOK_FOUND:
		image_summary_start(&l->summary, l->pool, l->image_id,
		    l->kind == &journal_volumes ? published(l) : NULL, l->arena,
		    &op->wake);
		return op_await(l, LOOK_HEADER_READ);

	case LOOK_HEADER_READ:
		l->broken_header = l->summary.err.code == ERR_DATA_LOSS;
		if (op->rc == -ENOENT || l->broken_header)
			return op_goto(l, LOOK_END);
		if (op->rc < 0)
			return op_fail_as(l, LOOK_END, summary);
		take_header(l);
		if (!l->summary.more)
			return op_goto(l, LOOK_KNOWN);
		image_meta_list_start(
		    &l->list, l->pool, l->image_id, 0, &op->wake);
		return op_await(l, LOOK_NODES_READ);

	case LOOK_NODES_READ:
		if (op->rc == 0)
			take_nodes(l);
		image_meta_list_fini(&l->list);
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(l, LOOK_END, list);
		return op_goto(l, LOOK_KNOWN);

	case LOOK_KNOWN:
		if (l->rooms == NULL || knows_room(l))
			return op_goto(l, LOOK_END);
		rados_room_start(room_of(l), RADOS_OURS, &op->wake);
		return op_await(l, LOOK_ROOM_ASKED);

	case LOOK_ROOM_ASKED:
		/* Any other failure does not tell. */
		l->full = op->rc == -EDQUOT;
		if (l->rooms->n < countof(l->rooms->room)) {
			l->rooms->room[l->rooms->n].pool = room_of(l);
			l->rooms->room[l->rooms->n++].full = l->full;
		}
		return op_goto(l, LOOK_END);

	case LOOK_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class look_class = {
	.name = "look",
	.step = look_step,
};

void
look_start(struct look *look, struct wake *waiter)
{
	op_start(&look->op, &look_class, waiter);
}
