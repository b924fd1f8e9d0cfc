/*
 * lane.h - a lane: runs one job of librbd at a time, blocking.
 */
#ifndef WORKER_LANE_H
#define WORKER_LANE_H

#include "ceph/connection.h"
#include "core/channel.h"
#include "worker.pb-c.h"

/* Does the job and answers on the channel. */
void lane_run(struct channel *channel, struct ceph_connection *conn,
    const Worker__Job *job);

#endif
