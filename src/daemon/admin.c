/*
 * admin.c - what people ask the daemon about itself: the sessions, the requests
 * that have ended, the metrics, and how much is logged. Each runs to its end at once.
 */
#include "daemon/admin.h"

#include "admin.pb-c.h"
#include "core/peer.h"
#include "daemon/sessions.h"
#include "daemon/trace.h"
#include "obs/http.h"
#include "obs/metrics.h"

#include <string.h>

static enum op_verdict
list_sessions_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	Rbdcsi__Admin__V1__ListSessionsResponse *reply = csi_rpc_reply(rpc);
	struct session_info s;
	size_t n = 0;

	while (sessions_at(n, &s))
		n++;
	reply->sessions = arena_new_bytes(
	    rpc->arena, (n + 1) * sizeof(*reply->sessions));
	for (size_t i = 0; sessions_at(i, &s); i++) {
		Rbdcsi__Admin__V1__Session *out = csi_new(
		    &rbdcsi__admin__v1__session__descriptor, rpc->arena);

		out->cluster_id = arena_strdup(rpc->arena, s.cluster_id);
		out->monitors = arena_strdup(rpc->arena, s.monitors);
		out->user = arena_strdup(rpc->arena, s.user);
		out->state = arena_strdup(rpc->arena, s.state);
		out->state_ms = (uint64_t)s.state_ms;
		out->worker_pid = s.worker;
		out->worker_age_ms = (uint64_t)s.worker_ms;
		out->lanes = s.lanes;
		out->running = (uint32_t)s.running;
		out->waiting = (uint32_t)s.waiting;
		out->failures = s.failures;
		reply->sessions[reply->n_sessions++] = out;
	}
	return OP_DONE;
}

/* ---- requests that have ended ---------------------------------------------- */

/* "STATE:ms,STATE:ms" */
static void
put_states(Rbdcsi__Admin__V1__EndedRequest *out, const char *states,
    struct arena *arena)
{
	char *text = arena_strdup(arena, states), *rest = text, *ms;
	size_t n = 1;

	for (const char *p = states; *p != '\0'; p++)
		n += *p == ',';
	out->states = arena_new_bytes(arena, n * sizeof(*out->states));
	while ((text = strsep(&rest, ",")) != NULL &&
	    (ms = strchr(text, ':')) != NULL) {
		Rbdcsi__Admin__V1__TracedState *state = csi_new(
		    &rbdcsi__admin__v1__traced_state__descriptor, arena);

		*ms++ = '\0';
		state->name = text;
		state->us = (uint64_t)(strtod(ms, NULL) * 1000);
		out->states[out->n_states++] = state;
	}
}

static Rbdcsi__Admin__V1__EndedRequest *
ended_request(const struct trace_entry *entry, struct arena *arena)
{
	Rbdcsi__Admin__V1__EndedRequest *out = csi_new(
	    &rbdcsi__admin__v1__ended_request__descriptor, arena);

	out->id = entry->id;
	out->method = arena_strdup(arena, entry->method);
	out->subject = arena_strdup(arena, entry->key);
	out->ended_ms = (uint64_t)entry->ended_ms;
	out->duration_ms = (uint64_t)entry->ms;
	out->code = arena_strdup(arena, err_code_name(entry->code));
	out->text = arena_strdup(arena, entry->text);
	put_states(out, entry->states, arena);
	return out;
}

static enum op_verdict
trace_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	const Rbdcsi__Admin__V1__TraceRequest *req = rpc->request;
	Rbdcsi__Admin__V1__TraceResponse *reply = csi_rpc_reply(rpc);
	const struct trace_entry *entry;

	reply->requests = arena_new_bytes(
	    rpc->arena, TRACE_MAX * sizeof(*reply->requests));
	for (size_t i = 0; (entry = trace_at(i)) != NULL; i++) {
		if (req->limit > 0 && reply->n_requests == req->limit)
			break;
		if (str_is_empty(req->subject) ||
		    str_eq(entry->key, req->subject))
			reply->requests[reply->n_requests++] = ended_request(
			    entry, rpc->arena);
	}
	return OP_DONE;
}

static enum op_verdict
metrics_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	Rbdcsi__Admin__V1__MetricsResponse *reply = csi_rpc_reply(rpc);
	struct buf text;

	buf_init(&text, HTTP_BODY_MAX);
	if (metrics_text(&text) < 0)
		(void)err_set(&op->err, ERR_INTERNAL, "the metrics do not fit");
	else if (text.len == 0)
		(void)err_set(&op->err, ERR_FAILED_PRECONDITION,
		    "there is no --metrics-address, so nothing is counted");
	else
		reply->text = arena_fmt(
		    rpc->arena, "%.*s", (int)text.len, (const char *)text.data);
	buf_fini(&text);
	return OP_DONE;
}

static enum op_verdict
set_log_level_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	const Rbdcsi__Admin__V1__SetLogLevelRequest *req = rpc->request;
	Rbdcsi__Admin__V1__SetLogLevelResponse *reply = csi_rpc_reply(rpc);
	enum log_level level = log_level();

	reply->previous = arena_strdup(rpc->arena, log_level_name(level));
	(void)log_level_parse(req->level, &level); /* it was checked */
	log_info("log.level", "now=%s", log_level_name(level));
	peer_log_level(level);
	return OP_DONE;
}

#define AT_ONCE(rpc_name, prefix)                                              \
	static const struct op_class prefix##_class = {                        \
		.name = rpc_name,                                              \
		.step = prefix##_step,                                         \
	};                                                                     \
	const struct csi_impl prefix##_impl = {                                \
		.cls = &prefix##_class,                                        \
		.size = sizeof(struct csi_rpc),                                \
	}

AT_ONCE("ListSessions", list_sessions);
AT_ONCE("Trace", trace);
AT_ONCE("Metrics", metrics);
AT_ONCE("SetLogLevel", set_log_level);
