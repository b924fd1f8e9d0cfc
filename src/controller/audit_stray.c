/*
 * audit_stray.c - see audit_stray.h.
 */
#include "controller/audit_stray.h"

#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USERS_PAGE 256
#define SLICE_OBJECTS 4096 /* about so many of a pool are listed at once */
#define OBJECT_PREFIX "csi."

static const struct journal_kind *const kinds[] = { &journal_volumes,
	&journal_snapshots };

/* ---- pages ---- */

/*
 * "SLICE/SLICES" while directories are looked for, "=SLICE/SLICES" while
 * entries are judged, and behind that a line for each other instance.
 */
static int
read_token(struct stray_list *l, struct err *err)
{
	const char *at = l->token, *line;
	char *end = NULL;

	if (*at == '\0')
		return 0;
	l->judges = *at == '=';
	l->slice = (uint32_t)strtoul(at + l->judges, &end, 10);
	if (*end == '/')
		l->slices = (uint32_t)strtoul(end + 1, &end, 10);
	if (l->slices == 0 || l->slice >= l->slices ||
	    (*end != '\0' && *end != '\n'))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "token: none of Audit's");
	for (line = end; *line == '\n'; line += strcspn(line, "\n")) {
		line++;
		l->others[l->nothers++] = arena_fmt(
		    l->rpc->arena, "%.*s", (int)strcspn(line, "\n"), line);
	}
	return 0;
}

static void
add_other(struct stray_list *l, const char *instance)
{
	if (str_eq(instance, l->rpc->env->instance_id))
		return;
	for (size_t i = 0; i < l->nothers; i++)
		if (str_eq(l->others[i], instance))
			return;
	l->others[l->nothers++] = arena_strdup(l->rpc->arena, instance);
}

static void
take_names(struct stray_list *l)
{
	struct journal_ref ref;

	for (size_t i = 0; i < l->names.n; i++) {
		const char *name = l->names.name[i];

		for (size_t k = 0; k < countof(kinds); k++) {
			const char *uuid = name + strlen(kinds[k]->item);

			if (!l->judges && str_starts(name, kinds[k]->directory))
				add_other(
				    l, name + strlen(kinds[k]->directory));
			if (l->judges && str_starts(name, kinds[k]->item) &&
			    journal_ref_parse(uuid, strlen(uuid), &ref) == 0 &&
			    !ref.has_pool)
				l->stray[l->n++] = (struct stray){
					.kind = kinds[k],
					.uuid = arena_strdup(
					    l->rpc->arena, uuid),
				};
		}
	}
	l->slice++;
	if (l->slice == l->slices && l->judges)
		return;
	if (l->slice == l->slices) {
		l->slice = 0;
		l->judges = true;
		l->next = "=";
	} else {
		l->next = l->judges ? "=" : "";
	}
	l->next = arena_fmt(
	    l->rpc->arena, "%s%u/%u", l->next, l->slice, l->slices);
	for (size_t i = 0; i < l->nothers; i++)
		l->next = arena_fmt(
		    l->rpc->arena, "%s\n%s", l->next, l->others[i]);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct stray *)a)->user.entity,
	    ((const struct stray *)b)->user.entity);
}

/* Those whose image is, or was, in this pool, behind the token. */
static int
take_users(struct stray_list *l, struct err *err)
{
	auto_json json_t *json = json_loads(l->lane.reply.text, 0, NULL);
	const json_t *users = json_object_get(json, "auth_dump");
	const json_t *one;
	size_t i;

	if (!json_is_array(users))
		return err_set(err, ERR_INTERNAL,
		    "list users: the monitors' answer has none");
	l->stray = arena_new_bytes(
	    l->rpc->arena, (json_array_size(users) + 1) * sizeof(*l->stray));
	json_array_foreach (users, i, one) {
		struct stray *s = &l->stray[l->n];

		*s = (struct stray){ .kind = NULL };
		if (!auth_user_parse(&s->user, ceph_pool_name(l->pool),
			l->pool->rados_namespace,
			json_get_string(one, "entity"),
			json_get_string(json_object_get(one, "caps"), "osd"),
			l->rpc->arena) ||
		    strcmp(s->user.entity, l->token) <= 0)
			continue;
		s->uuid = s->user.uuid;
		l->n++;
	}
	qsort(l->stray, l->n, sizeof(*l->stray), by_name);
	if (l->n > USERS_PAGE) {
		l->n = USERS_PAGE;
		l->next = l->stray[l->n - 1].user.entity;
	}
	return 0;
}

static void
names_start(struct stray_list *l)
{
	l->names = (struct trash_list){
		.prefix = OBJECT_PREFIX,
		.slice = l->slice,
		.slices = l->slices,
	};
	l->lane = (struct lane_job){
		.kind = LANE_LIST_NAMES,
		.pool = l->pool,
		.list = &l->names,
	};
	lane_job_start(&l->lane, &l->op.wake);
}

static enum op_verdict
stray_list_step(struct op *op)
{
	struct stray_list *l = (struct stray_list *)op;
	struct err err = ERR_INIT;

	switch (l->state) {
	case STRAYLIST_START:
		/* A line of the token has two bytes at least. */
		l->others = arena_new_bytes(l->rpc->arena,
		    (strlen(l->token) / 2 + 1) * sizeof(*l->others));
		if (l->users) {
			l->command = auth_command_fmt(AUTH_LIST, NULL, NULL);
			l->lane = (struct lane_job){ .kind = LANE_MON_COMMAND,
				.command = l->command };
			lane_job_start(&l->lane, &op->wake);
			return op_await(l, STRAYLIST_LISTED);
		}
		if (read_token(l, &err) < 0)
			return op_fail_err(l, STRAYLIST_END, &err);
		op->rc = 0;
		if (l->slices > 0)
			return op_goto(l, STRAYLIST_COUNTED);
		names_start(l);
		return op_await(l, STRAYLIST_COUNTED);

	case STRAYLIST_COUNTED:
		if (op->rc < 0)
			return op_fail_as(l, STRAYLIST_END, lane);
		if (l->slices == 0)
			l->slices = (uint32_t)(l->names.pool_objects /
					SLICE_OBJECTS) +
			    1;
		names_start(l);
		return op_await(l, STRAYLIST_LISTED);

	case STRAYLIST_LISTED:
		l->refused = l->users && op->rc == -EACCES;
		if (l->refused)
			return op_goto(l, STRAYLIST_END);
		if (op->rc < 0)
			return op_fail_as(l, STRAYLIST_END, lane);
		if (l->users)
			return take_users(l, &err) < 0
			    ? op_fail_err(l, STRAYLIST_END, &err)
			    : op_goto(l, STRAYLIST_END);
		l->stray = arena_new_bytes(
		    l->rpc->arena, (l->names.n + 1) * sizeof(*l->stray));
		l->others = memcpy(
		    arena_new_bytes(l->rpc->arena,
			(l->nothers + l->names.n + 1) * sizeof(*l->others)),
		    l->others, l->nothers * sizeof(*l->others));
		take_names(l);
		return op_goto(l, STRAYLIST_END);

	case STRAYLIST_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class stray_list_class = {
	.name = "stray.list",
	.step = stray_list_step,
};

void
stray_list_start(struct stray_list *l, const struct csi_rpc *rpc,
    struct ceph_pool *pool, bool users, const char *token, struct wake *waiter)
{
	*l = (struct stray_list){
		.rpc = rpc, .pool = pool, .users = users, .token = token
	};
	op_start(&l->op, &stray_list_class, waiter);
}

void
stray_list_fini(struct stray_list *l)
{
	secret_fini(&l->lane.reply);
	trash_list_fini(&l->names);
	free(take_ptr(&l->command));
}

/* ---- one of them ---- */

/* Asks the next directory: our own first. False: there are no more. */
static bool
ask_next(struct stray_check *c)
{
	const struct stray *s = c->stray;
	const char *name = c->entry.item.attr[JOURNAL_NAME];
	struct arena *arena = c->rpc->arena;
	const char *keys[2];

	/* Of a user, or without a name, nothing can be asked for. */
	if (s->kind == NULL || str_is_empty(name) ||
	    c->looked > c->list->nothers)
		return false;
	keys[0] = arena_fmt(arena, "%s%s", s->kind->key, name);
	keys[1] = arena_fmt(arena, JOURNAL_RESERVE "%s", name);
	rados_read_free(c->read);
	c->read = rados_read_new();
	(void)rados_read_omap_keys(c->read, keys, countof(keys));
	rados_read_start(c->read, c->pool,
	    arena_fmt(arena, "%s%s", s->kind->directory,
		c->looked == 0 ? c->rpc->env->instance_id
			       : c->list->others[c->looked - 1]),
	    &c->op.wake);
	c->looked++;
	return true;
}

/* A key with its UUID, or a reservation of its image. */
static bool
is_led_to(const struct stray_check *c)
{
	const struct rados_omap *omap = rados_read_omap(c->read);
	const struct stray *s = c->stray;
	size_t len = strlen(s->uuid);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];

		if (e->len >= len &&
		    memcmp((const char *)e->value + e->len - len, s->uuid,
			len) == 0)
			return true;
	}
	return false;
}

/* What is told of an entry that no key leads to. True: it may be removed. */
static bool
judge_entry(struct stray_check *c)
{
	bool is_old = time(NULL) - c->written >= STRAY_GRACE_S;

	c->kind = "entry-without-key";
	if (c->place.standing == IMAGE_IN_TRASH)
		c->text =
		    "its image is in the trash: its deletion runs, or was cut off; then deleting it again by its ID ends it";
	else if (c->place.standing != IMAGE_GONE)
		c->text =
		    "no name leads to it, but its image is there: by its ID it can be used and deleted";
	else if (!is_old)
		c->text =
		    "nothing leads to it, and its image is nowhere; it was written within the last hour: look again after that";
	else
		c->text =
		    "nothing leads to it, and its image is nowhere; repair removes it";
	return c->place.standing == IMAGE_GONE && is_old;
}

/* The same of a user whose volume has no entry. */
static bool
judge_user(struct stray_check *c)
{
	bool is_free = c->place.standing == IMAGE_GONE;

	c->kind = "user-without-volume";
	c->text = is_free
	    ? "its volume is gone, and so is the image; repair removes the user"
	    : "its volume has no entry, but the image is there: who has it open may need the user";
	return is_free;
}

static enum op_verdict
stray_check_step(struct op *op)
{
	struct stray_check *c = (struct stray_check *)op;
	const struct stray *s = c->stray;
	const struct journal_item *item = &c->entry.item;
	const struct journal_kind *kind = s->kind != NULL ? s->kind
							  : &journal_volumes;
	bool failed = op->rc < 0 && op->rc != -ENOENT;
	bool is_user = s->kind == NULL;
	struct rados_write *w;

	switch (c->state) {
	case STRAYCHECK_START:
		journal_read_start(&c->entry, kind, c->pool, s->uuid,
		    JOURNAL_IDENTITY, c->rpc->arena, &op->wake);
		return op_await(c, STRAYCHECK_ENTRY_READ);

	case STRAYCHECK_ENTRY_READ:
		if (c->entry.err.code == ERR_DATA_LOSS) {
			c->kind = "damaged-entry";
			c->text = arena_strdup(
			    c->rpc->arena, c->entry.err.text);
			return op_goto(c, STRAYCHECK_END);
		}
		if (failed)
			return op_fail_as(c, STRAYCHECK_END, entry);
		if (!is_user && op->rc == 0)
			return op_goto(c, STRAYCHECK_LOOK);
		if (!is_user || op->rc == 0) /* gone; or it is well */
			return op_goto(c, STRAYCHECK_END);
		c->image = s->user.image;
		image_place_start(&c->place, c->pool, s->user.image,
		    s->user.image_id, &op->wake);
		return op_await(c, STRAYCHECK_PLACED);

	case STRAYCHECK_LOOK:
		c->volume = item->attr[JOURNAL_NAME];
		/* Its directory is in another pool. */
		if (!str_is_empty(item->attr[JOURNAL_POOL]))
			return op_goto(c, STRAYCHECK_END);
		if (ask_next(c))
			return op_await(c, STRAYCHECK_KEY_READ);
		rados_read_free(c->read);
		c->read = rados_read_new();
		rados_read_assert_exists(c->read);
		rados_read_time(c->read, &c->written);
		rados_read_start(c->read, c->pool, c->object, &op->wake);
		return op_await(c, STRAYCHECK_DATED);

	case STRAYCHECK_KEY_READ:
		if (failed)
			return op_fail_rc(c, STRAYCHECK_END, op->rc,
			    "read a directory of the journal of %s",
			    ceph_pool_label(c->pool));
		return is_led_to(c) ? op_goto(c, STRAYCHECK_END)
				    : op_goto(c, STRAYCHECK_LOOK);

	case STRAYCHECK_DATED:
		if (op->rc == -ENOENT)
			return op_goto(c, STRAYCHECK_END);
		if (op->rc < 0)
			return op_fail_rc(c, STRAYCHECK_END, op->rc,
			    "look at %s of %s", c->object,
			    ceph_pool_label(c->pool));
		c->version = rados_read_version(c->read);
		c->image = volume_image_name(
		    kind, item, s->uuid, c->rpc->arena);
		image_place_start(&c->place, c->pool, c->image,
		    str_is_empty(item->attr[JOURNAL_IMAGEID])
			? NULL
			: item->attr[JOURNAL_IMAGEID],
		    &op->wake);
		return op_await(c, STRAYCHECK_PLACED);

	case STRAYCHECK_PLACED:
		if (op->rc < 0)
			return op_fail_as(c, STRAYCHECK_END, place.op);
		if (!(is_user ? judge_user(c) : judge_entry(c)) || !c->repair)
			return op_goto(c, STRAYCHECK_END);
		if (is_user) {
			c->command = auth_command_fmt(AUTH_REMOVE,
			    s->user.entity + strlen("client."), NULL);
			c->lane = (struct lane_job){ .kind = LANE_MON_COMMAND,
				.command = c->command };
			lane_job_start(&c->lane, &op->wake);
			return op_await(c, STRAYCHECK_MENDED);
		}
		w = rados_write_new(RADOS_EXISTS);
		rados_write_version_expect(w, c->version);
		rados_write_remove(w);
		rados_write_start(w, c->pool, c->object, &op->wake);
		return op_await(c, STRAYCHECK_MENDED);

	case STRAYCHECK_MENDED:
		if (op->rc < 0 && op->rc != -ENOENT && op->rc != -ECANCELED)
			return op_fail_rc(c, STRAYCHECK_END, op->rc,
			    "remove %s of %s", c->object,
			    ceph_pool_label(c->pool));
		c->repaired = op->rc == 0;
		return op_goto(c, STRAYCHECK_END);

	case STRAYCHECK_END:
		rados_read_drop(&c->read);
		secret_fini(&c->lane.reply);
		free(take_ptr(&c->command));
		return OP_DONE;
	}
	abort();
}

static const struct op_class stray_check_class = {
	.name = "stray.check",
	.step = stray_check_step,
};

void
stray_check_start(struct stray_check *c, const struct stray_list *list,
    size_t which, bool repair, struct wake *waiter)
{
	const struct stray *s = &list->stray[which];

	*c = (struct stray_check){
		.rpc = list->rpc,
		.pool = list->pool,
		.list = list,
		.stray = s,
		.repair = repair,
		.object = s->kind == NULL ? s->user.entity
					  : arena_fmt(list->rpc->arena, "%s%s",
						s->kind->item, s->uuid),
	};
	op_start(&c->op, &stray_check_class, waiter);
}
