/*
 * volume_user.c - making and removing the users of cephxPerVolume.
 */
#include "controller/volume_user.h"

#include "controller/controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The monitors' commands have no asynchronous form: a lane sends them. */
static void
ask_start(struct lane_job *lane, char **command, enum auth_command what,
    const char *user, const char *osd, struct wake *waiter)
{
	free(*command);
	secret_fini(&lane->reply);
	*command = auth_command_fmt(what, user, osd);
	*lane = (struct lane_job){ .kind = LANE_MON_COMMAND,
		.command = *command };
	lane_job_start(lane, waiter);
}

/* Which nodes have users, from what it was to what it is to be. */
static void
note_start(struct ceph_pool *pool, const char *uuid, const char *was,
    const char *now, struct arena *arena, struct wake *waiter)
{
	struct journal_change change = {
		journal_volumes.attr[JOURNAL_USERS],
		str_is_empty(was) ? NULL : was,
		str_is_empty(now) ? NULL : now,
	};

	journal_change_start(pool,
	    arena_fmt(arena, "%s%s", journal_volumes.item, uuid), false,
	    &change, 1, waiter);
}

#define CHANGED                                                                \
	"the journal entry of volume %s has just been changed by another process"

/* ---- one more ---- */

static int
add_caps(struct user_grant *g, const struct ceph_pool *pool, const char *name,
    const struct image_info *info, struct err *err)
{
	struct ceph_pool *data;
	struct auth_image image = {
		.name = name,
		.pool = ceph_pool_name(pool),
		.rados_namespace = pool->rados_namespace,
		.pool_id = pool->id,
		.info = info,
	};

	image.data_pool = image.pool;
	if (info->data_pool >= 0) {
		if (ceph_pool_open_id(controller.conn, info->data_pool,
			pool->rados_namespace, &data, err) < 0)
			return err->rc;
		image.data_pool = ceph_pool_name(data);
	}
	return auth_caps_add(&g->osd, &image, err);
}

/* Starts the look-up of an image's parent. False: it has none. */
static bool
look_at_parent(
    struct user_grant *g, const struct image_info *info, struct err *err)
{
	const struct cls_parent *parent = &info->parent;
	struct ceph_pool *pool;

	if (parent->pool < 0)
		return false;
	if (g->parents++ == AUTH_PARENTS_MAX) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s has more than %d parents", g->volume->image,
		    AUTH_PARENTS_MAX);
		return false;
	}
	if (ceph_pool_open_id(controller.conn, parent->pool,
		parent->rados_namespace, &pool, err) < 0)
		return false;
	/* It takes the place of what `info` may be in. */
	image_lookup_start(&g->parent, pool,
	    arena_fmt(g->arena, "%s's parent", g->volume->image),
	    arena_strdup(g->arena, parent->id), false, &g->op.wake);
	return true;
}

static enum op_verdict
user_grant_step(struct op *op)
{
	struct user_grant *g = (struct user_grant *)op;
	const struct volume_lookup *v = g->volume;
	const struct image_info *info;
	struct err err = ERR_INIT;
	char node[AUTH_NODE_SIZE];

	switch (g->state) {
	case GRANT_START:
		auth_node_fmt(node, g->node_id);
		auth_user_fmt(g->user, g->uuid, node);
		buf_init(&g->osd, AUTH_CAPS_MAX);
		if (!str_is_empty(g->users) && str_list_has(g->users, node))
			return op_goto(g, GRANT_NOTED);
		note_start(v->pool, g->uuid, g->users,
		    str_is_empty(g->users)
			? arena_strdup(g->arena, node)
			: arena_fmt(g->arena, "%s,%s", g->users, node),
		    g->arena, &op->wake);
		return op_await(g, GRANT_NOTED);

	case GRANT_NOTED:
		if (op->rc == -ECANCELED)
			return op_fail(
			    g, GRANT_END, ERR_ABORTED, CHANGED, v->id);
		if (op->rc < 0)
			return op_fail_rc(g, GRANT_END, op->rc,
			    "note the user of volume %s on node %s", v->id,
			    g->node_id);
		if (add_caps(g, v->pool, v->image, v->info, &err) < 0)
			return op_fail_err(g, GRANT_END, &err);
		if (look_at_parent(g, v->info, &err))
			return op_await(g, GRANT_PARENT_READ);
		break;

	case GRANT_PARENT_READ:
		if (op->rc < 0)
			return op_fail_as(g, GRANT_END, parent.op);
		info = &g->parent.info;
		if (add_caps(g, g->parent.pool, NULL, info, &err) < 0)
			return op_fail_err(g, GRANT_END, &err);
		if (look_at_parent(g, info, &err))
			return op_await(g, GRANT_PARENT_READ);
		break;

	case GRANT_MADE:
		if (op->rc == -EINVAL && !g->corrected) {
			g->corrected = true;
			ask_start(&g->lane, &g->command, AUTH_SET_CAPS, g->user,
			    (const char *)g->osd.data, &op->wake);
			return op_await(g, GRANT_CAPS_SET);
		}
		if (op->rc < 0)
			return op_fail_as(g, GRANT_END, lane);
		if (auth_key_parse(g->lane.reply.text, g->user, &g->key, &err) <
		    0)
			return op_fail_err(g, GRANT_END, &err);
		return op_goto(g, GRANT_END);

	case GRANT_CAPS_SET:
		if (op->rc < 0)
			return op_fail_as(g, GRANT_END, lane);
		break;

	case GRANT_END:
		secret_fini(&g->lane.reply);
		if (err_is_set(&op->err))
			err_prefix(&op->err, "make user client.%s", g->user);
		return OP_DONE;
	}
	/* All caps are known. */
	if (err_is_set(&err))
		return op_fail_err(g, GRANT_END, &err);
	ask_start(&g->lane, &g->command, AUTH_GET_OR_CREATE, g->user,
	    (const char *)g->osd.data, &op->wake);
	return op_await(g, GRANT_MADE);
}

static const struct op_class user_grant_class = {
	.name = "user grant",
	.step = user_grant_step,
};

void
user_grant_start(struct user_grant *g, const struct volume_lookup *volume,
    const char *uuid, const char *node_id, struct arena *arena,
    struct wake *waiter)
{
	*g = (struct user_grant){
		.volume = volume,
		.uuid = uuid,
		.node_id = node_id,
		.users = volume->entry.item.attr[JOURNAL_USERS],
		.arena = arena,
	};
	op_start(&g->op, &user_grant_class, waiter);
}

void
user_grant_fini(struct user_grant *g)
{
	secret_fini(&g->key);
	buf_fini(&g->osd);
	free(take_ptr(&g->command));
}

/* ---- and away ---- */

/* Sorts the nodes of an entry: whose user goes, whose stays. */
static void
sort_nodes(struct user_revoke *r, const char *node_id)
{
	char node[AUTH_NODE_SIZE];

	r->left = str_is_empty(r->users) ? "" : r->users;
	r->kept = "";
	if (*node_id == '\0')
		return;
	auth_node_fmt(node, node_id);
	for (const char *p = r->left; *p != '\0';) {
		int len = (int)strcspn(p, ",");

		if (strncmp(p, node, (size_t)len) != 0)
			r->kept = arena_fmt(r->arena, "%s%s%.*s", r->kept,
			    *r->kept != '\0' ? "," : "", len, p);
		p += len + (p[len] == ',');
	}
	r->left = r->guessed ||
		(!str_is_empty(r->users) && str_list_has(r->users, node))
	    ? arena_strdup(r->arena, node)
	    : "";
}

static enum op_verdict
user_revoke_step(struct op *op)
{
	struct user_revoke *r = (struct user_revoke *)op;
	char node[AUTH_NODE_SIZE], user[AUTH_USER_SIZE];
	size_t len;

	switch (r->state) {
	case REVOKE_START:
		return op_goto(r, *r->left != '\0' ? REVOKE_NEXT : REVOKE_END);

	case REVOKE_NEXT:
		if (*r->left == '\0') {
			if (r->guessed)
				return op_goto(r, REVOKE_END);
			note_start(r->pool, r->uuid, r->users, r->kept,
			    r->arena, &op->wake);
			return op_await(r, REVOKE_FORGOTTEN);
		}
		len = strcspn(r->left, ",");
		(void)!str_put(node, sizeof(node), "%.*s", (int)len, r->left);
		r->left += len + (r->left[len] == ',');
		auth_user_fmt(user, r->uuid, node);
		ask_start(
		    &r->lane, &r->command, AUTH_REMOVE, user, NULL, &op->wake);
		return op_await(r, REVOKE_REMOVED);

	case REVOKE_REMOVED:
		secret_fini(&r->lane.reply);
		/* Who may remove no user has made none. */
		if (op->rc < 0 && !(r->guessed && op->rc == -EACCES)) {
			err_prefix(&r->lane.err,
			    "remove users client." AUTH_PREFIX "%s.*", r->uuid);
			return op_fail_as(r, REVOKE_END, lane);
		}
		return op_goto(r, REVOKE_NEXT);

	case REVOKE_FORGOTTEN:
		if (op->rc == -ECANCELED)
			return op_fail(
			    r, REVOKE_END, ERR_ABORTED, CHANGED, r->uuid);
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(r, REVOKE_END, op->rc,
			    "forget the users of volume %s", r->uuid);
		return op_goto(r, REVOKE_END);

	case REVOKE_END:
		free(take_ptr(&r->command));
		return OP_DONE;
	}
	abort();
}

static const struct op_class user_revoke_class = {
	.name = "user revoke",
	.step = user_revoke_step,
};

void
user_revoke_start(struct user_revoke *r, struct ceph_pool *pool,
    const char *uuid, const char *users, const char *node_id,
    struct arena *arena, struct wake *waiter)
{
	*r = (struct user_revoke){
		.pool = pool,
		.uuid = uuid,
		.users = users,
		.guessed = pool == NULL,
		.arena = arena,
	};
	sort_nodes(r, node_id);
	op_start(&r->op, &user_revoke_class, waiter);
}
