/*
 * methods.h - the table of every RPC that CSI 1.13 knows, and of our own
 * service, Admin: what it takes, how it is checked, what it locks and where it
 * runs. Nothing else in the project lists RPCs.
 */
#ifndef CSI_METHODS_H
#define CSI_METHODS_H

#include "base/err.h"
#include "base/str.h"

#include <protobuf-c/protobuf-c.h>

enum csi_run {
	CSI_RUN_INSTANT = 0, /* the daemon answers from what it knows */
	CSI_RUN_NODE,        /* an operation in the daemon, on this node */
	CSI_RUN_CONTROLLER,  /* an operation in the session's ceph-worker */
};

enum csi_secrets {
	CSI_SECRETS_UNUSED =
	    0,                /* the request has none, or they do not matter */
	CSI_SECRETS_REQUIRED, /* validate refuses a request without */
	/*
	 * Without credentials the daemon answers by itself and does nothing,
	 * as ceph-csi does when no controllerPublishSecretRef is configured.
	 */
	CSI_SECRETS_OPTIONAL,
};

struct csi_method {
	const char *path; /* "/csi.v1.Node/NodeStageVolume" */
	size_t path_len;
	const char *service; /* "Node" */
	const char *name;    /* "NodeStageVolume": unique in all services */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	bool stream; /* the reply is a stream of messages */

	/* False: UNIMPLEMENTED, and nothing below is set. */
	bool served;
	enum csi_run run;
	enum csi_secrets secrets;
	int64_t timeout_ms; /* for callers that set no deadline */

	/*
	 * Checks an unpacked request, without looking at anything but the
	 * request. Returns 0, or a negative errno with the field's name in
	 * `err`.
	 */
	int (*validate)(const void *request, struct err *err);

	/*
	 * What the call locks: `lock` names the set ("name", "volume",
	 * "stage", "path", "stats"), key() the member. Both NULL: no lock.
	 * The key lives as long as the request.
	 */
	const char *lock;
	const char *(*key)(const void *request);
	/*
	 * One more, taken after the first. Calls are joined by the first one
	 * only; nothing takes these two sets in the other order.
	 */
	const char *then_lock;
	const char *(*then_key)(const void *request);
};

/* By full path as gRPC has it, or by plain name; NULL: there is none such. */
const struct csi_method *csi_method_find(const char *path);
const struct csi_method *csi_method_by_name(const char *name);

/*
 * What a Node RPC asks the ceph-worker of its cluster about a file system
 * (FormatRequest of proto/worker.proto): not CSI's, so that the functions
 * above do not find it and no client can call it.
 */
extern const struct csi_method csi_method_format;

/* All methods, service by service: *count entries. */
const struct csi_method *csi_methods(size_t *count);

#endif
