/*
 * requests.h - requests of the daemon, from frame to operation to reply.
 */
#ifndef WORKER_REQUESTS_H
#define WORKER_REQUESTS_H

#include "core/channel.h"
#include "worker/session.h"

/* Frames to and from the daemon; a lane's are far smaller. */
#define WORKER_FRAME_MAX (4 * 1024 * 1024 + 65536)
#define WORKER_QUEUED_MAX ((size_t)64 << 20)

/* Packs and sends a frame; the channel tells when that does not work. */
void worker_send(struct channel *channel, const Worker__Frame *frame);

void worker_requests_init(
    struct channel *channel, const struct session *session);
void worker_requests_take(const Worker__Request *request);
void worker_requests_cancel(uint64_t id);

/* The daemon is gone: nobody is answered any more. */
void worker_requests_orphan(void);

size_t worker_requests_running(void);
void worker_requests_fini(void);

#endif
