/*
 * worker.h - what the files of ceph-worker share. What Hello has said is kept
 * as it came for the life of the process.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "ceph/connection.h"
#include "core/peer.h"
#include "worker.pb-c.h"

/* Frames to and from the daemon; a lane's are far smaller. */
#define WORKER_FRAME_MAX (4 * 1024 * 1024 + 65536)
#define WORKER_QUEUED_MAX ((size_t)64 << 20)

/* ---- requests.c: requests of the daemon, from frame to operation to reply --- */

void worker_requests_init(const Worker__Hello *hello);
void worker_requests_take(
    const struct peer_from *from, const Worker__Request *request);
void worker_requests_cancel(const struct peer_from *from);

/* The daemon is gone: nobody is answered any more. */
void worker_requests_orphan(void);
size_t worker_requests_running(void);

/* ---- lanes.c: the worker's side of its lanes ------------------------------- */

/*
 * Processes of the same program, started when a job waits, ended when idle,
 * each with one job at a time.
 */
void lanes_init(const Worker__Hello *hello);
void lanes_fini(void); /* lets go of all; no job may wait */
unsigned lanes_count(void);
uint64_t lanes_starts(void); /* processes, since the worker has started */

/* ---- lane.c: a lane's own side --------------------------------------------- */

struct lane_work;

/* What a lane can do, by enum lane_kind; the one table of it. */
extern const struct lane_job_kind {
	int (*run)(struct lane_work *work); /* in the lane; may block */
	int64_t bound_ms; /* 0: none, it works in the background */
	bool needs_name, needs_id, needs_snapshot, needs_spec, needs_list,
	    needs_command, needs_key;
} lane_job_kinds[];
extern const size_t lane_job_kinds_count;

/* Does the job, blocking, and answers. */
void lane_run(const struct peer_from *from, struct ceph_connection *conn,
    unsigned kind, const Worker__Job *job);

#endif
