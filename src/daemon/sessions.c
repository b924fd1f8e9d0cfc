/*
 * sessions.c - finds or makes the session of a call, and drives its states:
 *
 *	IDLE --call, room--> CONNECTING --READY--> READY --unused--> gone
 *	  ^                     | FAILED, death      | death, silence
 *	  +------ timer ----- BACKOFF <--------------+
 *
 * A session that was READY and is of no use any more (blocklisted, its key
 * revoked, its cluster made anew) is retired: it gets no new calls and goes
 * when nothing runs in it; what failed in it is asked once more in another.
 *
 * What a worker process is and says is worker.c's.
 */
#include "daemon/sessions.h"

#include "base/clock.h"
#include "daemon/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WORKERS_MAX 256
#define CONNECTING_MAX 16 /* of them to one cluster */
#define FAILED_MAX 256    /* sessions that are kept for their failures only */

#define CONNECT_MS 45000 /* the worker gives up by itself before that */
#define SILENT_MS 90000  /* it reports every second while it works */
#define FORGET_MS 60000  /* failures of a session without calls */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 15000

/*
 * A key that is refused in a session that is older than this may have been
 * revoked; an answer that takes longer than SLOW_MS may never come, for that
 * or because the monitors are another cluster's now. A new connection tells.
 */
#define TRUST_MS 10000
#define SLOW_MS 15000
#define PROBE_AGAIN_MS 60000

static const char *const state_name[SESSION_STATE_COUNT] = { "idle",
	"connecting", "ready", "backoff" };

TAILQ_HEAD(call_list, session_call);

/* Why calls end: `what` is said before the cluster's name, `how` after it. */
struct failure {
	enum err_code code;
	const char *what;
	char how[ERR_TEXT_MAX];
};

struct session {
	char *cluster_id; /* of the call that made it; for the log */
	char *monitors, *user, *netns, *fsid;
	struct secret key;
	enum session_state state;
	bool retired;
	struct worker *worker; /* CONNECTING and READY */
	struct call_list waiting, running;
	unsigned failures; /* in a row */
	struct failure last;
	int64_t since_ms; /* in this state */
	int64_t heard_ms; /* any frame of the worker */
	int64_t probed_ms;
	struct session *probe;   /* connects to find out about this one */
	struct session *suspect; /* what this one is a probe of, or NULL */
	struct timer timer;
	LIST_ENTRY(session)
	link;
};

static struct {
	struct sessions_setup setup;
	LIST_HEAD(, session) all;
	size_t count, workers;
	uint64_t last_id;
	uint64_t worker_starts, failures;
	struct job next; /* connects what waits for room */
} ss;

static void session_connect(struct session *s);
static void session_ask(struct session *s, struct session_call *call);
static struct session *session_get(const struct session_key *key);
static void connect_next(struct job *job);
static void on_timer(struct timer *timer);

void
sessions_init(const struct sessions_setup *setup)
{
	ss.setup = *setup;
	ss.next.run = connect_next;
	LIST_INIT(&ss.all);
}

/* ---- calls --------------------------------------------------------------- */

static void
call_take_out(struct session_call *call)
{
	struct session *s = call->session;

	if (call->sent)
		TAILQ_REMOVE(&s->running, call, link);
	else
		TAILQ_REMOVE(&s->waiting, call, link);
	call->session = NULL;
}

/* Takes the call out of its list and wakes who waits for it. */
static void
call_end(struct session_call *call)
{
	call_take_out(call);
	wake_up(call->waiter, call->err.rc);
}

/* What a session was made of; borrows its strings. */
static struct session_key
key_of(struct session *s)
{
	return (struct session_key){
		.cluster_id = s->cluster_id,
		.monitors = s->monitors,
		.user = s->user,
		.netns = s->netns,
		.key = &s->key,
	};
}

/*
 * Its session is of no use any more: asks in another one, once. Every request
 * can be repeated.
 */
static bool
call_again(struct session_call *call)
{
	struct session *s = call->session;
	const struct session_key key = key_of(s);

	if (call->repeated || call->cancelled)
		return false;
	call_take_out(call);
	call->repeated = true;
	call->sent = false;
	call->err = (struct err)ERR_INIT;
	*call->state = *call->states = '\0';
	session_ask(session_get(&key), call);
	return true;
}

static void
failure_tell(
    const struct failure *f, const struct session_call *call, struct err *err)
{
	(void)err_set(
	    err, f->code, "%s \"%s\"%s", f->what, call->cluster_id, f->how);
}

static void
calls_fail(struct call_list *calls, const struct failure *failure)
{
	struct session_call *call;

	while ((call = TAILQ_FIRST(calls)) != NULL) {
		failure_tell(failure, call, &call->err);
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
	call->sent_ms = clock_now_ms();
}

/* ---- states -------------------------------------------------------------- */

static void
session_enter(struct session *s, enum session_state state, int64_t timer_ms)
{
	s->state = state;
	s->since_ms = clock_now_ms();
	timer_arm(&s->timer, timer_ms);
}

/* Somebody may wait for the room that there is now. */
static void
room_made(void)
{
	if (!ss.next.queued)
		loop_post(&ss.next);
}

static void
worker_drop(struct session *s)
{
	if (s->worker == NULL)
		return;
	worker_let_go(s->worker);
	s->worker = NULL;
	ss.workers--;
	room_made();
}

/* A probe that has no suspect is as good as any other session. */
static void
probe_part(struct session *suspect)
{
	if (suspect == NULL || suspect->probe == NULL)
		return;
	suspect->probe->suspect = NULL;
	suspect->probe = NULL;
}

static void
session_free(struct session *s)
{
	timer_disarm(&s->timer);
	worker_drop(s);
	probe_part(s);
	probe_part(s->suspect);
	LIST_REMOVE(s, link);
	ss.count--;
	secret_fini(&s->key);
	free(s->cluster_id);
	free(s->monitors);
	free(s->user);
	free(s->netns);
	free(s->fsid);
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

/* The worker is of no use any more; all calls end with the failure. */
static void
session_down(struct session *s, const struct failure *failure)
{
	char quoted[ERR_TEXT_MAX + 8];
	struct err err = ERR_INIT;

	(void)err_set(&err, failure->code, "%s%s", failure->what, failure->how);
	log_warn("session.down",
	    "cluster=%s user=%s was=%s ms=%lld failures=%u text=%s",
	    s->cluster_id, s->user, state_name[s->state],
	    (long long)(clock_now_ms() - s->since_ms), s->failures + 1,
	    log_quote(quoted, sizeof(quoted), err.text));
	worker_drop(s);
	probe_part(s);
	s->last = *failure;
	s->failures++;
	ss.failures++;
	session_enter(s, SESSION_BACKOFF, backoff_ms(s->failures));
	calls_fail(&s->running, failure);
	calls_fail(&s->waiting, failure);
	if (s->retired)
		session_free(s);
}

/* It gets no calls any more; what runs may end. */
static void
session_retire(struct session *s, const char *why)
{
	char quoted[ERR_TEXT_MAX + 8];

	if (s->retired)
		return;
	log_warn("session.retired", "cluster=%s user=%s worker=%d text=%s",
	    s->cluster_id, s->user, (int)worker_pid(s->worker),
	    log_quote(quoted, sizeof(quoted), why));
	ss.failures++;
	s->retired = true;
}

/* In READY: what the timer is for depends on whether something runs. */
static void
session_watch(struct session *s)
{
	timer_arm(
	    &s->timer, TAILQ_EMPTY(&s->running) ? ss.setup.idle_ms : SLOW_MS);
}

/* When what ran has ended, or nothing does. */
static void
session_settle(struct session *s)
{
	if (!TAILQ_EMPTY(&s->running))
		return;
	if (s->retired)
		session_free(s);
	else
		session_watch(s);
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

/* ---- which session? ------------------------------------------------------- */

/* The same monitors, in any order. */
static bool
is_same_cluster(
    const struct session *s, const char *monitors, const char *netns)
{
	return str_eq(s->netns, netns) && str_list_has(s->monitors, monitors) &&
	    str_list_has(monitors, s->monitors);
}

/* ---- does it still work? ------------------------------------------------- */

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

/* Something runs for so long that a new connection is to tell. */
static void
session_probe(struct session *s)
{
	const struct session_call *oldest = TAILQ_FIRST(&s->running);
	int64_t now_ms = clock_now_ms();
	const struct session_key key = key_of(s);

	if (s->probe != NULL || s->retired ||
	    now_ms - oldest->sent_ms < SLOW_MS ||
	    (s->probed_ms != 0 && now_ms - s->probed_ms < PROBE_AGAIN_MS) ||
	    ss.workers >= WORKERS_MAX)
		return;
	s->probed_ms = now_ms;
	s->probe = session_new(&key);
	s->probe->suspect = s;
	session_connect(s->probe);
}

/* The suspect will never answer: its worker ends, and its calls with it. */
static void
suspect_end(struct session *s, const struct failure *failure)
{
	struct session_call *call = TAILQ_FIRST(&s->running), *next;

	worker_kill(s->worker);
	s->retired = true;
	for (; call != NULL && failure->code != ERR_UNAUTHENTICATED;
	     call = next) {
		next = TAILQ_NEXT(call, link);
		(void)call_again(call);
	}
	session_down(s, failure);
}

/* A probe has connected. */
static void
probe_ready(struct session *probe)
{
	struct session *s = probe->suspect;
	struct failure failure = { .code = ERR_UNAVAILABLE, .what = "cluster" };

	if (str_eq(probe->fsid, s->fsid)) { /* it is only slow */
		session_free(probe);
		return;
	}
	(void)snprintf(failure.how, sizeof(failure.how),
	    " is another one: its fsid was %s and is %s", s->fsid, probe->fsid);
	probe_part(s);
	suspect_end(s, &failure);
}

/* A probe could not connect: that tells something if it was refused. */
static void
probe_failed(struct session *probe, const struct failure *failure)
{
	struct session *s = probe->suspect;

	probe_part(s);
	probe->retired = true;
	if (failure->code == ERR_UNAUTHENTICATED)
		suspect_end(s, failure);
}

static void
on_ready_timer(struct session *s)
{
	int64_t silent_ms = clock_now_ms() - s->heard_ms;
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "ceph-worker of cluster" };

	if (TAILQ_EMPTY(&s->running) && !worker_has_purges(s->worker)) {
		log_info("session.idle", "cluster=%s user=%s", s->cluster_id,
		    s->user);
		session_free(s);
	} else if (TAILQ_EMPTY(&s->running)) {
		session_watch(s);
	} else if (silent_ms < SILENT_MS) {
		timer_arm(&s->timer,
		    SILENT_MS - silent_ms < SLOW_MS ? SILENT_MS - silent_ms
						    : SLOW_MS);
		session_probe(s);
	} else {
		worker_kill(s->worker);
		(void)snprintf(failure.how, sizeof(failure.how),
		    " was stuck for %lld s and was ended",
		    (long long)silent_ms / 1000);
		session_down(s, &failure);
	}
}

static void
on_timer(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, timer);
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "connect to cluster" };

	switch (s->state) {
	case SESSION_IDLE:
		if (TAILQ_EMPTY(&s->waiting))
			session_free(s);
		return;
	case SESSION_CONNECTING:
		worker_kill(s->worker);
		(void)snprintf(failure.how, sizeof(failure.how),
		    " at %s as client.%s: no answer from ceph-worker in %d s",
		    s->monitors, s->user, CONNECT_MS / 1000);
		if (s->suspect != NULL)
			probe_failed(s, &failure);
		session_down(s, &failure);
		return;
	case SESSION_READY:
		on_ready_timer(s);
		return;
	case SESSION_BACKOFF:
		session_enter(s, SESSION_IDLE, FORGET_MS);
		if (!TAILQ_EMPTY(&s->waiting))
			room_made();
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
	free(s->fsid);
	s->fsid = str_dup(fsid);
	session_enter(s, SESSION_READY, 0);
	room_made();
	if (s->suspect != NULL)
		probe_ready(s);
	else
		session_send_waiting(s);
}

static void
on_failed(void *arg, enum err_code code, const char *step, const char *text)
{
	struct session *s = arg;
	struct failure failure = { .code = code, .what = "connect to cluster" };

	if (s->state == SESSION_READY) {
		session_retire(s, text);
		session_settle(s);
		return;
	}
	(void)snprintf(
	    failure.how, sizeof(failure.how), ": %s: %s", step, text);
	if (s->suspect != NULL)
		probe_failed(s, &failure);
	session_down(s, &failure);
}

static void
on_gone(void *arg)
{
	struct session *s = arg;
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "ceph-worker of cluster" };

	(void)snprintf(failure.how, sizeof(failure.how), "%s",
	    s->state == SESSION_READY ? " died; try again"
				      : " died while it connected");
	if (s->suspect != NULL)
		probe_failed(s, &failure);
	session_down(s, &failure);
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

/* Was the key, which was good once, refused? */
static bool
is_refused(const struct session *s, const struct err *err)
{
	return (err->code == ERR_PERMISSION_DENIED ||
		   err->code == ERR_UNAUTHENTICATED) &&
	    clock_now_ms() - s->since_ms >= TRUST_MS;
}

static void
on_replied(void *arg, struct session_call *call)
{
	struct session *s = arg;

	s->failures = 0;
	if (is_refused(s, &call->err))
		session_retire(s, call->err.text);
	if (!err_is_set(&call->err) || !s->retired || !call_again(call))
		call_end(call);
	session_settle(s);
}

static const struct worker_ops worker_ops = {
	.ready = on_ready,
	.failed = on_failed,
	.call_of = on_reply,
	.replied = on_replied,
	.gone = on_gone,
};

/* ---- room ---------------------------------------------------------------- */

/* Ends the session that was idle for longest; false: all are in use. */
static bool
evict_idle(void)
{
	struct session *s, *oldest = NULL;

	LIST_FOREACH (s, &ss.all, link)
		if (s->state == SESSION_READY && TAILQ_EMPTY(&s->running) &&
		    (oldest == NULL || s->heard_ms < oldest->heard_ms))
			oldest = s;
	if (oldest == NULL)
		return false;
	log_info("session.evicted", "cluster=%s user=%s", oldest->cluster_id,
	    oldest->user);
	session_free(oldest);
	return true;
}

static bool
cluster_has_room(const struct session *s)
{
	const struct session *other;
	unsigned connecting = 0;

	LIST_FOREACH (other, &ss.all, link)
		if (other->state == SESSION_CONNECTING &&
		    is_same_cluster(other, s->monitors, s->netns))
			connecting++;
	return connecting < CONNECTING_MAX;
}

static bool
worker_has_room(void)
{
	return ss.workers < WORKERS_MAX || evict_idle();
}

/*
 * Of sessions that wait for room the one whose call came first; those that
 * have connected before go before those that never have.
 */
static bool
goes_before(const struct session *a, const struct session *b)
{
	if ((a->fsid != NULL) != (b->fsid != NULL))
		return a->fsid != NULL;
	return TAILQ_FIRST(&a->waiting)->id < TAILQ_FIRST(&b->waiting)->id;
}

static struct session *
next_to_connect(void)
{
	const struct session_call *call;
	struct session *s, *best = NULL;

	LIST_FOREACH (s, &ss.all, link) {
		call = TAILQ_FIRST(&s->waiting);
		if (s->state != SESSION_IDLE || call == NULL ||
		    !cluster_has_room(s))
			continue;
		if (best == NULL || goes_before(s, best))
			best = s;
	}
	return best;
}

static void
connect_next(struct job *job)
{
	struct session *s;

	(void)job;
	while ((s = next_to_connect()) != NULL && worker_has_room())
		session_connect(s);
}

/* A flood of keys that do not work must not become one of memory. */
static void
forget_failed(void)
{
	struct session *s, *oldest;
	size_t n;

	do {
		n = 0;
		oldest = NULL;
		LIST_FOREACH (s, &ss.all, link) {
			if (s->worker != NULL || !TAILQ_EMPTY(&s->waiting))
				continue;
			n++;
			if (oldest == NULL || s->since_ms < oldest->since_ms)
				oldest = s;
		}
		if (n > FAILED_MAX)
			session_free(oldest);
	} while (n > FAILED_MAX);
}

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
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "connect to cluster" };
	struct err err = ERR_INIT;

	session_enter(s, SESSION_CONNECTING, CONNECT_MS);
	ss.worker_starts++;
	s->worker = worker_new(&hello, &worker_ops, s, &err);
	if (s->worker != NULL) {
		ss.workers++;
		return;
	}
	(void)snprintf(failure.how, sizeof(failure.how), ": %.230s", err.text);
	if (s->suspect != NULL)
		probe_failed(s, &failure);
	session_down(s, &failure);
}

/* The session of `key`, made if there is none. */
static struct session *
session_get(const struct session_key *key)
{
	struct session *s;

	LIST_FOREACH (s, &ss.all, link)
		if (!s->retired && s->suspect == NULL &&
		    is_same_cluster(s, key->monitors, key->netns) &&
		    str_eq(s->user, key->user) && secret_eq(&s->key, key->key))
			return s;
	forget_failed();
	return session_new(key);
}

static void
session_ask(struct session *s, struct session_call *call)
{
	call->session = s;
	TAILQ_INSERT_TAIL(&s->waiting, call, link);
	if (s->state == SESSION_IDLE) {
		if (cluster_has_room(s) && worker_has_room())
			session_connect(s);
	} else if (s->state == SESSION_READY) {
		if (TAILQ_EMPTY(&s->running))
			s->heard_ms = clock_now_ms();
		session_send_waiting(s);
	}
}

void
sessions_call_start(struct session_call *call, const struct session_key *key,
    struct wake *waiter)
{
	call->id = ++ss.last_id;
	call->waiter = waiter;
	call->since_ms = clock_now_ms();
	session_ask(session_get(key), call);
}

bool
sessions_credentials(const struct session_key *key, const char **user,
    const struct secret **secret)
{
	const struct session *s;

	LIST_FOREACH (s, &ss.all, link) {
		if (s->state != SESSION_READY || s->retired ||
		    !is_same_cluster(s, key->monitors, key->netns) ||
		    (!str_is_empty(key->user) && !str_eq(s->user, key->user)))
			continue;
		*user = s->user;
		*secret = &s->key;
		return true;
	}
	return false;
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
	if (s->state == SESSION_IDLE && TAILQ_EMPTY(&s->waiting))
		session_enter(s, SESSION_IDLE, FORGET_MS);
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
	struct err last = ERR_INIT;
	long long s_in_state;

	if (s == NULL) {
		(void)snprintf(buf, size, "ending");
	} else if (!call->sent) {
		s_in_state = (clock_now_ms() - call->since_ms) / 1000;
		if (s->failures > 0)
			failure_tell(&s->last, call, &last);
		(void)snprintf(buf, size,
		    "waiting %lld s for the connection to cluster \"%s\" at %s "
		    "as client.%s%s%s",
		    s_in_state, call->cluster_id, s->monitors, s->user,
		    s->failures > 0 ? "; last failure: " : "", last.text);
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
		    s->cluster_id, s->user,
		    s->retired ? "retired" : state_name[s->state],
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
		.failures = ss.failures,
		.purges = worker_purges() };
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
	loop_unpost(&ss.next);
	worker_forget_all();
}
