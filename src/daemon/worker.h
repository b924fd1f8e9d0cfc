/*
 * worker.h - the messages of worker.proto, as the session of a ceph-worker
 * needs them.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "daemon/sessions.h"

/* Starts the program and says Hello. 0 or ERR_UNAVAILABLE. */
int worker_spawn(struct peer *peer, const struct sessions_setup *setup,
    const struct session_key *key, struct err *err) must_check;

/* Sends the call as it was received. */
int worker_send_request(
    struct peer *peer, struct session_call *call, struct err *err) must_check;

/* Sets call->err, reply and states. */
void worker_take_reply(
    struct session_call *call, const struct peer_frame *frame);

/* Where calls are, the purges, and how many lanes; -EPROTO: it is nonsense. */
int worker_take_progress(struct peer *peer, const struct peer_frame *frame,
    struct session_progress *told) must_check;

#endif
