/*
 * worker_support.h - a ceph-worker and the parent that it believes in: what
 * the tests of ceph-worker on a real cluster share.
 */
#ifndef TESTS_WORKER_SUPPORT_H
#define TESTS_WORKER_SUPPORT_H

#include "base/str.h"
#include "core/peer.h"
#include "csi.pb-c.h"
#include "worker.pb-c.h"

#define TALK_REPLIES 64

struct talk_reply {
	uint64_t id;
	uint32_t code;
	char text[512];
	unsigned char *body;
	size_t len;
	size_t nstates;
	char last_state[64];
};

/* One worker process. */
struct talk {
	struct peer peer;
	bool ready, failed, gone, exited;
	int status; /* wait status, if exited */
	char fsid[64], address[128];
	uint32_t code;            /* of Failed */
	char step[64], text[512]; /* of Failed */
	unsigned purges;          /* of the last Progress */
	bool told;                /* there was one */
	struct talk_reply reply[TALK_REPLIES];
	unsigned nreplies;
};

struct talk_hello {
	const char *monitors, *user, *key; /* NULL: the cluster's */
	uint32_t connect_timeout_ms;
	uint32_t lane_idle_ms;
	uint32_t depth_soft;         /* of clones; 0: 4 */
	const char *node_id;         /* NULL: "" */
	const char *const *settings; /* name, value, ... NULL */
};

/* The programs' directory is that of this test's, two up. */
const char *talk_program(const char *name);

/*
 * Starts the program and says Hello; returns when it is ready, has failed or
 * is gone.
 */
void talk_start(
    struct talk *talk, const char *program, const struct talk_hello *hello);

/* Closes the channel and waits for the process' end; false: had to kill. */
bool talk_end(struct talk *talk);

/*
 * Sends a request in namespace `ns` ("" : default); its id. The method is one
 * of Controller, or a whole path.
 */
uint64_t talk_send(
    struct talk *talk, const char *method, const void *request, const char *ns);
void talk_cancel(struct talk *talk, uint64_t id);

/* The reply if it has come, or NULL. */
const struct talk_reply *talk_answered(const struct talk *talk, uint64_t id);
/* Waits for the reply; NULL: none in 60 s, or the worker is gone. */
const struct talk_reply *talk_wait(struct talk *talk, uint64_t id);

/* Both. */
const struct talk_reply *talk_call(
    struct talk *talk, const char *method, const void *request, const char *ns);

/* Turns the loop until *flag, or up to `ms`. */
bool talk_until(const bool *flag, int ms);
void talk_turn(int ms);

/* Waits until the worker has no purges under way. */
bool talk_purged(struct talk *talk);

/* Operations of clients that all OSDs have done; a volume's objects spread. */
uint64_t osd_ops(void);

/* ---- requests; freed with req_free() ---- */

/* `params` is key, value, ... NULL, in addition to clusterID and pool. */
Csi__V1__CreateVolumeRequest *req_create(const char *name, const char *cluster,
    const char *pool, int64_t bytes, const char *const *params);
/* Of a snapshot, else of a volume. */
Csi__V1__VolumeContentSource *req_source(bool snapshot, const char *id);
Csi__V1__DeleteVolumeRequest *req_delete(const char *volume_id);
Csi__V1__ControllerExpandVolumeRequest *req_expand(
    const char *volume_id, int64_t bytes);
Csi__V1__CreateSnapshotRequest *req_snapshot(
    const char *name, const char *volume_id);
Csi__V1__DeleteSnapshotRequest *req_unsnapshot(const char *snapshot_id);
Csi__V1__ControllerPublishVolumeRequest *req_publish(
    const char *volume_id, const char *node, bool read_only, int mode);
Csi__V1__ControllerUnpublishVolumeRequest *req_unpublish(
    const char *volume_id, const char *node);
Csi__V1__ValidateVolumeCapabilitiesRequest *req_validate(
    const char *volume_id, int mode, bool block);
void req_free(void *request);

/*
 * CreateVolume; the answer (free it by req_free()) or NULL with *reply set to
 * the failure.
 */
Csi__V1__CreateVolumeResponse *talk_create(struct talk *talk,
    Csi__V1__CreateVolumeRequest *request, const char *ns,
    const struct talk_reply **reply);

#endif
