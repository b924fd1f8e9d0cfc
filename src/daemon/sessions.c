/*
 * sessions.c - finds or makes the session of a call, and drives its states:
 *
 *	IDLE --call--> CONNECTING --READY--> READY --unused--> gone
 *	  ^                | FAILED, death     | death, silence
 *	  +---- timer -- BACKOFF <-------------+
 *
 * What a worker process is and says is worker.c's.
 */
#include "daemon/sessions.h"

#include "base/clock.h"
#include "daemon/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SESSIONS_MAX 256
#define CONNECT_MS 45000 /* the worker gives up by itself before that */
#define SILENT_MS 90000  /* it reports every second while it works */
#define FORGET_MS 60000  /* failures of a session without calls */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 15000

static const char *const state_name[SESSION_STATE_COUNT] = { "idle",
	"connecting", "ready", "backoff" };

TAILQ_HEAD(call_list, session_call);

struct session {
	char *cluster_id, *monitors, *user, *netns;
	struct secret key;
	enum session_state state;
	struct worker *worker; /* CONNECTING and READY */
	struct call_list waiting, running;
	unsigned failures; /* in a row */
	struct err last;   /* the newest failure */
	int64_t since_ms;  /* in this state */
	int64_t heard_ms;  /* any frame of the worker */
	struct timer timer;
	LIST_ENTRY(session)
	link;
};

static struct {
	struct sessions_setup setup;
	LIST_HEAD(, session) all;
	size_t count;
	uint64_t last_id;
	uint64_t worker_starts, failures;
} ss;

static void session_connect(struct session *s);
static void on_timer(struct timer *timer);

void
sessions_init(const struct sessions_setup *setup)
{
	ss.setup = *setup;
	LIST_INIT(&ss.all);
}

/* ---- calls --------------------------------------------------------------- */

/* Takes the call out of its list and wakes who waits for it. */
static void
call_end(struct session_call *call)
{
	struct session *s = call->session;

	if (call->sent)
		TAILQ_REMOVE(&s->running, call, link);
	else
		TAILQ_REMOVE(&s->waiting, call, link);
	call->session = NULL;
	op_wake(call->waiter, call->err.rc);
}

static void
calls_fail(struct call_list *calls, const struct err *err)
{
	struct session_call *call;

	while ((call = TAILQ_FIRST(calls)) != NULL) {
		call->err = *err;
		call_end(call);
	}
}

static void
call_send(struct session *s, struct session_call *call)
{
	struct err err = ERR_INIT;

	if (worker_send_request(s->worker, call, &err) < 0) {
		call->err = err;
		call_end(call);
		return;
	}
	TAILQ_REMOVE(&s->waiting, call, link);
	TAILQ_INSERT_TAIL(&s->running, call, link);
	call->sent = true;
}

/* ---- states -------------------------------------------------------------- */

static void
session_enter(struct session *s, enum session_state state, int64_t timer_ms)
{
	s->state = state;
	s->since_ms = clock_now_ms();
	timer_start(&s->timer, timer_ms);
}

static void
session_free(struct session *s)
{
	timer_stop(&s->timer);
	if (s->worker != NULL)
		worker_let_go(s->worker);
	LIST_REMOVE(s, link);
	ss.count--;
	secret_fini(&s->key);
	free(s->cluster_id);
	free(s->monitors);
	free(s->user);
	free(s->netns);
	free(s);
}

static int64_t
backoff_ms(unsigned failures)
{
	int64_t ms = BACKOFF_FIRST_MS;

	if (failures <= 1)
		return 0;
	for (; failures > 2 && ms < BACKOFF_MAX_MS; failures--)
		ms *= 2;
	return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* The worker is of no use any more; all calls end with `err`. */
static void
session_down(struct session *s, const struct err *err)
{
	struct worker *worker = s->worker;
	char quoted[ERR_TEXT_MAX + 8];

	log_warn("session.down",
	    "cluster=%s user=%s was=%s ms=%lld failures=%u text=%s",
	    s->cluster_id, s->user, state_name[s->state],
	    (long long)(clock_now_ms() - s->since_ms), s->failures + 1,
	    log_quote(quoted, sizeof(quoted), err->text));
	s->worker = NULL;
	if (worker != NULL)
		worker_let_go(worker);
	s->last = *err;
	s->failures++;
	ss.failures++;
	session_enter(s, SESSION_BACKOFF, backoff_ms(s->failures));
	calls_fail(&s->running, err);
	calls_fail(&s->waiting, err);
}

/* In READY: what the timer is for depends on whether something runs. */
static void
session_watch(struct session *s)
{
	timer_start(
	    &s->timer, TAILQ_EMPTY(&s->running) ? ss.setup.idle_ms : SILENT_MS);
}

static void
session_send_waiting(struct session *s)
{
	struct session_call *call;

	while (s->state == SESSION_READY &&
	    (call = TAILQ_FIRST(&s->waiting)) != NULL)
		call_send(s, call);
	if (s->state == SESSION_READY)
		session_watch(s);
}

static void
on_ready_timer(struct session *s)
{
	int64_t silent_ms = clock_now_ms() - s->heard_ms;
	struct err err = ERR_INIT;

	if (TAILQ_EMPTY(&s->running)) {
		log_info("session.idle", "cluster=%s user=%s", s->cluster_id,
		    s->user);
		session_free(s);
		return;
	}
	if (silent_ms < SILENT_MS) {
		timer_start(&s->timer, SILENT_MS - silent_ms);
		return;
	}
	worker_kill(s->worker);
	(void)err_set(&err, ERR_UNAVAILABLE,
	    "ceph-worker of cluster \"%s\" was stuck for %lld s and was ended",
	    s->cluster_id, (long long)silent_ms / 1000);
	session_down(s, &err);
}

static void
on_timer(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, timer);
	struct err err = ERR_INIT;

	switch (s->state) {
	case SESSION_IDLE:
		session_free(s);
		return;
	case SESSION_CONNECTING:
		worker_kill(s->worker);
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "connect to cluster \"%s\" at %s as client.%s: no answer "
		    "from ceph-worker in %d s",
		    s->cluster_id, s->monitors, s->user, CONNECT_MS / 1000);
		session_down(s, &err);
		return;
	case SESSION_READY:
		on_ready_timer(s);
		return;
	case SESSION_BACKOFF:
		if (TAILQ_EMPTY(&s->waiting))
			session_enter(s, SESSION_IDLE, FORGET_MS);
		else
			session_connect(s);
		return;
	}
}

/* ---- what the worker says ------------------------------------------------ */

static void
on_ready(void *arg, const char *fsid, const char *address)
{
	struct session *s = arg;

	if (s->state != SESSION_CONNECTING)
		return;
	log_info("session.up",
	    "cluster=%s user=%s fsid=%s address=%s worker=%d ms=%lld",
	    s->cluster_id, s->user, fsid, address, (int)worker_pid(s->worker),
	    (long long)(clock_now_ms() - s->since_ms));
	s->heard_ms = clock_now_ms();
	session_enter(s, SESSION_READY, 0);
	session_send_waiting(s);
}

static void
on_failed(void *arg, enum err_code code, const char *step, const char *text)
{
	struct session *s = arg;
	struct err err = ERR_INIT;

	(void)err_set(&err, code, "connect to cluster \"%s\": %s: %s",
	    s->cluster_id, step, text);
	session_down(s, &err);
}

static void
on_gone(void *arg)
{
	struct session *s = arg;
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_UNAVAILABLE,
	    s->state == SESSION_READY
		? "ceph-worker of cluster \"%s\" died; try again"
		: "ceph-worker of cluster \"%s\" died while it connected",
	    s->cluster_id);
	session_down(s, &err);
}

static struct session_call *
call_find(struct session *s, uint64_t id)
{
	struct session_call *call;

	s->heard_ms = clock_now_ms();
	TAILQ_FOREACH (call, &s->running, link)
		if (call->id == id)
			return call;
	return NULL;
}

static struct session_call *
on_reply(void *arg, uint64_t id)
{
	return call_find(arg, id);
}

static void
on_replied(void *arg, struct session_call *call)
{
	struct session *s = arg;

	s->failures = 0;
	call_end(call);
	if (TAILQ_EMPTY(&s->running))
		session_watch(s);
}

static const struct worker_ops worker_ops = {
	.ready = on_ready,
	.failed = on_failed,
	.call_of = on_reply,
	.replied = on_replied,
	.gone = on_gone,
};

/* ---- from calls to sessions ---------------------------------------------- */

static void
session_connect(struct session *s)
{
	const struct worker_hello hello = {
		.setup = &ss.setup,
		.cluster_id = s->cluster_id,
		.monitors = s->monitors,
		.user = s->user,
		.netns = s->netns,
		.key = &s->key,
	};
	struct err err = ERR_INIT;

	session_enter(s, SESSION_CONNECTING, CONNECT_MS);
	ss.worker_starts++;
	s->worker = worker_new(&hello, &worker_ops, s, &err);
	if (s->worker == NULL)
		session_down(s, &err);
}

static struct session *
session_find(const struct session_key *key)
{
	struct session *s;

	LIST_FOREACH (s, &ss.all, link)
		if (str_eq(s->cluster_id, key->cluster_id) &&
		    str_eq(s->monitors, key->monitors) &&
		    str_eq(s->user, key->user) &&
		    str_eq(s->netns, key->netns) &&
		    secret_eq(&s->key, key->key))
			return s;
	return NULL;
}

static struct session *
session_new(const struct session_key *key)
{
	struct session *s = mem_new(sizeof(*s));

	s->cluster_id = str_dup(key->cluster_id);
	s->monitors = str_dup(key->monitors);
	s->user = str_dup(key->user);
	s->netns = str_dup(key->netns);
	secret_copy(&s->key, key->key);
	s->timer.fire = on_timer;
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->running);
	LIST_INSERT_HEAD(&ss.all, s, link);
	ss.count++;
	return s;
}

void
sessions_call_start(
    struct session_call *call, const struct session_key *key, struct op *waiter)
{
	struct session *s = session_find(key);

	call->id = ++ss.last_id;
	call->waiter = waiter;
	call->since_ms = clock_now_ms();
	if (s == NULL && ss.count >= SESSIONS_MAX) {
		op_wake(waiter,
		    err_set(&call->err, ERR_RESOURCE_EXHAUSTED,
			"%zu Ceph sessions are open, no room for client.%s at "
			"cluster \"%s\"",
			ss.count, key->user, key->cluster_id));
		return;
	}
	if (s == NULL)
		s = session_new(key);
	call->session = s;
	TAILQ_INSERT_TAIL(&s->waiting, call, link);
	if (s->state == SESSION_IDLE) {
		session_connect(s);
	} else if (s->state == SESSION_READY) {
		if (TAILQ_EMPTY(&s->running))
			s->heard_ms = clock_now_ms();
		session_send_waiting(s);
	}
}

void
sessions_call_cancel(struct session_call *call)
{
	struct session *s = call->session;

	if (s == NULL || call->cancelled)
		return;
	call->cancelled = true;
	if (call->sent) {
		worker_send_cancel(s->worker, call->id);
		return;
	}
	(void)err_set(&call->err, ERR_CANCELLED, "the caller went away");
	call_end(call);
}

const char *
sessions_call_state(const struct session_call *call)
{
	if (call->session == NULL)
		return "ENDING";
	if (!call->sent)
		return "CONNECTING";
	return *call->state != '\0' ? call->state : "SENT";
}

void
sessions_call_where(const struct session_call *call, char *buf, size_t size)
{
	const struct session *s = call->session;
	long long s_in_state;

	if (s == NULL) {
		(void)snprintf(buf, size, "ending");
	} else if (!call->sent) {
		s_in_state = (clock_now_ms() - call->since_ms) / 1000;
		(void)snprintf(buf, size,
		    "waiting %lld s for the connection to cluster \"%s\" at %s "
		    "as client.%s%s%s",
		    s_in_state, s->cluster_id, s->monitors, s->user,
		    s->failures > 0 ? "; last failure: " : "",
		    s->failures > 0 ? s->last.text : "");
	} else if (*call->state != '\0') {
		s_in_state = (call->state_ms + clock_now_ms() - s->heard_ms) /
		    1000;
		(void)snprintf(buf, size, "in state %s for %lld s", call->state,
		    s_in_state);
	} else {
		(void)snprintf(
		    buf, size, "in ceph-worker %d", (int)worker_pid(s->worker));
	}
}

/* ---- all of them --------------------------------------------------------- */

static size_t
count_calls(const struct call_list *calls)
{
	const struct session_call *call;
	size_t n = 0;

	TAILQ_FOREACH (call, calls, link)
		n++;
	return n;
}

void
sessions_dump(struct buf *out)
{
	const struct session *s;

	LIST_FOREACH (s, &ss.all, link)
		(void)buf_printf(out,
		    "session cluster=%s user=%s state=%s age_ms=%lld "
		    "worker=%d waiting=%zu running=%zu failures=%u\n",
		    s->cluster_id, s->user, state_name[s->state],
		    (long long)(clock_now_ms() - s->since_ms),
		    s->worker != NULL ? (int)worker_pid(s->worker) : 0,
		    count_calls(&s->waiting), count_calls(&s->running),
		    s->failures);
}

const char *
sessions_state_name(enum session_state state)
{
	return state_name[state];
}

void
sessions_stats(struct sessions_stats *stats)
{
	const struct session *s;

	*stats = (struct sessions_stats){ .worker_starts = ss.worker_starts,
		.failures = ss.failures };
	LIST_FOREACH (s, &ss.all, link)
		stats->in_state[s->state]++;
}

size_t
sessions_count(void)
{
	return ss.count;
}

void
sessions_fini(void)
{
	while (!LIST_EMPTY(&ss.all))
		session_free(LIST_FIRST(&ss.all));
	worker_forget_all();
}
