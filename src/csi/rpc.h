/*
 * rpc.h - one execution of one CSI RPC, as an operation. The same file serves
 * Node RPCs in rbd-csid and Controller RPCs in ceph-worker.
 *
 * The rule that holds it together: request and reply live in the operation's
 * arena, and the arena dies with the operation, after done().
 */
#ifndef CSI_RPC_H
#define CSI_RPC_H

#include "base/arena.h"
#include "base/err.h"
#include "core/op.h"
#include "csi/methods.h"

/* What a Controller RPC knows about its cluster and its driver. */
struct csi_env {
	const char *cluster_id;
	const char *rados_namespace; /* "" : the default namespace */
	const char *monitors;        /* comma separated */
	const char *driver_name;
	const char *instance_id;
	const char *cluster_name; /* "" : not given */
	const char *node_id;      /* "" : this process serves no node */
};

struct csi_impl;

struct csi_rpc {
	struct op op; /* first member */
	struct op_trail trail;
	const struct csi_impl *impl;
	const struct csi_method *method;
	struct arena *arena;       /* request, reply and what they need */
	const struct csi_env *env; /* in the arena; NULL for Node RPCs */
	const void *request;       /* const Csi__V1__...Request * */
	void *reply;               /* set before OP_DONE, unless failed */
};

/*
 * What implements a method in this process. `size` is that of the concrete
 * struct, whose first member is a struct csi_rpc; cls->end gives back what
 * that struct holds beside it.
 */
struct csi_impl {
	const char *method; /* plain name */
	const struct op_class *cls;
	size_t size;
};

/* The most bytes that a packed request or reply may have. */
#define CSI_MESSAGE_MAX ((size_t)4 << 20)

/*
 * Unpacks and validates `body` into a new, zeroed concrete struct that is not
 * started yet; the caller sets env, if any, and then either starts it or
 * frees it with csi_rpc_free(). The body is not needed afterwards.
 *
 * NULL with `err` set: INVALID_ARGUMENT (not such a message, text that csi_unpack
 * refuses, or what the method's validate says), OUT_OF_RANGE (sizes) or
 * RESOURCE_EXHAUSTED (unpacks to too much).
 */
struct csi_rpc *csi_rpc_new(const struct csi_impl *impl,
    const struct csi_method *method, const void *body, size_t len,
    struct err *err);

/*
 * Starts the operation and wakes `waiter` when it has finished, which then
 * frees it.
 */
void csi_rpc_start(struct csi_rpc *rpc, struct wake *waiter);

/* Wipes the secrets, frees the arena and the struct; NULL is fine. */
void csi_rpc_free(struct csi_rpc *rpc);

/*
 * Unpacks one message into an arena. Its strings are UTF-8 and have none of
 * the characters that CSI bans: U+0000 to U+001F but tab, newline and return,
 * U+007F to U+009F; secrets may have them, apart from NUL. NULL with `err` set
 * as above, naming the field. For the daemon, which looks at a request before it knows who will
 * work on it.
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

/* Overwrites the values of the `secrets` map of a request, if it has one. */
void csi_wipe_secrets(const void *request);

#endif
