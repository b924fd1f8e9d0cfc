/*
 * sessions.c - finds or makes the session of a call, and drives its states:
 *
 *	IDLE --call, room--> STARTING --READY--> UP --unused--> gone
 *	  ^                     | FAILED, death   | death, silence
 *	  +------ timer ----- BACKOFF <-----------+
 *
 * A session that was READY and is of no use any more (blocklisted, its key
 * revoked, its cluster made anew) is retired: it gets no new calls and goes
 * when nothing runs in it; what failed in it is asked once more in another.
 *
 * These are the states of its peer (core/peer.h); worker.c has the messages.
 */
#include "daemon/sessions.h"

#include "base/clock.h"
#include "csi/rpc.h"
#include "daemon/worker.h"
#include "worker.pb-c.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define CONNECTING_MAX 16 /* of them to one cluster */
#define FAILED_MAX 256    /* sessions that are kept for their failures only */

#define CONNECT_MS 45000 /* the worker gives up by itself before that */
#define END_MS 60000     /* what runs in it comes to its end before that */
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

static const char *const state_name[SESSION_STATE_COUNT] = {
	[PEER_IDLE] = "idle",
	[PEER_STARTING] = "connecting",
	[PEER_UP] = "ready",
	[PEER_BACKOFF] = "backoff",
};

TAILQ_HEAD(call_list, session_call);

/* Why calls end: `what` is said before the cluster's name, `how` after it. */
struct failure {
	enum err_code code;
	const char *what;
	char how[2 * ERR_TEXT_MAX + 64];
};

struct ceph_session {
	struct peer peer; /* its worker; `calls` is what runs */
	char *cluster_id; /* of the call that made it; for the log */
	char *monitors, *user, *netns, *fsid;
	struct secret key;
	bool retired;
	struct call_list waiting;
	struct failure last;
	struct session_progress told; /* of its worker of now */
	int64_t probed_ms;
	struct ceph_session *probe;   /* connects to find out about this one */
	struct ceph_session *suspect; /* what this one is a probe of, or NULL */
	struct timer timer; /* IDLE: to be forgotten; UP: unused, or slow */
	LIST_ENTRY(ceph_session) link;
};

static struct {
	struct sessions_setup setup;
	LIST_HEAD(, ceph_session) all;
	uint64_t last_id;
	uint64_t worker_starts, failures;
	struct session_progress gone; /* ends, of workers that are gone */
	struct job next;              /* connects what waits for room */
} ss;

static const struct peer_kind worker_kind;
static void session_connect(struct ceph_session *s);
static void session_retire(struct ceph_session *s, const char *why);
static void session_settle(struct ceph_session *s);
static void session_ask(struct ceph_session *s, struct session_call *call);
static struct ceph_session *session_get(const struct session_key *key);
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

/* The oldest call that runs, or NULL. */
static struct session_call *
first_running(const struct ceph_session *s)
{
	struct peer_call *first = TAILQ_FIRST(&s->peer.calls);

	return first != NULL
	    ? container_of(first, struct session_call, peer_call)
	    : NULL;
}

static void
call_take_out(struct session_call *call)
{
	if (call->peer_call.peer != NULL)
		peer_call_take(&call->peer_call);
	else if (call->waits)
		TAILQ_REMOVE(&call->session->waiting, call, link);
	call->waits = false;
	call->session = NULL;
}

/* Takes the call out of its list and wakes who waits for it. */
static void
call_finish(struct session_call *call)
{
	call_take_out(call);
	wake_up(call->waiter, call->err.rc);
}

/* What a session was made of; borrows its strings. */
static struct session_key
key_of(const struct ceph_session *s)
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
	const struct session_key key = key_of(call->session);

	if (call->repeated || call->cancelled)
		return false;
	call_take_out(call);
	call->repeated = true;
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
on_reply(struct peer_call *of, const struct peer_frame *frame)
{
	struct session_call *call = container_of(
	    of, struct session_call, peer_call);
	struct ceph_session *s = call->session;

	worker_take_reply(call, frame);
	s->peer.failures = 0;
	/* The key, which was good once, is refused. */
	if ((call->err.code == ERR_PERMISSION_DENIED ||
		call->err.code == ERR_UNAUTHENTICATED) &&
	    clock_now_ms() - s->peer.since_ms >= TRUST_MS)
		session_retire(s, call->err.text);
	if (!err_is_set(&call->err) || !s->retired || !call_again(call))
		call_finish(call);
	session_settle(s);
}

/* ---- states -------------------------------------------------------------- */

/* A probe that has no suspect is as good as any other session. */
static void
probe_part(struct ceph_session *suspect)
{
	if (suspect == NULL || suspect->probe == NULL)
		return;
	suspect->probe->suspect = NULL;
	suspect->probe = NULL;
}

/* Somebody may wait for the room that there is now. */
static void
room_made(void)
{
	if (!ss.next.queued)
		loop_post(&ss.next);
}

/* What only grows. */
static void
add_ends(struct session_progress *sum, const struct session_progress *told)
{
	sum->purges.done += told->purges.done;
	sum->purges.failed += told->purges.failed;
	sum->flattens.done += told->flattens.done;
	sum->flattens.failed += told->flattens.failed;
	sum->lane_starts += told->lane_starts;
}

/* Its worker is gone, and with that what it did in the background. */
static void
forget_progress(struct ceph_session *s)
{
	add_ends(&ss.gone, &s->told);
	s->told = (struct session_progress){ .nbackground = 0 };
}

static void
session_free(struct ceph_session *s)
{
	forget_progress(s);
	timer_disarm(&s->timer);
	peer_fini(&s->peer);
	room_made();
	probe_part(s);
	probe_part(s->suspect);
	LIST_REMOVE(s, link);
	secret_fini(&s->key);
	free(s->cluster_id);
	free(s->monitors);
	free(s->user);
	free(s->netns);
	free(s->fsid);
	free(s);
}

/* The worker is of no use any more; all calls end with the failure. */
static void
session_down(struct ceph_session *s, const struct failure *failure)
{
	char quoted[ERR_TEXT_MAX + 8];
	struct session_call *call;
	struct err err = ERR_INIT;

	(void)err_set(&err, failure->code, "%s%s", failure->what, failure->how);
	log_warn("session.down",
	    "cluster=%s user=%s was=%s ms=%lld failures=%u text=%s",
	    s->cluster_id, s->user, state_name[s->peer.state],
	    (long long)(clock_now_ms() - s->peer.since_ms),
	    s->peer.failures + 1, log_quote(quoted, sizeof(quoted), err.text));
	timer_disarm(&s->timer);
	peer_end(&s->peer);
	room_made();
	probe_part(s);
	forget_progress(s);
	s->last = *failure;
	ss.failures++;
	while ((call = first_running(s)) != NULL ||
	    (call = TAILQ_FIRST(&s->waiting)) != NULL) {
		failure_tell(failure, call, &call->err);
		call_finish(call);
	}
	if (s->retired)
		session_free(s);
}

/* It gets no calls any more; what runs may end. */
static void
session_retire(struct ceph_session *s, const char *why)
{
	char quoted[ERR_TEXT_MAX + 8];

	if (s->retired)
		return;
	log_warn("session.retired", "cluster=%s user=%s worker=%d text=%s",
	    s->cluster_id, s->user, (int)peer_pid(&s->peer),
	    log_quote(quoted, sizeof(quoted), why));
	ss.failures++;
	s->retired = true;
}

/* In UP, when what ran has ended or something runs: what the timer is for. */
static void
session_settle(struct ceph_session *s)
{
	if (s->retired && first_running(s) == NULL)
		session_free(s);
	else
		timer_arm(&s->timer,
		    first_running(s) == NULL ? ss.setup.idle_ms : SLOW_MS);
}

static void
session_send_waiting(struct ceph_session *s)
{
	struct session_call *call;

	while ((call = TAILQ_FIRST(&s->waiting)) != NULL) {
		TAILQ_REMOVE(&s->waiting, call, link);
		call->waits = false;
		call->sent_ms = clock_now_ms();
		call->peer_call.reply = on_reply;
		if (worker_send_request(&s->peer, call, &call->err) < 0)
			call_finish(call);
	}
	session_settle(s);
}

/* ---- does it still work? ------------------------------------------------- */

/* The same monitors, in any order. */
static bool
is_same_cluster(
    const struct ceph_session *s, const char *monitors, const char *netns)
{
	return str_eq(s->netns, netns) && str_list_has(s->monitors, monitors) &&
	    str_list_has(monitors, s->monitors);
}

static struct ceph_session *
session_new(const struct session_key *key)
{
	struct ceph_session *s = mem_new(sizeof(*s));

	peer_init(&s->peer, &worker_kind);
	s->cluster_id = str_dup(key->cluster_id);
	s->monitors = str_dup(key->monitors);
	s->user = str_dup(key->user);
	s->netns = str_dup(key->netns);
	secret_copy(&s->key, key->key);
	s->timer.fire = on_timer;
	TAILQ_INIT(&s->waiting);
	LIST_INSERT_HEAD(&ss.all, s, link);
	return s;
}

/* How many workers there are; with `like`, that connect to its cluster. */
static unsigned
workers(const struct ceph_session *like)
{
	const struct ceph_session *s;
	unsigned n = 0;

	LIST_FOREACH (s, &ss.all, link)
		n += like == NULL ? peer_pid(&s->peer) != 0
				  : s->peer.state == PEER_STARTING &&
			is_same_cluster(s, like->monitors, like->netns);
	return n;
}

/* Something runs for so long that a new connection is to tell. */
static void
session_probe(struct ceph_session *s)
{
	const struct session_call *oldest = first_running(s);
	int64_t now_ms = clock_now_ms();
	const struct session_key key = key_of(s);

	if (oldest == NULL || s->probe != NULL || s->retired ||
	    now_ms - oldest->sent_ms < SLOW_MS ||
	    (s->probed_ms != 0 && now_ms - s->probed_ms < PROBE_AGAIN_MS) ||
	    workers(NULL) >= SESSIONS_WORKERS_MAX)
		return;
	s->probed_ms = now_ms;
	s->probe = session_new(&key);
	s->probe->suspect = s;
	session_connect(s->probe);
}

/* The suspect will never answer: its worker ends, and its calls with it. */
static void
suspect_end(struct ceph_session *s, const struct failure *failure)
{
	struct peer_call *of, *next;

	peer_kill(&s->peer, SIGKILL);
	s->retired = true;
	of = failure->code != ERR_UNAUTHENTICATED ? TAILQ_FIRST(&s->peer.calls)
						  : NULL;
	for (; of != NULL; of = next) {
		next = TAILQ_NEXT(of, link);
		(void)call_again(
		    container_of(of, struct session_call, peer_call));
	}
	session_down(s, failure);
}

/* No connection; of a probe that tells something if it was refused. */
static void
connect_failed(struct ceph_session *s, const struct failure *failure)
{
	struct ceph_session *suspect = s->suspect;

	if (suspect != NULL) {
		probe_part(suspect);
		s->retired = true;
		if (failure->code == ERR_UNAUTHENTICATED)
			suspect_end(suspect, failure);
	}
	session_down(s, failure);
}

static void
on_timer(struct timer *timer)
{
	struct ceph_session *s = container_of(
	    timer, struct ceph_session, timer);
	int64_t silent_ms = clock_now_ms() - s->peer.heard_ms;
	const struct sessions_purges *purges = &s->told.purges;
	const struct sessions_flattens *flattens = &s->told.flattens;
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "ceph-worker of cluster" };

	if (s->peer.state != PEER_UP) {
		if (s->peer.state == PEER_IDLE && TAILQ_EMPTY(&s->waiting))
			session_free(s);
	} else if (first_running(s) == NULL &&
	    purges->running + purges->waiting + purges->blocked +
		    flattens->running + flattens->waiting ==
		0) {
		log_info("session.idle", "cluster=%s user=%s", s->cluster_id,
		    s->user);
		session_free(s);
	} else if (first_running(s) == NULL) {
		session_settle(s);
	} else if (silent_ms < SILENT_MS) {
		timer_arm(timer,
		    SILENT_MS - silent_ms < SLOW_MS ? SILENT_MS - silent_ms
						    : SLOW_MS);
		session_probe(s);
	} else {
		peer_kill(&s->peer, SIGKILL);
		(void)snprintf(failure.how, sizeof(failure.how),
		    " was stuck for %lld s and was ended",
		    (long long)silent_ms / 1000);
		session_down(s, &failure);
	}
}

/* ---- what the worker says ------------------------------------------------ */

static void
on_worker_ready(struct peer *peer, const struct peer_frame *frame)
{
	struct ceph_session *s = container_of(peer, struct ceph_session, peer);
	struct ceph_session *suspect = s->suspect;
	struct failure failure = { .code = ERR_UNAVAILABLE, .what = "cluster" };
	Worker__Ready *ready = peer_unpack(frame, &worker__ready__descriptor);

	if (ready == NULL) {
		peer_broken(peer, "a greeting that is none");
		return;
	}
	free(s->fsid);
	s->fsid = str_dup(ready->fsid);
	log_info("session.up",
	    "cluster=%s user=%s fsid=%s address=%s worker=%d ms=%lld",
	    s->cluster_id, s->user, s->fsid, ready->address,
	    (int)peer_pid(peer),
	    (long long)(clock_now_ms() - peer->started_ms));
	worker__ready__free_unpacked(ready, NULL);
	room_made();
	if (suspect == NULL) {
		session_send_waiting(s);
	} else if (str_eq(s->fsid, suspect->fsid)) { /* it is only slow */
		session_free(s);
	} else {
		(void)snprintf(failure.how, sizeof(failure.how),
		    " is another one: its fsid was %s and is %s", suspect->fsid,
		    s->fsid);
		probe_part(suspect);
		timer_arm(&s->timer, ss.setup.idle_ms);
		suspect_end(suspect, &failure);
	}
}

static void
on_failed(struct peer *peer, const struct peer_frame *frame)
{
	struct ceph_session *s = container_of(peer, struct ceph_session, peer);
	struct failure failure = { .code = frame->err.code,
		.what = "connect to cluster" };

	if (peer->state == PEER_UP) {
		session_retire(s, frame->err.text);
		session_settle(s);
		return;
	}
	if (*frame->step != '\0')
		(void)snprintf(failure.how, sizeof(failure.how), ": %s: %s",
		    frame->step, frame->err.text);
	else
		(void)snprintf(failure.how, sizeof(failure.how),
		    " at %s as client.%s: %s", s->monitors, s->user,
		    frame->err.text);
	connect_failed(s, &failure);
}

static void
on_progress(struct peer *peer, const struct peer_frame *frame)
{
	struct ceph_session *s = container_of(peer, struct ceph_session, peer);

	if (worker_take_progress(peer, frame, &s->told) < 0)
		peer_broken(peer, "a progress that is none");
}

static void
on_worker_gone(struct peer *peer)
{
	struct ceph_session *s = container_of(peer, struct ceph_session, peer);
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "ceph-worker of cluster" };

	(void)snprintf(failure.how, sizeof(failure.how), "%s",
	    peer->state == PEER_UP ? " died; try again"
				   : " died while it connected");
	connect_failed(s, &failure);
}

static void
on_rested(struct peer *peer)
{
	struct ceph_session *s = container_of(peer, struct ceph_session, peer);

	timer_arm(&s->timer, FORGET_MS);
	if (!TAILQ_EMPTY(&s->waiting))
		room_made();
}

static const struct peer_kind worker_kind = {
	.name = "ceph-worker",
	.starts = &ss.worker_starts,
	.version = WORKER__PROTOCOL__VERSION,
	.max_frame = CSI_MESSAGE_MAX + 65536,
	.max_queued = (size_t)64 << 20,
	.start_ms = CONNECT_MS,
	.end_ms = END_MS,
	.backoff_ms = BACKOFF_FIRST_MS,
	.backoff_max_ms = BACKOFF_MAX_MS,
	.ready = on_worker_ready,
	.failed = on_failed,
	.event = on_progress,
	.gone = on_worker_gone,
	.rested = on_rested,
};

/* ---- room ---------------------------------------------------------------- */

static bool
cluster_has_room(const struct ceph_session *s)
{
	return workers(s) < CONNECTING_MAX;
}

/* If there is none, the session ends that was idle for longest. */
static bool
worker_has_room(void)
{
	struct ceph_session *s, *oldest = NULL;

	if (workers(NULL) < SESSIONS_WORKERS_MAX)
		return true;
	LIST_FOREACH (s, &ss.all, link)
		if (s->peer.state == PEER_UP && !s->retired &&
		    first_running(s) == NULL &&
		    (oldest == NULL ||
			s->peer.heard_ms < oldest->peer.heard_ms))
			oldest = s;
	if (oldest == NULL) /* all are in use */
		return false;
	log_info("session.evicted", "cluster=%s user=%s", oldest->cluster_id,
	    oldest->user);
	session_free(oldest);
	return true;
}

/*
 * Of sessions that wait for room the one whose call came first; those that
 * have connected before go before those that never have.
 */
static void
connect_next(struct job *job)
{
	struct ceph_session *s, *best;

	(void)job;
	do {
		best = NULL;
		LIST_FOREACH (s, &ss.all, link) {
			if (s->peer.state != PEER_IDLE ||
			    TAILQ_EMPTY(&s->waiting) || !cluster_has_room(s))
				continue;
			if (best == NULL ||
			    ((s->fsid != NULL) == (best->fsid != NULL)
				    ? TAILQ_FIRST(&s->waiting)->id <
					TAILQ_FIRST(&best->waiting)->id
				    : s->fsid != NULL))
				best = s;
		}
		if (best == NULL || !worker_has_room())
			return;
		session_connect(best);
	} while (true);
}

/* A flood of keys that do not work must not become one of memory. */
static void
forget_failed(void)
{
	struct ceph_session *s, *oldest;
	size_t n;

	do {
		n = 0;
		oldest = NULL;
		LIST_FOREACH (s, &ss.all, link) {
			if (peer_pid(&s->peer) != 0 ||
			    !TAILQ_EMPTY(&s->waiting))
				continue;
			n++;
			if (oldest == NULL ||
			    s->peer.since_ms < oldest->peer.since_ms)
				oldest = s;
		}
		if (n > FAILED_MAX)
			session_free(oldest);
	} while (n > FAILED_MAX);
}

/* ---- from calls to sessions ---------------------------------------------- */

static void
session_connect(struct ceph_session *s)
{
	const struct session_key key = key_of(s);
	struct failure failure = { .code = ERR_UNAVAILABLE,
		.what = "connect to cluster" };
	struct err err = ERR_INIT;

	timer_disarm(&s->timer);
	if (worker_spawn(&s->peer, &ss.setup, &key, &err) == 0)
		return;
	(void)snprintf(failure.how, sizeof(failure.how), ": %.230s", err.text);
	connect_failed(s, &failure);
}

/* The session of `key`, made if there is none. */
static struct ceph_session *
session_get(const struct session_key *key)
{
	struct ceph_session *s;

	LIST_FOREACH (s, &ss.all, link)
		if (!s->retired && s->suspect == NULL &&
		    is_same_cluster(s, key->monitors, key->netns) &&
		    str_eq(s->user, key->user) && secret_eq(&s->key, key->key))
			return s;
	forget_failed();
	return session_new(key);
}

static void
session_ask(struct ceph_session *s, struct session_call *call)
{
	call->session = s;
	call->waits = true;
	TAILQ_INSERT_TAIL(&s->waiting, call, link);
	if (s->peer.state == PEER_UP) {
		if (first_running(s) == NULL)
			s->peer.heard_ms = clock_now_ms();
		session_send_waiting(s);
	} else if (s->peer.state == PEER_IDLE && cluster_has_room(s) &&
	    worker_has_room()) {
		session_connect(s);
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
	const struct ceph_session *s;

	LIST_FOREACH (s, &ss.all, link) {
		if (s->peer.state != PEER_UP || s->retired ||
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
	struct ceph_session *s = call->session;

	if (s == NULL || call->cancelled)
		return;
	call->cancelled = true;
	if (!call->waits) {
		peer_call_cancel(&call->peer_call);
		return;
	}
	(void)err_set(&call->err, ERR_CANCELLED, "the caller went away");
	call_finish(call);
	if (s->peer.state == PEER_IDLE && TAILQ_EMPTY(&s->waiting))
		timer_arm(&s->timer, FORGET_MS);
}

const char *
sessions_call_state(const struct session_call *call)
{
	if (call->session == NULL)
		return "ENDING";
	if (call->waits)
		return "CONNECTING";
	return *call->state != '\0' ? call->state : "SENT";
}

void
sessions_call_where(const struct session_call *call, char *buf, size_t size)
{
	const struct ceph_session *s = call->session;
	struct err last = ERR_INIT;
	int64_t now_ms = clock_now_ms();

	if (s == NULL) {
		(void)snprintf(buf, size, "ending");
	} else if (call->waits) {
		if (s->peer.failures > 0)
			failure_tell(&s->last, call, &last);
		(void)snprintf(buf, size,
		    "waiting %lld s for the connection to cluster \"%s\" at %s as client.%s%s%s",
		    (long long)(now_ms - call->since_ms) / 1000,
		    call->cluster_id, s->monitors, s->user,
		    s->peer.failures > 0 ? "; last failure: " : "", last.text);
	} else if (*call->state != '\0') {
		(void)snprintf(buf, size, "in state %s for %lld s", call->state,
		    (long long)(call->state_ms + now_ms - s->peer.heard_ms) /
			1000);
	} else {
		(void)snprintf(
		    buf, size, "in ceph-worker %d", (int)peer_pid(&s->peer));
	}
}

/* ---- all of them --------------------------------------------------------- */

bool
sessions_at(size_t i, struct session_info *info)
{
	const struct ceph_session *s;
	const struct session_call *call;
	const struct peer_call *of;
	int64_t now = clock_now_ms();

	LIST_FOREACH (s, &ss.all, link)
		if (i-- == 0)
			break;
	if (s == NULL)
		return false;
	*info = (struct session_info){
		.cluster_id = s->cluster_id,
		.monitors = s->monitors,
		.user = s->user,
		.state = s->retired ? "retired" : state_name[s->peer.state],
		.state_is = s->peer.state,
		.state_ms = now - s->peer.since_ms,
		.worker = (int)peer_pid(&s->peer),
		.lanes = s->told.lanes,
		.failures = s->peer.failures,
	};
	if (info->worker != 0)
		info->worker_ms = now - s->peer.started_ms;
	TAILQ_FOREACH (call, &s->waiting, link)
		info->waiting++;
	TAILQ_FOREACH (of, &s->peer.calls, link)
		info->running++;
	return true;
}

void
sessions_dump(struct buf *out)
{
	struct session_info s;

	for (size_t i = 0; sessions_at(i, &s); i++)
		(void)buf_printf(out,
		    "session cluster=%s user=%s state=%s age_ms=%lld worker=%d waiting=%zu running=%zu failures=%u\n",
		    s.cluster_id, s.user, s.state, (long long)s.state_ms,
		    s.worker, s.waiting, s.running, s.failures);
}

const char *
sessions_state_name(enum peer_state state)
{
	return state_name[state];
}

struct sessions_stats
sessions_stats(void)
{
	struct sessions_stats stats = { .worker_starts = ss.worker_starts,
		.workers = workers(NULL),
		.lanes_max = ss.setup.max_lanes,
		.failures = ss.failures };
	struct session_progress sum = ss.gone;
	const struct ceph_session *s;

	LIST_FOREACH (s, &ss.all, link) {
		stats.in_state[s->peer.state]++;
		add_ends(&sum, &s->told);
		sum.purges.running += s->told.purges.running;
		sum.purges.waiting += s->told.purges.waiting;
		sum.purges.blocked += s->told.purges.blocked;
		sum.flattens.running += s->told.flattens.running;
		sum.flattens.waiting += s->told.flattens.waiting;
		if (s->told.lanes > stats.lanes_most)
			stats.lanes_most = s->told.lanes;
	}
	stats.purges = sum.purges;
	stats.flattens = sum.flattens;
	stats.lane_starts = sum.lane_starts;
	return stats;
}

void
sessions_each_background(
    void (*each)(const struct session_background *background, void *arg),
    void *arg)
{
	const struct ceph_session *s;

	LIST_FOREACH (s, &ss.all, link)
		for (size_t i = 0; i < s->told.nbackground; i++)
			each(&s->told.background[i], arg);
}

void
sessions_end(void)
{
	struct ceph_session *s;

	for (; (s = LIST_FIRST(&ss.all)) != NULL; session_free(s))
		if (s->peer.state == PEER_STARTING) /* would go on trying */
			peer_kill(&s->peer, SIGKILL);
}

static void
count_worker(const char *name, pid_t pid, void *arg)
{
	(void)pid;
	*(unsigned *)arg += str_eq(name, worker_kind.name);
}

unsigned
sessions_ending(void)
{
	unsigned n = 0;

	peer_each_process(count_worker, &n);
	return n;
}

void
sessions_fini(void)
{
	sessions_end();
	loop_unpost(&ss.next);
	peer_forget_all();
}
