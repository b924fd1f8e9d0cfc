/*
 * stash.h - <staging_target_path>/image-meta.json: what is staged there, in
 * ceph-csi's format version 3, so that a node can be switched over in either
 * direction with volumes mounted.
 *
 * The rule that holds it together: every key of ceph-csi is always written;
 * what only we need goes into one more object, "rbd-csi", which ceph-csi
 * ignores, and whose absence means that ceph-csi wrote the file.
 */
#ifndef NODE_STASH_H
#define NODE_STASH_H

#include "node/mapper.h"

#include <limits.h>

#define STASH_NAME_MAX 256

/* Fixed sizes: it goes through an offload child's pipe. */
struct stash {
	char pool[STASH_NAME_MAX];
	char rados_namespace[STASH_NAME_MAX];
	char image[STASH_NAME_MAX];
	char unmap_options[STASH_NAME_MAX];
	bool nbd;        /* accessType: mapped by rbd-nbd */
	bool encrypted;  /* a LUKS device lies between */
	char device[64]; /* rbd-nbd only */
	char log_dir[STASH_NAME_MAX], log_strategy[32]; /* rbd-nbd only */

	/* ours; "" in a file of ceph-csi */
	char volume_id[136]; /* CSI allows 128 bytes */
	char mapper[16];
	char fsid[40];
	char cluster_id[72]; /* as in config.json: mappers go by it */
	char image_id[64];
	/* SINGLE_NODE_SINGLE_WRITER: the one target it is published at */
	char single_target[PATH_MAX];
	bool plain;    /* no target has had a read-only layer; false: unknown */
	bool recorded; /* the cluster knows by which address it is open */
};

/*
 * Reads the stash of a staging path. 0; -ENOENT (nothing set in err) when
 * there is none or it is empty or cut off, as after a power failure (nothing
 * is mapped then); another negative errno when it cannot be used.
 */
int stash_read(
    const char *staging, struct stash *stash, struct err *err) must_check;

/* Writes it, mode 0600, by rename. */
int stash_write(
    const char *staging, const struct stash *stash, struct err *err) must_check;

/* Removes it; a missing one is success. */
int stash_remove(const char *staging, struct err *err) must_check;

/* What a volume staged by `mapper` has. INVALID_ARGUMENT: a name is too long. */
int stash_fill(struct stash *stash, const struct device_spec *spec,
    const char *mapper, struct err *err) must_check;

/*
 * Whether it is the stash of this volume. One of ceph-csi does not say so: it
 * is, if the image has the volume's name (device_is_named).
 */
bool stash_is_of(const struct stash *stash, const char *volume_id);

/* The name of the mapper that it was staged by. */
const char *stash_mapper(const struct stash *stash);

/*
 * Sets the image of a claim (strings are borrowed) and its mapper; what the
 * stash does not know keeps its value. -EBUSY: this driver has no such mapper,
 * the claim's is NULL then.
 */
int stash_claim(
    const struct stash *stash, struct device_claim *claim, struct err *err);

#endif
