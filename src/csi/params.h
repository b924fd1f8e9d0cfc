/*
 * params.h - what the string maps of CSI requests mean: StorageClass
 * parameters, credentials, sizes, image features. Pure functions; strings in
 * the results point into the request.
 */
#ifndef CSI_PARAMS_H
#define CSI_PARAMS_H

#include "base/err.h"
#include "base/str.h"
#include "csi.pb-c.h"
#include "csi/qos.h"

/* A map<string,string> of any request; entries as protobuf-c keeps them. */
struct csi_map {
	size_t count;
	ProtobufCMessage *const *entry;
};

/* csi_map_of(request, parameters) */
#define csi_map_of(message, field)                                             \
	((struct csi_map){ .count = (message)->n_##field,                      \
	    .entry = (ProtobufCMessage *const *)(void *)(message)->field })

/* All fields marked csi_secret have this name; tests/sanity checks that. */
#define CSI_SECRETS "secrets"

/* What ControllerPublishVolume gives to the node, and in it a user's key. */
#define CSI_PUBLISH_CONTEXT "publish_context"
#define CSI_USER_KEY "userKey"
#define CSI_PASSPHRASE "encryptionPassphrase" /* in the secrets */

#define CSI_ENCRYPTION_BLOCK "block" /* encryptionType: the device, by LUKS */

/* The most bytes of keys and values in a map (CSI specification). */
#define CSI_MAP_MAX_BYTES 4096

/* Key and value of entry `i`; never NULL after unpacking. */
const char *csi_map_key(const struct csi_map *map, size_t i);
const char *csi_map_value(const struct csi_map *map, size_t i);

/* The value, or NULL if the key is absent; of equal keys the last one wins. */
const char *csi_map_get(const struct csi_map *map, const char *key);

/*
 * The map field `name` of any message; empty if the message has none such.
 */
struct csi_map csi_map_field(const void *message, const char *name);

/*
 * Does a volume_context say that the volume is static: an image that somebody
 * else made, whose name is the volume's ID (ceph-csi: docs/static-pvc.md)?
 */
bool csi_is_static(const struct csi_map *context);

/* Of a volume_context: each node gets a CephX user for this volume only. */
#define CSI_CEPHX_PER_VOLUME "cephxPerVolume"

/* Go's strconv.ParseBool: 1 t T TRUE true True 0 f F FALSE false False. */
int csi_parse_bool(const char *text, bool *value) must_check;

/* A boolean of the request's `field`; absent is false. INVALID_ARGUMENT. */
int csi_map_bool(const struct csi_map *map, const char *field, const char *key,
    bool *value, struct err *err) must_check;

/*
 * "layering,fast-diff" to bits: names of the imageFeatures parameter (no
 * blanks, no striping or data-pool: these follow from other parameters), each
 * with the features that it needs. Returns 0 or INVALID_ARGUMENT.
 */
int csi_features_parse(
    const char *text, uint64_t *bits, struct err *err) must_check;

enum csi_mounter {
	CSI_MOUNTER_KRBD = 0,  /* "rbd", absent, and any unknown name */
	CSI_MOUNTER_NBD,       /* "rbd-nbd" */
	CSI_MOUNTER_USERSPACE, /* "userspace" */
};

enum csi_mounter csi_mounter_of(const char *text); /* NULL: krbd */

/*
 * The one table of what may stand in the string maps of requests, and in
 * which: by it they are read, by it errors tell what is accepted, and
 * docs/PARAMETERS.md has each of its rows, which a test checks.
 */
enum csi_param_in {
	CSI_IN_CLASS = 1,    /* StorageClass: CreateVolume.parameters */
	CSI_IN_SNAPSHOT = 2, /* VolumeSnapshotClass */
	CSI_IN_STATIC = 4,   /* volumeAttributes of a hand-written volume */
	CSI_IN_SECRET = 8,
	CSI_IN_MUTABLE = 16, /* VolumeAttributesClass: mutable_parameters */
};

struct csi_param {
	const char *key;
	unsigned in;          /* enum csi_param_in */
	const char *accepts;  /* for people; words with commas between them
				 where only these are accepted */
	const char *standard; /* what counts without it; NULL: nothing */
	bool is_filled;       /* an empty value is refused, as in ceph-csi; else
				 it is as good as none */
	bool stays;           /* is not copied to the volume_context */
	bool is_ignored;      /* by everybody; only its key is known */
	/* How it is read, and where to; NULL: any value is right. */
	int (*read)(const struct csi_param *param, const char *text,
	    void *field, struct err *why);
	size_t at;
};

extern const struct csi_param csi_params[];
extern const size_t csi_params_count;

/* Is a parameter of a StorageClass copied to the volume_context? */
bool csi_param_travels(const char *key);

/*
 * A parameter of a StorageClass that nobody reads, or NULL: the next one after
 * *at (0 at first), which moves on. ceph-csi copies such to the
 * volume_context, so we do.
 */
const char *csi_class_params_unknown(
    const struct csi_map *parameters, size_t *at);

/* StorageClass parameters of a new volume, read and checked. */
struct csi_class_params {
	const char *cluster_id;
	const char *pool;              /* NULL: pools_by_topology has some */
	const char *data_pool;         /* NULL: the pool itself */
	const char *pools_by_topology; /* csi/topology.h reads it; NULL: none */
	const char *name_prefix;       /* of images */
	const char *mounter;           /* as given, "rbd" if not */
	bool has_features;             /* false: the cluster's default */
	uint64_t features;
	uint64_t stripe_unit; /* both 0: no striping */
	uint64_t stripe_count;
	uint64_t object_size; /* 0: the cluster's default */
	bool encrypted;       /* by LUKS */
	const char *kms_id;   /* "default" if none is given */
	const char *encryption_type;
};

/*
 * Returns 0 or INVALID_ARGUMENT naming the parameter; UNIMPLEMENTED for
 * encrypted files. What later calls could not use is refused here, and so is a
 * key that differs little from one that counts.
 */
int csi_class_params_parse(const struct csi_map *parameters,
    struct csi_class_params *out, struct err *err) must_check;

/*
 * Parameters of a VolumeSnapshotClass: *prefix is snapshotNamePrefix, or
 * "csi-snap-". clusterID and pool may be there, as ceph-csi wants them, but
 * cluster and pool are those of the source volume. INVALID_ARGUMENT: a
 * parameter is empty, makes no image name, or is another cluster than the one
 * in `source_id`.
 */
int csi_snapshot_params_parse(const struct csi_map *parameters,
    const char *source_id, const char **prefix, struct err *err) must_check;

/*
 * Reads the mutable_parameters of a VolumeAttributesClass. INVALID_ARGUMENT: a
 * key that is not one of these, or a value that is no number.
 */
int csi_qos_parse(const struct csi_map *mutable_parameters,
    struct csi_qos *asked, struct err *err) must_check;

/*
 * The key of a parameter that was asked for and that an image does not keep,
 * or keeps with another value; NULL: it has all of them.
 */
const char *csi_qos_lacks(
    const struct csi_qos *stored, const struct csi_qos *asked);

/* Who to log in as. Both point into the secrets. */
struct csi_credentials {
	const char *user; /* without "client." */
	const char *key;  /* of key_len bytes: blanks around it are left out */
	size_t key_len;
};

/*
 * userID/userKey; else, as an in-tree volume's secret has them, key with
 * adminId (default "admin"); else adminID/adminKey. Blanks and line ends
 * around the key are no part of it, as for librados. Returns 0, -ENOENT when
 * the map has no entry at all, or -EINVAL when an entry is missing or empty;
 * both set INVALID_ARGUMENT naming the key.
 */
int csi_credentials_get(const struct csi_map *secrets,
    struct csi_credentials *out, struct err *err) must_check;

#define CSI_SECTOR (UINT64_C(1) << 9)
#define CSI_MIB (UINT64_C(1) << 20)
#define CSI_GIB (UINT64_C(1) << 30)

/*
 * The size of a new volume: required_bytes rounded up to MiB below 1 GiB, to
 * GiB from there on, as ceph-csi does (it is visible as the PV's capacity).
 * Where limit_bytes does not allow that: to MiB, or to sectors of 512 bytes.
 * 1 GiB, or as many MiB as limit_bytes allows, if nothing is required. `range`
 * NULL: 1 GiB. Returns 0, INVALID_ARGUMENT (negative, limit below required,
 * neither given) or OUT_OF_RANGE (no whole sectors within the range).
 */
int csi_volume_size(const Csi__V1__CapacityRange *range, uint64_t *bytes,
    struct err *err) must_check;

/*
 * The part of mapOptions or unmapOptions that is for `mounter`:
 * "krbd:a,b;nbd:c" where a part without prefix is krbd's. *out is a new
 * string (maybe empty) that the caller frees. INVALID_ARGUMENT for an unknown
 * prefix.
 */
int csi_map_options(const char *text, enum csi_mounter mounter, char **out,
    struct err *err) must_check;

#endif
