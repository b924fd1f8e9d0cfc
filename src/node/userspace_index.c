/*
 * userspace_index.c - see userspace_index.h.
 */
#include "node/userspace_index.h"

#include "base/log.h"
#include "base/map.h"
#include "core/offload.h"
#include "node/loopdev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define GROW_MS 30000

static struct map index_ = MAP_INIT;    /* by tag */
static struct map leftovers = MAP_INIT; /* images' names by tag */
static const char *own_dir; /* the state directory, which outlives this */

static struct userspace_entry *
entry_set(const char *tag, const char *image, const char *file,
    const struct attach_session *s)
{
	struct userspace_entry *entry = map_get(&index_, tag);

	if (entry == NULL) {
		entry = mem_new(sizeof(*entry));
		entry->loop = LOOP_NONE;
		(void)snprintf(entry->tag, sizeof(entry->tag), "%s", tag);
		(void)map_set(&index_, tag, entry);
	}
	(void)snprintf(entry->image, sizeof(entry->image), "%s", image);
	(void)snprintf(entry->file, sizeof(entry->file), "%s", file);
	(void)snprintf(entry->session, sizeof(entry->session), "%s", s->dir);
	return entry;
}

void
userspace_index_drop(struct userspace_entry *entry)
{
	if (entry != NULL)
		free(map_remove(&index_, entry->tag));
}

struct attach_session *
userspace_index_session(const struct userspace_entry *entry)
{
	struct attach_session *s = NULL;

	while ((s = attach_session_next(s)) != NULL)
		if (str_eq(s->dir, entry->session))
			return s;
	return NULL;
}

/*
 * "DIR/mnt/SERIAL-TAG-IMAGE", or without the directory when that has been
 * unmounted: points to the parts, or false.
 */
static bool
file_parse(const char *file, char tag[TABLE_TAG_MAX], const char **image)
{
	const char *name = strrchr(file, '/');
	const char *dash = name != NULL ? strchr(name, '-') : NULL;

	if (dash == NULL || strlen(dash + 1) < TABLE_TAG_MAX ||
	    dash[TABLE_TAG_MAX] != '-')
		return false;
	memcpy(tag, dash + 1, TABLE_TAG_MAX - 1);
	tag[TABLE_TAG_MAX - 1] = '\0';
	*image = dash + TABLE_TAG_MAX + 1;
	return strspn(tag, "0123456789abcdef") == TABLE_TAG_MAX - 1;
}

/* From now on loop devices of dead sessions are looked for, of this image. */
static void
leftover_add(const char *tag, const char *image)
{
	if (map_get(&leftovers, tag) == NULL)
		(void)map_set(&leftovers, tag, str_dup(image));
}

/*
 * What lies in another state directory is another driver's, dead or not: to
 * look at it may even wait for it. A mount that is gone has no directory.
 */
static bool
is_own(const char *file)
{
	return strchr(file + 1, '/') == NULL ||
	    (str_starts(file, own_dir) && file[strlen(own_dir)] == '/');
}

/* At the start: is it over a file of a session that may live? */
static void
find_loop(int id, const char *file)
{
	struct userspace_entry *entry;
	struct attach_session *s = NULL;
	char tag[TABLE_TAG_MAX];
	const char *image;

	if (!file_parse(file, tag, &image) || !is_own(file))
		return;
	while ((s = attach_session_next(s)) != NULL)
		if (s->state != ATTACH_ENDING &&
		    strncmp(file, s->dir, strlen(s->dir)) == 0 &&
		    str_starts(file + strlen(s->dir), "/mnt/"))
			break;
	entry = map_get(&index_, tag);
	if (entry != NULL && !loopdev_shows(file, entry->file))
		entry = NULL;
	if (entry == NULL && s != NULL && strlen(file) < DEVICE_FILE_MAX)
		entry = entry_set(tag, image, file, s);
	if (entry != NULL)
		entry->loop = id;
	else
		leftover_add(tag, image);
	log_info(entry != NULL ? "userspace.found" : "userspace.leftover",
	    "loop=%d file=%s", id, file);
}

/* Where rbd-attachd has it; NULL: that is not known, or nowhere. */
static struct table_slot *
slot_of(const struct userspace_entry *entry)
{
	struct attach_session *s = userspace_index_session(entry);
	struct table *table = s != NULL ? s->table : NULL;
	struct table_slot *slot = table != NULL
	    ? table_slot_at(table, table_slot_index(entry->ino))
	    : NULL;

	return slot == NULL || slot->ino != entry->ino ||
		table_slot_state(slot) == TABLE_SLOT_FREE
	    ? NULL
	    : slot;
}

bool
userspace_index_shared(const struct userspace_entry *entry)
{
	const struct table_slot *slot = slot_of(entry);

	return slot == NULL || (slot->flags & TABLE_SLOT_SHARED) != 0;
}

int
userspace_index_verdict(const struct userspace_entry *entry, struct err *err)
{
	struct table_slot *slot = slot_of(entry);
	uint32_t aborted;

	if (slot == NULL)
		return 0;
	aborted = atomic_load(&slot->aborted);
	if (aborted == TABLE_ABORTED_NOT)
		return 0;
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "image %s is dead: it was %s", entry->image,
	    table_aborted_text((enum table_aborted)aborted));
	return -ESTALE;
}

void
userspace_index_leave(struct userspace_entry *entry)
{
	if (entry != NULL)
		leftover_add(entry->tag, entry->image);
	userspace_index_drop(entry);
}

struct userspace_entry *
userspace_index_find(const struct device_spec *spec)
{
	struct userspace_entry *entry;
	char tag[TABLE_TAG_MAX];
	const char *key;
	size_t at = 0;
	void *value;

	while (str_is_empty(spec->image)) {
		if (!map_next(&index_, &at, &key, &value))
			return NULL;
		entry = value;
		if (device_is_named(spec->volume_id, entry->image))
			return entry;
	}
	table_tag(tag, spec->cluster_id, spec->pool, spec->rados_namespace,
	    spec->image);
	return map_get(&index_, tag);
}

bool
userspace_index_is_leftover(const struct device_spec *spec, const char *file)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	const char *image;
	char is[TABLE_TAG_MAX], tag[TABLE_TAG_MAX];

	if (!file_parse(file, is, &image) || !is_own(file) ||
	    (entry != NULL && loopdev_shows(file, entry->file)))
		return false;
	if (str_is_empty(spec->image))
		return device_is_named(spec->volume_id, image);
	table_tag(tag, spec->cluster_id, spec->pool, spec->rados_namespace,
	    spec->image);
	return str_eq(is, tag);
}

bool
userspace_index_has_leftovers(const struct device_spec *spec)
{
	char tag[TABLE_TAG_MAX];
	const char *key;
	size_t at = 0;
	void *image;

	while (str_is_empty(spec->image)) {
		if (!map_next(&leftovers, &at, &key, &image))
			return false;
		if (device_is_named(spec->volume_id, image))
			return true;
	}
	table_tag(tag, spec->cluster_id, spec->pool, spec->rados_namespace,
	    spec->image);
	return map_get(&leftovers, tag) != NULL;
}

/* ---- size changes ------------------------------------------------------ */

struct grow {
	struct wake wake;
	struct offload off;
	int loop;
	char file[DEVICE_FILE_MAX];
};

static int
grow_child(const void *args, void *result, struct err *err)
{
	const struct grow *g = args;

	(void)result;
	return loopdev_grow(g->loop, g->file, err);
}

static void
on_grown(struct wake *wake, int rc)
{
	struct grow *g = container_of(wake, struct grow, wake);

	log_line(rc < 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "userspace.grown",
	    "loop=%d rc=%d text=\"%s\"", g->loop, rc, g->off.err.text);
	free(g);
}

static void
grow(const struct userspace_entry *entry, uint64_t size_bytes)
{
	struct grow *g;
	uint64_t now;
	bool read_only;

	if (entry->loop < 0 ||
	    (sysfs_size(makedev(LOOP_MAJOR, (unsigned)entry->loop), &now,
		 &read_only) == 0 &&
		now == size_bytes))
		return;
	g = mem_new(sizeof(*g));
	g->wake.fn = on_grown;
	g->loop = entry->loop;
	(void)snprintf(g->file, sizeof(g->file), "%s", entry->file);
	offload_start(&g->off, "new size of a loop device", grow_child, g, NULL,
	    0, GROW_MS, &g->wake);
}

/* ---- what the sessions tell -------------------------------------------- */

static void
on_session_table(struct attach_session *s)
{
	char tag[TABLE_TAG_MAX], name[TABLE_FILE_MAX], file[DEVICE_FILE_MAX];
	struct userspace_entry *entry;
	struct table_slot *slot;

	for (unsigned i = 0; i < s->table->slots; i++) {
		slot = table_slot_at(s->table, i);
		if (table_slot_state(slot) == TABLE_SLOT_FREE)
			continue;
		table_slot_name(s->table, slot, name);
		if (str_put(file, sizeof(file), "%s/mnt/%s", s->dir, name) < 0)
			continue;
		table_tag(tag, s->table->cluster_id, slot->pool,
		    slot->rados_namespace, slot->image);
		entry = entry_set(tag, slot->image, file, s);
		entry->ino = slot->ino;
		if (s->peer.state == PEER_UP)
			grow(entry, atomic_load(&slot->size_bytes));
	}
}

static void
on_session_resized(struct attach_session *s, uint64_t ino, uint64_t size_bytes)
{
	size_t at = 0;
	const char *tag;
	void *value;

	while (map_next(&index_, &at, &tag, &value)) {
		struct userspace_entry *entry = value;

		if (entry->ino == ino && str_eq(entry->session, s->dir))
			grow(entry, size_bytes);
	}
}

static void
on_session_gone(struct attach_session *s)
{
	size_t at = 0;
	const char *tag;
	void *value;

	while (map_next(&index_, &at, &tag, &value)) {
		struct userspace_entry *entry = value;

		if (str_eq(entry->session, s->dir)) {
			if (entry->loop != LOOP_NONE)
				leftover_add(entry->tag, entry->image);
			userspace_index_drop(entry);
		}
	}
}

static const struct attach_session_ops session_ops = {
	.found = on_session_table,
	.ready = on_session_table,
	.resized = on_session_resized,
	.gone = on_session_gone,
};

/* ---- the mapper's side ------------------------------------------------- */

struct userspace_entry *
userspace_index_add(const struct device_spec *spec,
    const struct attach_session *s, uint64_t ino, const char *name,
    struct err *err)
{
	char tag[TABLE_TAG_MAX], file[DEVICE_FILE_MAX];
	struct userspace_entry *entry;

	if (str_put(file, sizeof(file), "%s/mnt/%s", s->dir, name) < 0) {
		err_set(err, ERR_INVALID_ARGUMENT,
		    "the state directory's path is too long for %s", name);
		return NULL;
	}
	table_tag(tag, spec->cluster_id, spec->pool, spec->rados_namespace,
	    spec->image);
	entry = entry_set(tag, spec->image, file, s);
	entry->ino = ino;
	return entry;
}

int
userspace_index_init(
    const char *state_dir, const char *program, struct err *err)
{
	int rc = attach_session_init(state_dir, program, &session_ops, err);

	auto_dir DIR *dir = sysfs_dir("block");
	char file[LOOPDEV_FILE_MAX];
	int id;

	own_dir = state_dir;
	while (rc == 0 && (id = loopdev_next(dir, "/", file)) >= 0)
		find_loop(id, file);
	return rc;
}
