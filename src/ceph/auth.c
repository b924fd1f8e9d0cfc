/*
 * auth.c - names and caps of the users of one image.
 */
#include "ceph/auth.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void
auth_node_fmt(char node[AUTH_NODE_SIZE], const char *node_id)
{
	(void)snprintf(node, AUTH_NODE_SIZE, "%016" PRIx64,
	    str_hash(STR_HASH_SEED, node_id));
}

void
auth_user_fmt(char user[AUTH_USER_SIZE], const char *uuid, const char *node)
{
	(void)snprintf(user, AUTH_USER_SIZE, AUTH_PREFIX "%s.%s", uuid, node);
}

/*
 * One object, or all whose names start so. Ceph's parser takes any byte in
 * quotes but the quote, which it has no escape for.
 */
static int
add(struct buf *osd, const char *may, const char *pool,
    const char *rados_namespace, const char *prefix, const char *rest,
    const char *end)
{
	if (strchr(pool, '"') != NULL || strchr(rest, '"') != NULL)
		return err_rc_of(ERR_INVALID_ARGUMENT);
	return buf_printf(osd,
	    "%sallow %s pool=\"%s\" namespace=\"%s\" object_prefix \"%s%s%s\"",
	    osd->len > 0 ? ", " : "", may, pool, rados_namespace, prefix, rest,
	    end);
}

int
auth_caps_add(struct buf *osd, const struct auth_image *image, struct err *err)
{
	const struct image_info *info = image->info;
	const char *pool = image->pool, *ns = image->rados_namespace;
	const char *id = info->id;
	const char *name = image->name != NULL ? image->name : "";
	bool parent = image->name == NULL;
	bool journal = !parent && (info->features & RBD_JOURNALING) != 0;
	const char *head = parent ? "r class-read" : "rwx";
	char journal_data[48];
	const struct {
		bool needed;
		const char *may, *pool, *rados_namespace, *prefix, *rest, *end;
	} caps[] = {
		{ !parent, "r class-read", pool, ns, RBD_ID_PREFIX, name, "" },
		{ true, head, pool, ns, RBD_HEADER_PREFIX, id, "" },
		{ true, head, pool, ns, RBD_OBJECT_MAP_PREFIX, id, "" },
		{ true, parent ? "r" : "rwx", image->data_pool, ns, "",
		    info->prefix, "." },
		{ journal, "rwx", pool, ns, "journal.", id, "" },
		{ journal, "rwx", pool, ns, journal_data, id, "." },
		{ true, "class-read", pool, "", RBD_INFO, "", "" },
		{ parent, "class-read", pool, ns, RBD_DIRECTORY, "", "" },
		{ parent, "class-read", pool, ns, RBD_TRASH, "", "" },
	};
	int rc = 0;

	(void)snprintf(journal_data, sizeof(journal_data),
	    "journal_data.%" PRId64 ".", image->pool_id);
	for (size_t i = 0; i < countof(caps) && rc == 0; i++)
		if (caps[i].needed)
			rc = add(osd, caps[i].may, caps[i].pool,
			    caps[i].rados_namespace, caps[i].prefix,
			    caps[i].rest, caps[i].end);
	if (rc == err_rc_of(ERR_INVALID_ARGUMENT))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "image %s in pool %s: a name with a quote in it, which no caps can have",
		    parent ? id : name, pool);
	if (rc < 0)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "image %s in pool %s: the caps of its user would be longer than %d bytes",
		    parent ? id : name, pool, AUTH_CAPS_MAX);
	return 0;
}

char *
auth_command_fmt(enum auth_command command, const char *user, const char *osd)
{
	static const char *const prefix[] = {
		[AUTH_GET_OR_CREATE] = "auth get-or-create",
		[AUTH_SET_CAPS] = "auth caps",
		[AUTH_REMOVE] = "auth rm",
		[AUTH_LIST] = "auth ls",
	};
	auto_free char *entity = user != NULL ? str_fmt("client.%s", user)
					      : NULL;
	/* "profile rbd" reads the maps and shuts out who has died with a lock. */
	auto_json json_t *json = user == NULL
	    ? json_pack(
		  "{s:s,s:s}", "prefix", prefix[command], "format", "json")
	    : osd == NULL
	    ? json_pack(
		  "{s:s,s:s}", "prefix", prefix[command], "entity", entity)
	    : json_pack("{s:s,s:s,s:[s,s,s,s],s:s}", "prefix", prefix[command],
		  "entity", entity, "caps", "mon", "profile rbd", "osd", osd,
		  "format", "json");

	return json_dumps(json, JSON_COMPACT);
}

char *
auth_fence_fmt(const char *address, bool range, double seconds)
{
	auto_json json_t *json = json_pack("{s:s,s:s,s:s,s:f}", "prefix",
	    "osd blocklist", "blocklistop", "add", "addr", address, "expire",
	    seconds);

	if (range)
		(void)json_object_set_new(json, "range", json_string("range"));
	return json_dumps(json, JSON_COMPACT);
}

/* What stands between `start` and a quote, at *at, which goes behind that. */
static char *
take_name(const char **at, const char *start, struct arena *arena)
{
	const char *name = *at + strlen(start), *end;

	if (!str_starts(*at, start) || (end = strchr(name, '"')) == NULL)
		return NULL;
	*at = end + 1;
	return arena_fmt(arena, "%.*s", (int)(end - name), name);
}

bool
auth_user_parse(struct auth_user *user, const char *pool,
    const char *rados_namespace, const char *entity, const char *osd,
    struct arena *arena)
{
	const char *uuid, *where;

	if (entity == NULL || osd == NULL ||
	    !str_starts(entity, "client." AUTH_PREFIX))
		return false;
	uuid = entity + strlen("client." AUTH_PREFIX);
	if (strcspn(uuid, ".") != AUTH_UUID_LEN ||
	    strlen(uuid) != AUTH_UUID_LEN + AUTH_NODE_SIZE)
		return false;
	where = arena_fmt(arena,
	    "pool=\"%s\" namespace=\"%s\" object_prefix \"", pool,
	    rados_namespace);
	user->entity = arena_strdup(arena, entity);
	user->uuid = arena_fmt(arena, "%.*s", AUTH_UUID_LEN, uuid);
	user->image = take_name(&osd,
	    arena_fmt(arena, "allow r class-read %s" RBD_ID_PREFIX, where),
	    arena);
	if (user->image == NULL)
		return false;
	user->image_id = take_name(&osd,
	    arena_fmt(arena, ", allow rwx %s" RBD_HEADER_PREFIX, where), arena);
	return user->image_id != NULL;
}

int
auth_key_parse(
    const char *answer, const char *user, struct secret *key, struct err *err)
{
	auto_json json_t *json = json_loads(answer, 0, NULL);
	const char *text = json_get_string(json_array_get(json, 0), "key");

	if (str_is_empty(text))
		return err_set(err, ERR_INTERNAL,
		    "client.%s: the monitors' answer has no key", user);
	secret_set(key, text, strlen(text));
	return 0;
}
