/*
 * drain.c - two things have to end, in any order: the connections and the
 * executions, of which some may have no caller. As long as there is a
 * connection, a call may come on it and start an execution. Then the workers
 * end, with what they do in the background: in a container nothing outlives
 * rbd-csid, and the next one has no key to go on with until a call brings one.
 */
#include "daemon/drain.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "core/timer.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "obs/dump.h"

#define POLL_MS 50

static struct {
	bool started, connections_ended, sessions_ended, told;
	int64_t since_ms;
	struct timer timer, poll;
	struct wake connections;
} dr;

bool
drain_is_started(void)
{
	return dr.started;
}

bool
drain_is_complete(void)
{
	return dr.sessions_ended && sessions_ending() == 0;
}

static void
check(void)
{
	if (dr.told || !dr.connections_ended || requests_running() > 0)
		return;
	if (!dr.sessions_ended)
		sessions_end();
	dr.sessions_ended = true;
	if (sessions_ending() > 0) {
		timer_arm(&dr.poll, POLL_MS);
		return;
	}
	dr.told = true;
	log_info(
	    "drain.end", "ms=%lld", (long long)(clock_now_ms() - dr.since_ms));
	loop_stop();
}

static void
on_poll(struct timer *timer)
{
	(void)timer;
	check();
}

static void
on_connections_ended(struct wake *wake, int rc)
{
	(void)wake;
	(void)rc;
	dr.connections_ended = true;
	check();
}

static void
on_timeout(struct timer *timer)
{
	(void)timer;
	log_warn("drain.timeout", "running=%zu workers=%u ms=%lld",
	    requests_running(), dr.sessions_ended ? sessions_ending() : 0,
	    (long long)(clock_now_ms() - dr.since_ms));
	if (requests_running() > 0)
		dump_log(0);
	loop_stop();
}

void
drain_begin(struct server *server, int64_t timeout_ms)
{
	if (dr.started) {
		log_warn("drain.hurry", "running=%zu", requests_running());
		loop_stop();
		return;
	}
	dr.started = true;
	dr.since_ms = clock_now_ms();
	dr.timer.fire = on_timeout;
	dr.poll.fire = on_poll;
	log_info("drain.start", "running=%zu connections=%zu",
	    requests_running(), server_counters(server)->connections);
	timer_arm(&dr.timer, timeout_ms);
	dr.connections.fn = on_connections_ended;
	server_drain_start(server, &dr.connections);
	requests_when_idle(check);
}
