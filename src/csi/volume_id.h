/*
 * volume_id.h - CSI identifiers of volumes, snapshots and groups, byte for
 * byte as ceph-csi writes them:
 *
 *	0001-LLLL-CLUSTERID-PPPPPPPPPPPPPPPP-UUID
 *
 * version, length of the cluster ID, cluster ID, pool ID, 36 bytes of object
 * UUID; the numbers in lower-case hex. The kind of object is not in it.
 */
#ifndef CSI_VOLUME_ID_H
#define CSI_VOLUME_ID_H

#include "base/err.h"
#include "base/str.h"

/* What most checks of src/csi end with: "field: what is wrong". */
#define csi_invalid(err, ...) err_set((err), ERR_INVALID_ARGUMENT, __VA_ARGS__)

#define CSI_VOLUME_ID_MAX 128 /* bytes, without the closing NUL */
#define CSI_CLUSTER_ID_MAX 64 /* what is left beside the fixed 64 bytes */
#define CSI_UUID_LEN 36

struct csi_volume_id {
	char cluster_id[CSI_CLUSTER_ID_MAX + 1];
	int64_t pool_id;
	char uuid[CSI_UUID_LEN + 1];
};

/*
 * May the identifiers of new volumes have this cluster ID: 1 to 64 letters,
 * digits, "-" and "_"? NodeStageVolume takes no other identifier, in ceph-csi
 * neither. 0 or INVALID_ARGUMENT.
 */
int csi_cluster_id_check(const char *text, struct err *err) must_check;

/*
 * Writes the identifier with its NUL into out. Returns 0 or
 * INVALID_ARGUMENT: csi_cluster_id_check(), UUID not of 36 bytes.
 */
int csi_volume_id_fmt(char out[CSI_VOLUME_ID_MAX + 1],
    const struct csi_volume_id *id, struct err *err) must_check;

/*
 * Reads one. What ceph-csi reads and never writes (other separators, capital
 * hex) is none of ours: one volume has one identifier, by which it is locked.
 * The UUID is 36 bytes of anything.
 *
 * Returns 0; -EINVAL for what has not this form: callers for whom an unknown
 * volume is NOT_FOUND or success go by that; -EPROTONOSUPPORT for another
 * version, which may be a volume, but not one that we can judge: never
 * success. Both set INVALID_ARGUMENT.
 */
int csi_volume_id_parse(
    const char *text, struct csi_volume_id *id, struct err *err) must_check;

/*
 * Handles that CSI migration makes for volumes of the in-tree driver, in the
 * form that ceph-csi reads (internal/rbd/migration.go):
 *
 *	mig_mons-CLUSTERID_image-SUFFIX_POOL
 *
 * CLUSTERID is the MD5 of the monitors, which config.json has as clusterID;
 * the image is kubernetes-dynamic-pvc-SUFFIX; POOL is its pool's name in hex.
 */
struct csi_migrated_id {
	char cluster_id[CSI_CLUSTER_ID_MAX + 1];
	char image[CSI_VOLUME_ID_MAX + 1];
	char pool[CSI_VOLUME_ID_MAX + 1];
};

/* Is it meant to be one? */
bool csi_migrated_id_is(const char *text);

/* INVALID_ARGUMENT: a part is missing or not in this form. */
int csi_migrated_id_parse(
    const char *text, struct csi_migrated_id *id, struct err *err) must_check;

#endif
