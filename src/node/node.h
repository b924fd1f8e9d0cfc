/*
 * node.h - the Node service: what the daemon needs to serve it.
 *
 * The rule that holds it together: one file an RPC (or two that belong
 * together), each an operation whose blocking work is done by children; the daemon's
 * memory holds nothing that a restart would lose.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "base/arena.h"
#include "csi/caps.h"
#include "csi/params.h"
#include "csi/rpc.h"
#include "node/limits.h"
#include "node/mapper.h"

/* What config.json says of a cluster. */
struct node_cluster {
	const char *monitors;
	const char *rados_namespace;
	const char *net_namespace;
	const char *crush_location; /* reads go to what is near; "": not so */
	/* Not NULL: the cluster and pool that the one asked for is mapped to */
	const char *mapped_id;
	int64_t mapped_pool; /* 0: that is not known */
};

enum node_format_step {
	NODE_FORMAT_BEGIN = 0, /* may the image be formatted? */
	NODE_FORMAT_END,       /* it has a file system now */
	NODE_FORMAT_POOL,      /* what is its pool called now? */
	NODE_FORMAT_USAGE,     /* how many bytes of it are used? */
	NODE_FORMAT_RECORD,    /* record by which address it is open */
	NODE_FORMAT_LIMITS,    /* what limits does it have? */
	NODE_FORMAT_KEY,       /* what opens it? */
	NODE_FORMAT_ENCRYPTED, /* it is a LUKS device now */
	NODE_FORMAT_ALONE,     /* has no other client it open for writing? */
};

/*
 * A question to the image's cluster: before and after mkfs, where the pool's
 * name may have changed, and for statistics; embedded in the op that waits. What the device shows is never proof that it may be formatted.
 */
struct node_format {
	enum node_format_step step;
	const struct device_spec *spec; /* with user and key; image_id may be
					   unknown */
	const char *fstype;             /* END: which; ENCRYPTED: its mark */
	const char *node_id;            /* RECORD, and so is: */
	const char *address;            /* RECORD: "10.0.0.1:0/123" */
	bool lasting;                   /* RECORD: until the image is closed */
	bool shared;            /* RECORD: others may write at the same time */
	bool address_only;      /* RECORD: the spec's user is not the image's */
	bool luks;              /* BEGIN: it is encrypted, or is to be */
	const char *kms_id;     /* KEY */
	const char *passphrase; /* KEY: of the secrets, or NULL */

	/* the answer, valid after the wake */
	struct err err; /* of a negative rc */
	bool again;     /* BEGIN: an mkfs was cut off and has left something */
	char image_id[64];
	char pool[256];  /* POOL: the name of the pool with the handle's id */
	bool used_known; /* USAGE: the image has an object map that tells */
	uint64_t used_bytes;
	char io_max[LIMITS_SIZE]; /* LIMITS */
	bool encrypted;           /* KEY: it is a LUKS device already */
	struct secret key;        /* KEY: the caller ends it */
};

struct node_config {
	const char *state_dir;
	const char *mounter_fallback; /* mapper name, NULL or "none" */
	const char *node_id;
	bool records; /* by which address it uses a volume, for fencing */
	/*
	 * From memory, no blocking: 0, or a negative errno when the cluster
	 * is not known. The strings live as long as the arena.
	 */
	int (*find_cluster)(const char *cluster_id, int64_t pool_id,
	    struct arena *arena, struct node_cluster *cluster, struct err *err);
	/*
	 * Asks the cluster and wakes `waiter` once. BEGIN: rc 0 when the image
	 * is proven to hold nothing, or an mkfs that was cut off; its mark is
	 * set. FAILED_PRECONDITION tells why it is not; any other error, too,
	 * means that it must not be formatted. END: rc 0 when the mark says
	 * that it has a file system. ENCRYPTED: rc 0 when its state says that it is
	 * a LUKS device. KEY: FAILED_PRECONDITION when nothing tells whether it
	 * is one. ALONE, of an image that is open here: FAILED_PRECONDITION when
	 * another client has it open, or had a moment ago. The others: rc 0 with
	 * the answer.
	 */
	void (*format_start)(struct node_format *ask, struct wake *waiter);
	/*
	 * As a mapper's credentials, of the sessions of ceph-worker, or else
	 * the driver's own (--credentials-dir).
	 */
	bool (*credentials)(const struct device_spec *spec, const char **user,
	    const char **key);
};

/* Set before the first call; borrowed. */
extern const struct node_config *node_config;

extern const struct csi_impl node_stage_impl;
extern const struct csi_impl node_unstage_impl;
extern const struct csi_impl node_publish_impl;
extern const struct csi_impl node_unpublish_impl;
extern const struct csi_impl node_stats_impl;
extern const struct csi_impl node_health_impl;
extern const struct csi_impl node_storage_impl;
extern const struct csi_impl node_expand_impl;
extern const struct csi_impl node_abort_impl;
extern const struct csi_impl node_volumes_impl;

/* ---- shared by the RPC files ---------------------------------------------- */

/* How long a child may take until it is killed. */
#define NODE_CHILD_MS INT64_C(300000)

/*
 * The image that a request is about: the cluster from config.json, the rest
 * from publish_context (set by our ControllerPublishVolume), else from
 * volume_context, as for volumes of ceph-csi. Pool and image are names there;
 * by the handle's pool id and the image's id a mapper sees whether these are
 * still the volume's. Strings live as long as the request and the arena.
 * `reach`: it is to be attached, so monitors are needed too.
 */
int node_spec_fill(struct device_spec *spec, const char *volume_id,
    const struct csi_map *publish_context, const struct csi_map *volume_context,
    bool reach, struct arena *arena, struct err *err) must_check;

/*
 * What "read-only" means, for stage (and with it mkfs, mark, fsck and grow)
 * and publish alike: a mode for readers, `ro` among the mount flags (the last
 * of `ro` and `rw` counts), or `readonly` of a publish. Only the mode makes
 * the device read-only, too: a file system with `ro` may replay its journal.
 */
bool node_is_read_only(
    const struct csi_access *access, const char *options, bool readonly);

/*
 * User and key of a session with the image's cluster that works now, a
 * mapper's first, or the driver's own; they live until the next turn. False:
 * there is none.
 */
bool node_find_credentials(
    const struct device_spec *spec, const char **user, const char **key);

/*
 * Fills a NODE_FORMAT_RECORD of the image of `spec`: this node has it open by
 * the mapper's client of it, or by the device's own, `device_client`. False: the
 * address is not known.
 */
bool node_record_fill(struct node_format *ask, const struct device_spec *spec,
    const struct mapper *mapper, const char *device_client,
    struct arena *arena);

/*
 * How many volumes this node can have by the mapper of those that ask for none.
 * 0: no fixed limit, or no mapper.
 */
unsigned node_images_most(void);

/* The mount flags of a capability as a comma list, checked; "" for block. */
int node_mount_flags(const Csi__V1__VolumeCapability *capability,
    struct arena *arena, const char **options, struct err *err) must_check;

#endif
