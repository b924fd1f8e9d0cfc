/*
 * entry.c - looking a request name up.
 */
#include "controller/entry.h"
#include "controller/volume_key.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum op_verdict
entry_refuse(struct entry_find *e, const char *why)
{
	return op_fail(e, ENTRY_END, ERR_FAILED_PRECONDITION,
	    "%s %s exists as image %s, but %s; nothing is changed",
	    e->journal.kind->noun, e->name,
	    e->find.item.attr[JOURNAL_IMAGENAME], why);
}

static enum op_verdict
entry_find_step(struct op *op)
{
	struct entry_find *e = (struct entry_find *)op;
	const struct journal_item *item = &e->find.item;
	const char *id = item->attr[JOURNAL_IMAGEID];
	struct err err = ERR_INIT;
	bool ours;

	switch (e->state) {
	case ENTRY_START:
		journal_find_start(
		    &e->find, &e->journal, e->name, e->rpc->arena, &op->wake);
		return op_await(e, ENTRY_FOUND);

	case ENTRY_FOUND:
		if (op->rc < 0)
			return op_fail_as(e, ENTRY_END, find.op);
		if (e->find.found && e->cls != NULL &&
		    volume_key_compare(item, e->cls, e->name, &err) < 0)
			return op_fail_err(e, ENTRY_END, &err);
		if (!e->find.found || !journal_item_is_complete(item) ||
		    str_is_empty(id))
			return op_goto(e, ENTRY_END);
		image_lookup_start(&e->lookup, e->find.item_pool,
		    item->attr[JOURNAL_IMAGENAME], NULL, false, &op->wake);
		return op_await(e, ENTRY_IMAGE_READ);

	case ENTRY_IMAGE_READ:
		if (op->rc == -ENOENT) {
			image_place_start(&e->place, e->find.item_pool,
			    item->attr[JOURNAL_IMAGENAME], id, &op->wake);
			return op_await(e, ENTRY_PLACED);
		}
		if (op->rc < 0)
			return op_fail_as(e, ENTRY_END, lookup.op);
		if (!str_eq(e->lookup.info.id, id))
			return entry_refuse(e,
			    arena_fmt(e->rpc->arena, "that has id %s, not %s",
				e->lookup.info.id, id));
		e->stands = true;
		return op_goto(e, ENTRY_END);

	case ENTRY_PLACED:
		if (op->rc < 0)
			return op_fail_as(e, ENTRY_END, place.op);
		if (e->place.standing == IMAGE_GONE)
			return op_goto(e, ENTRY_STALE);
		if (e->place.standing != IMAGE_IN_TRASH)
			return entry_refuse(e,
			    e->place.standing == IMAGE_STANDS
				? "that has no header"
				: e->place.why);
		e->note = journal_purge_read_start(e->find.item_pool,
		    e->rpc->env->instance_id, e->place.id, NULL, &op->wake);
		return op_await(e, ENTRY_NOTE_READ);

	case ENTRY_NOTE_READ:
		/* With one a deletion was cut off; else it is somebody's. */
		ours = rados_read_omap(e->note)->n > 0;
		rados_read_drop(&e->note);
		if (ours)
			return op_goto(e, ENTRY_STALE);
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(e, ENTRY_END, op->rc,
			    "read the purge notes of %s",
			    ceph_pool_label(e->find.item_pool));
		return entry_refuse(e, "that is in the trash");

	case ENTRY_STALE:
		log_warn("entry.stale", "%s=%s image=%s", e->journal.kind->noun,
		    e->name, item->attr[JOURNAL_IMAGENAME]);
		e->release = (struct journal_release){
			.journal = e->journal,
			.item_pool = e->find.item_pool,
			.uuid = e->find.ref.uuid,
			.name = e->name,
		};
		journal_release_start(&e->release, &op->wake);
		return op_await(e, ENTRY_STALE_GONE);

	case ENTRY_STALE_GONE:
		if (op->rc < 0)
			return op_fail_as(e, ENTRY_END, release.op);
		return op_goto(e, ENTRY_START);

	case ENTRY_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class entry_find_class = {
	.name = "entry.find",
	.step = entry_find_step,
};

void
entry_find_none(struct entry_find *e, const struct csi_rpc *rpc,
    const struct journal *journal, const char *name)
{
	*e = (struct entry_find){
		.rpc = rpc, .journal = *journal, .name = name
	};
	journal_find_none(&e->find, journal, name, rpc->arena);
}

void
entry_find_start(struct entry_find *e, const struct csi_rpc *rpc,
    const struct journal *journal, const char *name,
    const struct csi_class_params *cls, struct wake *waiter)
{
	*e = (struct entry_find){
		.rpc = rpc, .journal = *journal, .name = name, .cls = cls
	};
	op_start(&e->op, &entry_find_class, waiter);
}

bool
entry_overtaken(const struct journal_find *find, struct journal_reserve *r)
{
	bool ours = journal_find_has(find, r->uuid);

	r->marked = !ours && r->key_value == NULL;
	return ours && (find->is_reserved || str_eq(find->ref.uuid, r->uuid));
}

void
entry_undo_start(struct journal_reserve *r, const struct image_spec *spec,
    const struct err *failure, struct wake *waiter)
{
	if (failure->rc == -ETIME ||
	    (spec->features & ~features_created()) != 0)
		wake_up(waiter, -EBUSY);
	else
		journal_mark_start(r, waiter);
}

void
entry_release_start(struct journal_release *release,
    const struct journal_reserve *r, const char *name, struct wake *waiter)
{
	*release = (struct journal_release){
		.journal = r->journal,
		.item_pool = r->item_pool,
		.uuid = r->uuid,
		.name = name,
		.reserved = r->value,
	};
	journal_release_start(release, waiter);
}
