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

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/io.h"
#include "core/timer.h"
#include "daemon/mapping.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>

#define FILE_MAX_BYTES ((size_t)2 << 20) /* a ConfigMap has 1 MiB */
#define SETTLE_MS 50                     /* several events make one reload */
#define RECHECK_MS 5000  /* when the directory cannot be watched */
#define FAULTS_LOGGED 16 /* for each version of the file */

#define WATCH_MASK                                                             \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |              \
	    IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

/* One entry of the file. */
struct cluster {
	char *id; /* NULL: it has none that can be read */
	char *monitors, *rados_namespace, *netns, *crush_labels;
	bool read_affinity;
	char *secret, *secret_namespace; /* controllerPublishSecretRef */
	struct err fault;                /* why it is left out */
};

struct config {
	char *path;
	char *target;            /* what path resolves to, or NULL */
	json_t *root;            /* the last good file, or NULL */
	json_t *mapping;         /* the last good one of mapping.h, or NULL */
	struct err unmapped;     /* why the newest one is not in use */
	struct cluster *cluster; /* its entries, in order */
	size_t count;
	size_t nfaults;    /* entries that are left out */
	int64_t read_ms;   /* when a good file was read last, wall clock */
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

/* ---- one entry ----------------------------------------------------------- */

/*
 * A copy of the string, "" when there is none; `what` names it in the text of
 * something else.
 */
static int
read_text(const json_t *value, const char *what, char **out, struct err *err)
{
	if (value != NULL &&
	    (!json_is_string(value) ||
		strlen(json_string_value(value)) != json_string_length(value)))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s", what);
	*out = str_dup(value != NULL ? json_string_value(value) : "");
	return 0;
}

/* Strings joined by commas, without those that are null or empty. */
static int
read_list(const json_t *list, const char *name, char **out, struct err *err)
{
	auto_free char *what = str_fmt(
	    "%s holds something that is no string", name);
	struct buf joined;
	const json_t *item;
	int rc = 0;
	size_t i;

	if (list != NULL && !json_is_array(list))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s is not a list", name);
	buf_init(&joined, FILE_MAX_BYTES);
	json_array_foreach (list, i, item) {
		auto_free char *text = NULL;

		if (rc == 0)
			rc = read_text(
			    json_is_null(item) ? NULL : item, what, &text, err);
		if (!str_is_empty(text))
			(void)buf_printf(
			    &joined, "%s%s", joined.len > 0 ? "," : "", text);
	}
	if (rc == 0)
		*out = str_fmt("%.*s", (int)joined.len, (char *)joined.data);
	buf_fini(&joined);
	return rc;
}

static int
read_members(struct cluster *c, const json_t *entry)
{
	const json_t *rbd = json_member(entry, "rbd");
	const json_t *near = json_member(entry, "readAffinity");
	const json_t *enabled = json_member(near, "enabled");
	const json_t *ref = json_member(rbd, "controllerPublishSecretRef");
	struct err *err = &c->fault;
	int rc;

	if (!json_is_object(entry))
		return err_set(err, ERR_INVALID_ARGUMENT, "not an object");
	if ((rc = read_text(json_member(entry, "clusterID"),
		 "clusterID is not a string", &c->id, err)) < 0)
		return rc;
	if (*c->id == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT, "no clusterID");
	if (rbd != NULL && !json_is_object(rbd))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "rbd is not an object");
	if ((near != NULL && !json_is_object(near)) ||
	    (enabled != NULL && !json_is_boolean(enabled)))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "readAffinity is no object with a boolean \"enabled\"");
	c->read_affinity = json_is_true(enabled);
	if ((rc = read_list(json_member(near, "crushLocationLabels"),
		 "readAffinity.crushLocationLabels", &c->crush_labels, err)) <
		0 ||
	    (rc = read_list(json_member(entry, "monitors"), "monitors",
		 &c->monitors, err)) < 0 ||
	    (rc = read_text(json_member(rbd, "radosNamespace"),
		 "rbd.radosNamespace is not a string", &c->rados_namespace,
		 err)) < 0)
		return rc;
	if ((rc = read_text(json_member(rbd, "netNamespaceFilePath"),
		 "rbd.netNamespaceFilePath is not a string", &c->netns, err)) <
		0 ||
	    (rc = read_text(json_member(ref, "name"),
		 "rbd.controllerPublishSecretRef.name is not a string",
		 &c->secret, err)) < 0)
		return rc;
	return read_text(json_member(ref, "namespace"),
	    "rbd.controllerPublishSecretRef.namespace is not a string",
	    &c->secret_namespace, err);
}

/* ---- the file ------------------------------------------------------------ */

static void
clusters_free(struct config *config)
{
	for (size_t i = 0; i < config->count; i++) {
		free(config->cluster[i].id);
		free(config->cluster[i].monitors);
		free(config->cluster[i].rados_namespace);
		free(config->cluster[i].netns);
		free(config->cluster[i].crush_labels);
		free(config->cluster[i].secret);
		free(config->cluster[i].secret_namespace);
	}
	free(config->cluster);
	config->cluster = NULL;
	config->count = config->nfaults = 0;
}

/* An entry that cannot be used is left out; the others are not its victims. */
static void
clusters_read(struct config *config)
{
	char quoted[ERR_TEXT_MAX + 8];
	const json_t *entry;
	size_t i;

	config->count = json_array_size(config->root);
	config->cluster = mem_new(
	    (config->count + 1) * sizeof(*config->cluster));
	json_array_foreach (config->root, i, entry) {
		struct cluster *c = &config->cluster[i];

		if (read_members(c, entry) == 0)
			continue;
		err_prefix(&c->fault, "entry %zu", i + 1);
		if (++config->nfaults <= FAULTS_LOGGED)
			log_warn("config.entry", "file=%s left_out=%s",
			    config->path,
			    log_quote(quoted, sizeof(quoted), c->fault.text));
	}
	if (config->nfaults > FAULTS_LOGGED)
		log_warn("config.entry", "file=%s more_left_out=%zu",
		    config->path, config->nfaults - FAULTS_LOGGED);
}

static void
on_change(struct io *io, int what)
{
	struct config *config = container_of(io, struct config, watch);
	_Alignas(struct inotify_event) char bytes[4096];
	const struct inotify_event *ev;
	ssize_t n, at;

	(void)what;
	while ((n = read(config->watch_fd, bytes, sizeof(bytes))) > 0)
		for (at = 0; at < n; at += (ssize_t)(sizeof(*ev) + ev->len)) {
			ev = (const void *)(bytes + at);
			/* About the directory itself, or an overflow; ours. */
			if (ev->len == 0 || str_starts(ev->name, "..") ||
			    str_eq(ev->name, MAPPING_FILE) ||
			    str_eq(ev->name, name_of(config->path)) ||
			    (config->target != NULL &&
				str_eq(ev->name, name_of(config->target))))
				timer_arm(&config->reload, SETTLE_MS);
		}
}

static void
watch_end(struct config *config)
{
	if (config->watch_fd < 0)
		return;
	io_unwatch(&config->watch);
	(void)close(config->watch_fd);
	config->watch_fd = -1;
}

static void
watch_again(struct config *config)
{
	const char *watched[2];
	bool whole = true;

	watch_end(config);
	free(config->target);
	config->target = realpath(config->path, NULL);
	watched[0] = config->path;
	watched[1] = config->target;
	config->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (size_t i = 0; i < countof(watched); i++) {
		auto_free char *copy = watched[i] != NULL ? str_dup(watched[i])
							  : NULL;

		if (copy != NULL &&
		    inotify_add_watch(
			config->watch_fd, dirname(copy), WATCH_MASK) < 0)
			whole = false;
	}
	if (config->watch_fd >= 0)
		io_watch(&config->watch, config->watch_fd, IO_READ, on_change);
	if (!whole)
		timer_arm(&config->reload, RECHECK_MS);
}

/* cluster-mapping.json, of which most have none. */
static void
mapping_reload(struct config *config)
{
	auto_free char *path = str_fmt("%.*s" MAPPING_FILE,
	    (int)(name_of(config->path) - config->path), config->path);
	struct err err = ERR_INIT;
	char quoted[ERR_TEXT_MAX + 8];
	json_t *file = json_read_file(path, FILE_MAX_BYTES, true, &err);

	if (file != NULL && mapping_check(file, &err) < 0) {
		err_prefix(&err, "%s", path);
		json_decref(file);
		file = NULL;
	}
	if (file == NULL && err.rc != -ENOENT) {
		if (!str_eq(err.text, config->unmapped.text))
			log_warn("config.broken", "text=%s",
			    log_quote(quoted, sizeof(quoted), err.text));
		config->unmapped = err;
		return;
	}
	config->unmapped = (struct err)ERR_INIT;
	if (file != NULL && !json_equal(file, config->mapping))
		log_info("config.mapping", "file=%s", path);
	json_decref(config->mapping);
	config->mapping = file;
}

void
config_reload(struct config *config)
{
	struct err err = ERR_INIT;
	char quoted[ERR_TEXT_MAX + 8];
	json_t *root;

	timer_disarm(&config->reload);
	watch_again(config);
	mapping_reload(config);
	root = json_read_file(config->path, FILE_MAX_BYTES, true, &err);
	if (root != NULL && !json_is_array(root)) {
		(void)err_set(&err, ERR_INVALID_ARGUMENT, "%s is not a list",
		    config->path);
		json_decref(root);
		root = NULL;
	}
	if (root == NULL) {
		if (!str_eq(err.text, config->broken.text))
			log_warn("config.broken", "keeps=%zu text=%s",
			    config_state(config).count,
			    log_quote(quoted, sizeof(quoted), err.text));
		config->broken = err;
		return;
	}
	config->broken = (struct err)ERR_INIT;
	config->read_ms = clock_wall_ms();
	if (config->root != NULL && json_equal(root, config->root)) {
		json_decref(root);
		return;
	}
	json_decref(config->root);
	clusters_free(config);
	config->root = root;
	clusters_read(config);
	log_info("config.loaded", "file=%s clusters=%zu", config->path,
	    config_state(config).count);
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
	timer_disarm(&config->reload);
	watch_end(config);
	json_decref(config->root);
	json_decref(config->mapping);
	clusters_free(config);
	free(config->target);
	free(config->path);
	free(config);
}

/* Why there is nothing to be found; the file's own fault comes first. */
static int
not_found(const struct config *config, const struct cluster *c,
    const char *cluster_id, struct err *err)
{
	const char *fault = NULL;
	int rc;

	if (config->root == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "look up clusterID \"%s\": %s", cluster_id,
		    config->broken.text);
	if (c == NULL)
		rc = err_set(err, ERR_FAILED_PRECONDITION,
		    "clusterID \"%s\" is not in %s", cluster_id, config->path);
	else if (err_is_set(&c->fault))
		rc = err_set(err, ERR_FAILED_PRECONDITION,
		    "clusterID \"%s\" is left out of %s: %s", cluster_id,
		    config->path, c->fault.text);
	else
		rc = err_set(err, ERR_FAILED_PRECONDITION,
		    "clusterID \"%s\" has no monitors in %s", cluster_id,
		    config->path);
	for (size_t i = 0; c == NULL && fault == NULL && i < config->count; i++)
		if (err_is_set(&config->cluster[i].fault) &&
		    str_is_empty(config->cluster[i].id))
			fault = config->cluster[i].fault.text;
	if (fault != NULL)
		err_suffix(err, "; %s", fault);
	config_blame(config, err);
	return rc;
}

void
config_blame(const struct config *config, struct err *err)
{
	if (err_is_set(&config->broken))
		err_suffix(err,
		    "; an older %s is in use, for the newest one is broken: %s",
		    name_of(config->path), config->broken.text);
}

int
config_find(const struct config *config, const char *cluster_id,
    struct arena *arena, struct config_cluster *found, struct err *err)
{
	const struct cluster *c = NULL;

	/* The first entry of this ID that can be used, else the first. */
	for (size_t i = 0; i < config->count; i++) {
		const struct cluster *at = &config->cluster[i];

		if (!str_eq(at->id, cluster_id) ||
		    (c != NULL && err_is_set(&at->fault)))
			continue;
		c = at;
		if (!err_is_set(&c->fault))
			break;
	}
	if (c == NULL || err_is_set(&c->fault) || *c->monitors == '\0')
		return not_found(config, c, cluster_id, err);
	*found = (struct config_cluster){
		.cluster_id = arena_strdup(arena, cluster_id),
		.monitors = arena_strdup(arena, c->monitors),
		.rados_namespace = arena_strdup(arena, c->rados_namespace),
		.netns = arena_strdup(arena, c->netns),
		.read_affinity = c->read_affinity,
		.crush_labels = arena_strdup(arena, c->crush_labels),
		.secret = arena_strdup(arena, c->secret),
		.secret_namespace = arena_strdup(arena, c->secret_namespace),
	};
	return 0;
}

bool
config_find_mapped(const struct config *config, const char *cluster_id,
    int64_t pool_id, size_t *n, struct arena *arena,
    struct config_cluster *found, int64_t *mapped_pool)
{
	struct mapped mapped;

	while (mapping_find(
	    config->mapping, cluster_id, pool_id, (*n)++, &mapped)) {
		*mapped_pool = mapped.pool_id;
		if (config_find(
			config, mapped.cluster_id, arena, found, NULL) == 0)
			return true;
	}
	return false;
}

int
config_next(const struct config *config, const char *after, bool inclusive,
    struct arena *arena, const char **next, struct err *err)
{
	const char *best = NULL;

	if (config->root == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "look up the clusters: %s", config->broken.text);
	for (size_t i = 0; i < config->count; i++) {
		const char *id = config->cluster[i].id;
		int order = str_is_empty(id) ? -1 : strcmp(id, after);

		if ((order > 0 || (order == 0 && inclusive)) &&
		    (best == NULL || strcmp(id, best) < 0))
			best = id;
	}
	*next = arena_strdup(arena, best);
	return 0;
}

struct config_state
config_state(const struct config *config)
{
	return (struct config_state){
		.count = config->count - config->nfaults,
		.is_current = !err_is_set(&config->broken),
		.read_ms = config->read_ms,
	};
}
