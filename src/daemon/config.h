/*
 * config.h - the clusters: ceph-csi's config.json, kept in memory and read
 * again when the file changes. What cannot be read or parsed leaves the last
 * good state as it is.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/arena.h"
#include "base/err.h"

struct config;

/* One entry, as a copy in the arena that config_find() was given. */
struct config_cluster {
	const char *cluster_id;
	const char *monitors;        /* joined by commas, not empty */
	const char *rados_namespace; /* "" is the default one */
	const char *netns;           /* path of a network namespace, or "" */
};

/*
 * Reads `path` (copied) and watches it. A file that is missing or broken is
 * logged; look-ups fail until it is there.
 */
struct config *config_new(const char *path);
void config_free(struct config *config);

/* Reads the file now (SIGHUP). */
void config_reload(struct config *config);

/*
 * Finds the first entry with this clusterID. 0, or ERR_FAILED_PRECONDITION
 * with a text that names the clusterID and what is wrong with it or the file.
 */
int config_find(const struct config *config, const char *cluster_id,
    struct arena *arena, struct config_cluster *found,
    struct err *err) must_check;

size_t config_count(const struct config *config); /* entries */

#endif
