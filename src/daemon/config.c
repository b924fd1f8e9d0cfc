/*
 * config.c - reading, checking and watching of config.json.
 *
 * Kubernetes swaps a mounted ConfigMap by renaming the symbolic link `..data`
 * over the old one, others write a new file and rename it, editors write in
 * place: the directories of the path and of what it resolves to are watched,
 * not the file. Every reload makes the watches anew before it reads, so that
 * no change falls in between.
 */
#include "daemon/config.h"

#include "base/json.h"
#include "base/log.h"
#include "core/io.h"
#include "core/timer.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>

#define FILE_MAX_BYTES ((size_t)2 << 20) /* a ConfigMap has 1 MiB */
#define SETTLE_MS 50                     /* several events make one reload */
#define RECHECK_MS 5000 /* when the directory cannot be watched */

#define WATCH_MASK                                                             \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |              \
	    IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

struct config {
	char *path;
	char *target;      /* what path resolves to, or NULL */
	json_t *root;      /* the last good file, or NULL */
	struct err broken; /* why the newest file is not in use */
	struct io watch;
	int watch_fd;
	struct timer reload;
};

/* The base name, inside `path`. */
static const char *
name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int
check_strings(const json_t *list, const char *what, size_t at, struct err *err)
{
	const json_t *item;
	size_t i;

	if (list == NULL)
		return 0;
	if (!json_is_array(list))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "entry %zu: %s is not a list", at, what);
	json_array_foreach(
	    list, i, item) if (!json_is_string(item)) return err_set(err,
	    ERR_INVALID_ARGUMENT,
	    "entry %zu: %s holds something that is no string", at, what);
	return 0;
}

static int
check_string(const json_t *value, const char *what, size_t at, struct err *err)
{
	if (value == NULL || json_is_string(value))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "entry %zu: %s is not a string", at, what);
}

static int
check_entry(const json_t *entry, size_t at, struct err *err)
{
	const json_t *rbd;
	int rc;

	if (!json_is_object(entry))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "entry %zu is not an object", at);
	rbd = json_object_get(entry, "rbd");
	if (rbd != NULL && !json_is_object(rbd))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "entry %zu: rbd is not an object", at);
	if ((rc = check_string(json_object_get(entry, "clusterID"), "clusterID",
		 at, err)) < 0 ||
	    (rc = check_strings(json_object_get(entry, "monitors"), "monitors",
		 at, err)) < 0 ||
	    (rc = check_string(json_object_get(rbd, "radosNamespace"),
		 "rbd.radosNamespace", at, err)) < 0)
		return rc;
	return check_string(json_object_get(rbd, "netNamespaceFilePath"),
	    "rbd.netNamespaceFilePath", at, err);
}

/* The file, checked, or NULL with the reason, which never quotes it. */
static json_t *
read_checked(const char *path, struct err *err)
{
	json_t *root = json_read_file(path, FILE_MAX_BYTES, err);
	const json_t *entry;
	size_t i;

	if (root == NULL)
		return NULL;
	if (!json_is_array(root)) {
		(void)err_set(
		    err, ERR_INVALID_ARGUMENT, "%s is not a list", path);
		goto bad;
	}
	json_array_foreach(
	    root, i, entry) if (check_entry(entry, i + 1, err) < 0)
	{
		err_prefix(err, "%s", path);
		goto bad;
	}
	return root;
bad:
	json_decref(root);
	return NULL;
}

static bool
watch_dir_of(const struct config *config, const char *path)
{
	auto_free char *copy = str_dup(path);

	return inotify_add_watch(config->watch_fd, dirname(copy), WATCH_MASK) >=
	    0;
}

static bool
event_is_ours(const struct config *config, const struct inotify_event *ev)
{
	if (ev->len == 0) /* about the directory itself, or an overflow */
		return true;
	return str_starts(ev->name, "..") ||
	    str_eq(ev->name, name_of(config->path)) ||
	    (config->target != NULL &&
		str_eq(ev->name, name_of(config->target)));
}

static void
on_change(struct io *io, int what)
{
	struct config *config = container_of(io, struct config, watch);
	_Alignas(struct inotify_event) char bytes[4096];
	ssize_t n, at;

	(void)what;
	while ((n = read(config->watch_fd, bytes, sizeof(bytes))) > 0)
		for (at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(bytes +
			    at);

			if (event_is_ours(config, ev))
				timer_start(&config->reload, SETTLE_MS);
			at += (ssize_t)(sizeof(*ev) + ev->len);
		}
}

static void
watch_end(struct config *config)
{
	if (config->watch_fd < 0)
		return;
	io_stop(&config->watch);
	(void)close(config->watch_fd);
	config->watch_fd = -1;
}

static void
watch_again(struct config *config)
{
	bool whole;

	watch_end(config);
	free(config->target);
	config->target = realpath(config->path, NULL);
	config->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	whole = config->watch_fd >= 0 && watch_dir_of(config, config->path);
	if (whole && config->target != NULL)
		whole = watch_dir_of(config, config->target);
	if (config->watch_fd >= 0)
		io_start(&config->watch, config->watch_fd, IO_READ, on_change);
	if (!whole)
		timer_start(&config->reload, RECHECK_MS);
}

void
config_reload(struct config *config)
{
	struct err err = ERR_INIT;
	char quoted[ERR_TEXT_MAX + 8];
	json_t *root;

	timer_stop(&config->reload);
	watch_again(config);
	root = read_checked(config->path, &err);
	if (root == NULL) {
		if (!str_eq(err.text, config->broken.text))
			log_warn("config.broken", "keeps=%zu text=%s",
			    config_count(config),
			    log_quote(quoted, sizeof(quoted), err.text));
		config->broken = err;
		return;
	}
	config->broken = (struct err)ERR_INIT;
	if (config->root != NULL && json_equal(root, config->root)) {
		json_decref(root);
		return;
	}
	json_decref(config->root);
	config->root = root;
	log_info("config.loaded", "file=%s clusters=%zu", config->path,
	    config_count(config));
}

static void
on_reload(struct timer *timer)
{
	config_reload(container_of(timer, struct config, reload));
}

struct config *
config_new(const char *path)
{
	struct config *config = mem_new(sizeof(*config));

	config->path = str_dup(path);
	config->watch_fd = -1;
	config->reload.fire = on_reload;
	config_reload(config);
	return config;
}

void
config_free(struct config *config)
{
	timer_stop(&config->reload);
	watch_end(config);
	json_decref(config->root);
	free(config->target);
	free(config->path);
	free(config);
}

/* "a,b,c" in the arena; "" when there is none. */
static const char *
join_monitors(const json_t *list, struct arena *arena)
{
	const char *joined = "";
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) joined = arena_fmt(
	    arena, "%s%s%s", joined, i > 0 ? "," : "", json_string_value(item));
	return joined;
}

static const char *
copy_or_empty(const json_t *object, const char *key, struct arena *arena)
{
	const char *text = json_get_string(object, key);

	return text != NULL ? arena_strdup(arena, text) : "";
}

int
config_find(const struct config *config, const char *cluster_id,
    struct arena *arena, struct config_cluster *found, struct err *err)
{
	const json_t *entry = NULL, *rbd;
	size_t i;

	json_array_foreach(config->root, i,
	    entry) if (str_eq(json_get_string(entry, "clusterID"),
			   cluster_id)) break;
	if (i == json_array_size(config->root)) {
		if (config->root == NULL)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "look up clusterID \"%s\": %s", cluster_id,
			    config->broken.text);
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "clusterID \"%s\" is not in %s", cluster_id, config->path);
	}
	rbd = json_object_get(entry, "rbd");
	*found = (struct config_cluster){
		.cluster_id = arena_strdup(arena, cluster_id),
		.monitors = join_monitors(
		    json_object_get(entry, "monitors"), arena),
		.rados_namespace = copy_or_empty(rbd, "radosNamespace", arena),
		.netns = copy_or_empty(rbd, "netNamespaceFilePath", arena),
	};
	if (*found->monitors == '\0')
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "clusterID \"%s\" has no monitors in %s", cluster_id,
		    config->path);
	return 0;
}

size_t
config_count(const struct config *config)
{
	return json_array_size(config->root);
}
