/*
 * qos.h - the limits of a VolumeAttributesClass (mutable_parameters): what was
 * asked for, what follows from it for a volume's size, and the keys of the
 * image's metadata that keep both, as ceph-csi has them (its internal/rbd/
 * qos.go). Pure; strings are the caller's or in the arena given.
 *
 * A limit has a base, which counts up to a size of the volume, more for each
 * GiB above it, and a maximum for the sum. Effective values have the names of
 * librbd's options behind "conf_", so that librbd obeys them.
 */
#ifndef CSI_QOS_H
#define CSI_QOS_H

#include "base/arena.h"

/* Inputs are numbered limit by limit: base, per GiB, maximum; last the size. */
#define CSI_QOS_LIMITS 6
#define CSI_QOS_BASE_SIZE (3 * CSI_QOS_LIMITS)
#define CSI_QOS_INPUTS (CSI_QOS_BASE_SIZE + 1)
#define CSI_QOS_KEYS (CSI_QOS_INPUTS + CSI_QOS_LIMITS)

#define CSI_QOS_CGROUP 4

struct csi_qos {
	const char *given[CSI_QOS_INPUTS];  /* decimal text, or NULL */
	const char *now[CSI_QOS_LIMITS];    /* effective, as it is stored */
	const char *cgroup[CSI_QOS_CGROUP]; /* of ceph-csi 3.18, for krbd */
};

/* A key of image metadata and its value. */
struct csi_qos_meta {
	const char *key, *value;
};

/* Takes one key of an image's metadata, if it is one of these. */
void csi_qos_take(struct csi_qos *stored, const char *key, const char *value);

/*
 * What has to be written to an image of `size` bytes that has `stored`, so
 * that it keeps what was asked for now (NULL: nothing) beside what was asked
 * for earlier, and the effective values of all that. What is stored already is
 * left out. Returns the number of entries.
 *
 * A key that is absent changes nothing (CSI, ControllerModifyVolume); 0 lifts
 * a limit. A limit without a base is kept and has no effect. What is stored and
 * is no number is as if it was not there.
 */
size_t csi_qos_diff(const struct csi_qos *stored, const struct csi_qos *asked,
    uint64_t size, struct arena *arena, struct csi_qos_meta out[CSI_QOS_KEYS]);

/*
 * What of the stored limits a cgroup can do for a device, as io.max has it:
 * "rbps=max wbps=max riops=100 wiops=100"; "": there are none. A limit of reads and writes
 * together counts for each of the two; ceph-csi's keys for cgroups go before
 * all others.
 */
const char *csi_qos_io_max(const struct csi_qos *stored, struct arena *arena);

#endif
