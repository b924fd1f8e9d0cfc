/*
 * definitions.h - one definition for each RPC that CSI 1.13 knows, for those
 * of our own service, Admin, and for what nodes ask of a ceph-worker: all that
 * is known about an RPC before it runs. Nothing else in the project lists
 * RPCs, apart from one table of implementations in each program.
 *
 * To add an RPC: its id here, its row in definitions.c, its check in checks.c,
 * and its implementation in the table of the program that runs it.
 */
#ifndef CSI_DEFINITIONS_H
#define CSI_DEFINITIONS_H

#include "base/arena.h"
#include "csi/caps.h"
#include "csi/pages.h"
#include "csi/params.h"
#include "csi/topology.h"
#include "csi/volume_id.h"

/* In the order of csi.proto. */
enum csi_id {
	CSI_GET_PLUGIN_INFO = 0,
	CSI_GET_PLUGIN_CAPABILITIES,
	CSI_PROBE,
	CSI_CREATE_VOLUME,
	CSI_DELETE_VOLUME,
	CSI_CONTROLLER_PUBLISH_VOLUME,
	CSI_CONTROLLER_UNPUBLISH_VOLUME,
	CSI_VALIDATE_VOLUME_CAPABILITIES,
	CSI_LIST_VOLUMES,
	CSI_CONTROLLER_LIST_VOLUME_HEALTH,
	CSI_CONTROLLER_GET_VOLUME_HEALTH,
	CSI_GET_CAPACITY,
	CSI_CONTROLLER_GET_CAPABILITIES,
	CSI_CREATE_SNAPSHOT,
	CSI_DELETE_SNAPSHOT,
	CSI_LIST_SNAPSHOTS,
	CSI_GET_SNAPSHOT,
	CSI_CONTROLLER_EXPAND_VOLUME,
	CSI_CONTROLLER_GET_VOLUME,
	CSI_CONTROLLER_MODIFY_VOLUME,
	CSI_GROUP_CONTROLLER_GET_CAPABILITIES,
	CSI_CREATE_VOLUME_GROUP_SNAPSHOT,
	CSI_DELETE_VOLUME_GROUP_SNAPSHOT,
	CSI_GET_VOLUME_GROUP_SNAPSHOT,
	CSI_GET_METADATA_ALLOCATED,
	CSI_GET_METADATA_DELTA,
	CSI_NODE_STAGE_VOLUME,
	CSI_NODE_UNSTAGE_VOLUME,
	CSI_NODE_PUBLISH_VOLUME,
	CSI_NODE_UNPUBLISH_VOLUME,
	CSI_NODE_GET_VOLUME_STATS,
	CSI_NODE_GET_VOLUME_HEALTH,
	CSI_NODE_GET_STORAGE_HEALTH,
	CSI_NODE_EXPAND_VOLUME,
	CSI_NODE_GET_CAPABILITIES,
	CSI_NODE_GET_INFO,
	CSI_ADMIN_AUDIT,
	CSI_ADMIN_LIST_OPERATIONS,
	CSI_ADMIN_ABORT,
	CSI_ADMIN_LIST_SESSIONS,
	CSI_ADMIN_TRACE,
	CSI_ADMIN_METRICS,
	CSI_ADMIN_SET_LOG_LEVEL,
	CSI_ADMIN_LIST_NODE_VOLUMES,

	CSI_CLIENT_COUNT, /* what follows is no client's */
	CSI_FORMAT = CSI_CLIENT_COUNT,
	CSI_COUNT,
};

enum csi_place {
	CSI_UNSERVED = 0, /* UNIMPLEMENTED: only the names count */
	CSI_INSTANT,      /* the daemon answers from what it knows */
	CSI_STREAM,       /* the same, with as many messages as it likes */
	CSI_DAEMON,       /* an operation in the daemon */
	CSI_WORKER,       /* an operation in the session's ceph-worker */
};

/* Which of its services a daemon must serve to serve the RPC. */
enum csi_with {
	CSI_WITH_ANY = 0,
	CSI_WITH_CONTROLLER,
	CSI_WITH_NODE,
};

/*
 * What an RPC excludes while it runs: a set, and a key in it. Whoever takes
 * two takes them in this order.
 */
enum csi_lock_set {
	CSI_LOCK_NONE = 0,
	CSI_LOCK_NAME,          /* names of volumes that are created */
	CSI_LOCK_SNAPSHOT_NAME, /* names of snapshots that are created */
	CSI_LOCK_VOLUME,        /* volumes in the cluster, by ID */
	CSI_LOCK_SOURCE,        /* volumes and snapshots as sources, by ID */
	CSI_LOCK_PATH,          /* target paths */
	CSI_LOCK_STAGE,         /* volumes on this node, by ID */
	CSI_LOCK_STATS,         /* paths whose file system is looked at */
	CSI_LOCK_ABORT,         /* volumes whose I/O is being ended */
	CSI_LOCK_LIST,          /* pages of lists, by token */
	CSI_LOCK_COUNT,
};

struct csi_lock {
	enum csi_lock_set set;
	/* Lives as long as the request; NULL: this one takes no such lock. */
	const char *(*key)(const void *request);
	bool shared; /* beside others that have it shared */
};

#define CSI_LOCKS_MAX 2

/* Which Ceph session a request goes to: what tells its clusterID. */
enum csi_session_by {
	CSI_SESSION_NONE = 0,
	CSI_SESSION_OF_ID,         /* the identifier in the named field */
	CSI_SESSION_OF_FIELD,      /* the named field itself */
	CSI_SESSION_OF_PARAMETERS, /* of the StorageClass */
	/*
	 * One after the other those of all clusters of config.json, if the
	 * check has not found which one it is about (csi/pages.h).
	 */
	CSI_SESSION_OF_ALL,
};

/*
 * Whose credentials a session gets: the request's, and if it has none the
 * cluster's own of --credentials-dir. What becomes of a request for which
 * there are neither:
 */
enum csi_credentials_of {
	CSI_CREDENTIALS_UNUSED = 0,
	CSI_CREDENTIALS_REQUEST, /* its check refuses a request without */
	/*
	 * It is answered by the daemon, by `unasked`, and nothing is done, as
	 * ceph-csi does when no controllerPublishSecretRef is configured.
	 */
	CSI_CREDENTIALS_OPTIONAL,
	/* A session that works now does it, or nobody. */
	CSI_CREDENTIALS_BORROWED,
	/*
	 * It fails. CSI has no secrets for such RPCs, or none for all clusters:
	 * without --credentials-dir they are not served.
	 */
	CSI_CREDENTIALS_OF_CLUSTER,
};

/* Whose the identifier of a request is. */
enum csi_id_kind {
	CSI_ID_NONE = 0, /* the request has none, or nobody needs to know */
	CSI_ID_OURS,
	CSI_ID_STATIC,   /* an image's name; the volume_context says so */
	CSI_ID_MIGRATED, /* of an in-tree volume */
	CSI_ID_UNKNOWN,  /* nobody's */
};

/*
 * A request as this process has it: unpacked, checked and read, once
 * (csi_request_read() of csi/rpc.h). All of it lives in the arena.
 */
struct csi_request {
	const struct csi_definition *def;
	struct arena *arena; /* the reply's, too */
	const void *message; /* const Csi__V1__...Request * */

	/*
	 * What was read in it, as far as its definition asks for it. The
	 * identifier of CreateVolume is that of its volume_content_source.
	 */
	struct csi_credentials credentials; /* .user NULL: it has none */
	const char *cluster_id;             /* NULL or "": it tells none */
	enum csi_id_kind id_kind;
	const char *id_text;     /* as the request has it; CSI_ID_NONE: NULL */
	struct csi_volume_id id; /* CSI_ID_OURS */
	struct csi_migrated_id migrated; /* CSI_ID_MIGRATED */
	struct csi_access access;        /* of volume_capability */
	struct csi_class_params class;   /* of CreateVolume */
	const char *snapshot_prefix;     /* of CreateSnapshot */
	struct csi_topology topology;    /* of CreateVolume, GetCapacity */
	struct csi_qos qos;              /* of mutable_parameters */
	uint64_t size_bytes;             /* to create, or to expand to */
	struct csi_page page;            /* of lists */
	bool everywhere;                 /* it goes to all clusters */
};

struct csi_definition {
	const char *path;    /* "/csi.v1.Node/NodeStageVolume" */
	const char *service; /* "Node" */
	const char *name;    /* "NodeStageVolume": unique in all services */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	bool stream; /* the reply is a stream of messages */

	enum csi_place place;
	enum csi_with with;
	int64_t timeout_ms; /* for callers that set no deadline */
	/*
	 * What its service's GetCapabilities tells when all RPCs that have it
	 * here are served: CSI's numbers, 0 is none.
	 */
	int capability[2];

	/*
	 * Checks an unpacked request, without looking at anything but the
	 * request, and keeps what it has read. 0, or a negative errno with the
	 * field's name in `err`. NULL: any such message is right.
	 */
	int (*check)(struct csi_request *in, struct err *err);

	/*
	 * In the order of the sets. The first key is there in every request
	 * and is what people are told that it is about, so it may stand there
	 * without a set.
	 */
	struct csi_lock lock[CSI_LOCKS_MAX];
	const char *noun; /* what the first key names */

	struct {
		enum csi_session_by by;
		const char *field;
	} session;
	bool migrated; /* takes identifiers of in-tree volumes, too */
	/* It takes something away: an unknown identifier is success. */
	bool removes;
	enum csi_credentials_of credentials;
	/* NULL, or the answer in the arena; without it, an empty one. */
	const void *(*unasked)(const void *request, struct arena *arena);
};

extern const struct csi_definition csi_definitions[CSI_COUNT];

/* By full path as gRPC has it; NULL: no client can call such. */
const struct csi_definition *csi_definition_find(const char *path);

static inline enum csi_id
csi_definition_id(const struct csi_definition *def)
{
	return (enum csi_id)(def - csi_definitions);
}

/* The first key of a request, "" if it has none. */
const char *csi_definition_key(
    const struct csi_definition *def, const void *request);

/* What a daemon has: services, and credentials of its own. */
struct csi_serving {
	bool controller, node, credentials;
};

/* Does such a daemon serve it? */
static inline bool
csi_is_served_with(
    const struct csi_definition *def, const struct csi_serving *with)
{
	return def->place != CSI_UNSERVED &&
	    (def->with != CSI_WITH_CONTROLLER || with->controller) &&
	    (def->with != CSI_WITH_NODE || with->node) &&
	    (def->credentials != CSI_CREDENTIALS_OF_CLUSTER ||
		with->credentials);
}

/*
 * Does such a daemon serve every RPC of the service that makes this
 * capability? It tells of itself only what it serves, so that services do not
 * matter here.
 */
bool csi_capability_is_served(
    const char *service, int capability, bool credentials);

#endif
