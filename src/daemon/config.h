/*
 * config.h - the clusters: ceph-csi's config.json, kept in memory and read
 * again when the file changes. It is read as leniently as ceph-csi reads it. A
 * file that is not a JSON list leaves the last good state as it is; an entry
 * that cannot be used is left out, with one line in the log.
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
	bool read_affinity;          /* krbd reads from the nearest OSD */
	const char *crush_labels;    /* joined by commas; "": the driver's */
	const char *secret, *secret_namespace; /* of Kubernetes, or "" */
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
 * Finds the first entry with this clusterID that is not left out. 0, or
 * ERR_FAILED_PRECONDITION with a text that names the clusterID and what is
 * wrong with it, with an entry that was left out, or with the newest file.
 */
int config_find(const struct config *config, const char *cluster_id,
    struct arena *arena, struct config_cluster *found,
    struct err *err) must_check;

/*
 * Where a volume may be that is not in the pool of the cluster that its handle
 * names: the first cluster of config.json beyond the first *n to which
 * cluster-mapping.json maps. Adds to *n how many were passed. False: there is
 * no more. pool_id 0: any pool, as in mapping_find().
 */
bool config_find_mapped(const struct config *config, const char *cluster_id,
    int64_t pool_id, size_t *n, struct arena *arena,
    struct config_cluster *found, int64_t *mapped_pool) must_check;

/*
 * The clusterID that follows `after` in the order of strings (`inclusive`: or
 * is `after`), in the arena; NULL: there is none. Entries that are left out
 * have their turn, too, so that nobody takes what the others have for all;
 * they are found out by config_find(). FAILED_PRECONDITION: no file was ever
 * good.
 */
int config_next(const struct config *config, const char *after, bool inclusive,
    struct arena *arena, const char **next, struct err *err) must_check;

/*
 * Adds to the text of an error that the file's state may have led to, that the
 * newest file is not the one in use, and why. Nothing when it is in use.
 */
void config_blame(const struct config *config, struct err *err);

struct config_state {
	size_t count;    /* entries in use */
	bool is_current; /* the newest file is in use */
	int64_t read_ms; /* when one was read, of the wall clock; 0: never */
};
struct config_state config_state(const struct config *config);

#endif
