/*
 * rpc.h - one execution of one CSI RPC, as an operation. The same file serves
 * Node RPCs in rbd-csid and Controller RPCs in ceph-worker.
 *
 * The rule that holds it together: request and reply live in the request's
 * arena, which its owner frees after the operation's done().
 */
#ifndef CSI_RPC_H
#define CSI_RPC_H

#include "base/arena.h"
#include "base/err.h"
#include "core/op.h"
#include "csi/definitions.h"

/* What a Controller RPC knows about its cluster and its driver. */
struct csi_env {
	const char *cluster_id;
	const char *rados_namespace; /* "" : the default namespace */
	const char *monitors;        /* comma separated */
	const char *driver_name;
	const char *instance_id;
	const char *cluster_name; /* "" : not given */
	const char *node_id;      /* "" : this process serves no node */
	int64_t purge_delay_s;    /* the trash keeps deleted images so long */
	/* When to flatten: controller/depth.h. */
	unsigned depth_hard, depth_soft, snapshots_max, snapshots_min;
	bool out_of_service; /* the node that the request is about */
	bool is_mapped;      /* the handle names another cluster */
	bool elsewhere;      /* what is not here may be in another cluster */
};

struct csi_rpc {
	struct op op; /* first member */
	struct op_trail trail;
	const struct csi_impl *impl;
	const struct csi_request *in;
	const void *request;       /* in->message */
	struct arena *arena;       /* in->arena */
	const struct csi_env *env; /* in the arena; NULL for Node RPCs */
	void *reply; /* set before OP_DONE, unless failed; all in the arena */
};

/*
 * What implements an RPC in this process. `size` is that of the concrete
 * struct, whose first member is a struct csi_rpc; cls->end gives back what
 * that struct holds beside the arena.
 */
struct csi_impl {
	const struct op_class *cls;
	size_t size;
};

/*
 * A program's table of them, by csi_id. Ends the program when one that is to
 * run at `place` in a daemon that serves these is missing.
 */
void csi_impls_check(const struct csi_impl *const impls[CSI_COUNT],
    enum csi_place place, const struct csi_serving *with);

/* The most bytes that a packed request or reply may have. */
#define CSI_MESSAGE_MAX ((size_t)4 << 20)

/*
 * Unpacks, checks and reads `body`, which is not needed afterwards; the caller
 * ends it with csi_request_fini(). 0, or `in` is empty and `err` set:
 * INVALID_ARGUMENT (not such a message, text that csi_unpack refuses, or what
 * the definition's check says), OUT_OF_RANGE (sizes) or RESOURCE_EXHAUSTED
 * (unpacks to too much).
 */
int csi_request_read(struct csi_request *in, const struct csi_definition *def,
    const void *body, size_t len, struct err *err) must_check;

/*
 * What makes two requests the same, in the arena: the path and all fields but
 * the secrets, maps in the order of their keys, where of equal ones the last
 * one counts. Retries join a running operation by these *len bytes.
 */
const void *csi_request_print(const struct csi_request *in, size_t *len);

/*
 * The request as one cluster of many is asked, packed in the arena: without
 * secrets, which are not meant for all of them, and if it is for a list with
 * this token and number of entries. NULL with `err` as csi_pack().
 */
const void *csi_request_for(const struct csi_request *in, const char *token,
    unsigned max, size_t *len, struct err *err);

/* Overwrites the secrets and frees the arena. */
void csi_request_fini(struct csi_request *in);

/*
 * A new, zeroed concrete struct for a request, in its arena. `env` is NULL for
 * Node RPCs.
 */
struct csi_rpc *csi_rpc_new(const struct csi_impl *impl,
    const struct csi_request *in, const struct csi_env *env);

/* Starts the operation and wakes `waiter` when it has finished. */
void csi_rpc_start(struct csi_rpc *rpc, struct wake *waiter);

/* A new, empty reply: rpc->reply. */
void *csi_rpc_reply(struct csi_rpc *rpc);

/*
 * Unpacks one message into an arena. Its strings are UTF-8 and have none of
 * the characters that CSI bans: U+0000 to U+001F but tab, newline and return,
 * U+007F to U+009F; secrets may have them, apart from NUL. NULL with `err` set
 * as above, naming the field.
 */
const void *csi_unpack(const ProtobufCMessageDescriptor *type,
    struct arena *arena, const void *body, size_t len, struct err *err);

/* A new message of this type with its defaults, in the arena. */
void *csi_new(const ProtobufCMessageDescriptor *type, struct arena *arena);

/*
 * Packs into the arena; *len is the size. NULL with RESOURCE_EXHAUSTED for
 * more than CSI_MESSAGE_MAX bytes.
 */
const void *csi_pack(
    const void *message, struct arena *arena, size_t *len, struct err *err);

/* An arena of the size that one request and its reply may take. */
struct arena *csi_arena_new(void);

#endif
