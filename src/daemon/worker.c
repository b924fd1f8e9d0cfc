/*
 * worker.c - see worker.h.
 */
#include "daemon/worker.h"

#include "base/clock.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int
worker_spawn(struct peer *peer, const struct sessions_setup *setup,
    const struct session_key *key, struct err *err)
{
	const char *const argv[] = { setup->worker_path, NULL };
	Worker__Hello hello = WORKER__HELLO__INIT;

	hello.role = WORKER__HELLO__ROLE__WORKER;
	hello.cluster_id = peer_text(key->cluster_id);
	hello.monitors = peer_text(key->monitors);
	hello.user = peer_text(key->user);
	hello.key.data = (uint8_t *)key->key->text;
	hello.key.len = key->key->len;
	hello.instance_id = peer_text(setup->instance_id);
	hello.cluster_name = peer_text(setup->cluster_name);
	hello.driver_name = peer_text(setup->driver_name);
	hello.node_id = peer_text(setup->node_id);
	hello.clone_depth_hard = setup->clone_depth_hard;
	hello.clone_depth_soft = setup->clone_depth_soft;
	hello.snapshots_max = setup->snapshots_max;
	hello.snapshots_min = setup->snapshots_min;
	hello.conf_file = peer_text(
	    access(setup->ceph_conf, R_OK) == 0 ? setup->ceph_conf : "");
	hello.kms_config = peer_text(setup->kms_config);
	hello.max_lanes = setup->max_lanes;
	hello.purge_delay_s = (uint64_t)(setup->purge_delay_ms + 999) / 1000;
	hello.lane_idle_ms = (uint32_t)setup->idle_ms;
	hello.net_namespace = peer_text(key->netns);
	hello.log_level = log_level();
	hello.log_json = setup->log_json;
	return peer_spawn(peer, argv, NULL, 0, &hello.base, err);
}

int
worker_send_request(
    struct peer *peer, struct session_call *call, struct err *err)
{
	Worker__Request request = WORKER__REQUEST__INIT;
	Worker__Cluster cluster = WORKER__CLUSTER__INIT;
	int rc;

	cluster.cluster_id = peer_text(call->cluster_id);
	cluster.rados_namespace = peer_text(call->rados_namespace);
	cluster.monitors = peer_text(call->monitors);
	cluster.pool_id = call->pool_id;
	cluster.elsewhere = call->elsewhere;
	request.method = peer_text(call->method);
	if (call->deadline_ms != 0) {
		int64_t left_ms = call->deadline_ms - clock_now_ms();

		request.timeout_ms = left_ms > 1 ? (uint32_t)left_ms : 1;
	}
	request.cluster = &cluster;
	request.out_of_service = call->out_of_service;
	request.body.data = (uint8_t *)(uintptr_t)call->body;
	request.body.len = call->len;
	rc = peer_call_send(peer, &call->peer_call, 0, &request.base);
	return rc < 0 ? err_set(err, ERR_UNAVAILABLE,
			    "send to the ceph-worker of cluster \"%s\": %s",
			    call->cluster_id, strerror(-rc))
		      : 0;
}

void
worker_take_reply(struct session_call *call, const struct peer_frame *frame)
{
	Worker__Reply *reply = peer_unpack(frame, &worker__reply__descriptor);
	size_t at = 0;

	call->err = frame->err;
	if (reply == NULL) {
		(void)err_set(&call->err, ERR_INTERNAL,
		    "ceph-worker: a reply that is none");
		return;
	}
	for (size_t i = 0; i < reply->n_states; i++) {
		const Worker__State *state = reply->states[i];

		at = op_trail_put(call->states, sizeof(call->states), at,
		    state->name, (int64_t)state->us);
	}
	if (!err_is_set(&call->err)) {
		call->reply_len = reply->body.len;
		call->reply = take_ptr(&reply->body.data);
		if (call->reply == NULL)
			call->reply = mem_new(1);
	}
	worker__reply__free_unpacked(reply, NULL);
}

int
worker_take_progress(struct peer *peer, const struct peer_frame *frame,
    struct session_progress *told)
{
	Worker__Progress *progress = peer_unpack(
	    frame, &worker__progress__descriptor);
	struct peer_call *of;

	if (progress == NULL)
		return -EPROTO;
	told->purges.running = progress->purges;
	told->purges.waiting = progress->purges_waiting;
	told->purges.blocked = progress->purges_blocked;
	told->purges.done += progress->purges_done;
	told->purges.failed += progress->purges_failed;
	told->lane_starts += progress->lanes_started;
	told->lanes = progress->lanes;
	told->flattens.running = progress->flattens;
	told->flattens.waiting = progress->flattens_waiting;
	told->flattens.done += progress->flattens_done;
	told->flattens.failed += progress->flattens_failed;
	told->nbackground = 0;
	for (size_t i = 0; i < progress->n_background &&
	     told->nbackground < SESSION_BACKGROUND_MAX;
	     i++) {
		const Worker__Background *from = progress->background[i];
		struct session_background *to =
		    &told->background[told->nbackground++];

		*to = (struct session_background){ .id = from->id,
			.state_ms = from->state_ms,
			.age_ms = from->age_ms,
			.told_ms = clock_now_ms() };
		(void)snprintf(to->name, sizeof(to->name), "%s", from->name);
		(void)snprintf(
		    to->subject, sizeof(to->subject), "%s", from->subject);
		(void)snprintf(to->state, sizeof(to->state), "%s", from->state);
	}
	for (size_t i = 0; i < progress->n_running; i++) {
		const Worker__Running *running = progress->running[i];
		struct session_call *call;

		if ((of = peer_call_find(peer, running->id)) == NULL)
			continue;
		call = container_of(of, struct session_call, peer_call);
		(void)snprintf(
		    call->state, sizeof(call->state), "%s", running->state);
		call->state_ms = (int64_t)running->state_ms;
	}
	worker__progress__free_unpacked(progress, NULL);
	return 0;
}
