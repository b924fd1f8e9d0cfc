/*
 * lanes.c - the worker's lanes against scripted ones: this program, started
 * again. What a lane makes of a job is said by the job's image id; what it
 * makes of its hello by the user's name.
 */
#include "base/clock.h"
#include "controller/lane.h"
#include "core/signal.h"
#include "tests/tap.h"
#include "tests/waited.h"
#include "worker/worker.h"

#include <errno.h>
#include <rados/librados.h>
#include <string.h>
#include <sys/wait.h>

/* ---- in a lane ------------------------------------------------------------- */

static void
lane_hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Hello *hello = peer_unpack(frame, &worker__hello__descriptor);
	struct peer_frame no = { .kind = PEER_FAILED, .step = "authenticate" };

	if (str_eq(hello->user, "dies"))
		_exit(1);
	(void)err_set(&no.err, ERR_UNAUTHENTICATED, "key refused");
	if (str_eq(hello->user, "refused"))
		peer_answer(from, &no);
	else if (hello->role == WORKER__HELLO__ROLE__LANE)
		peer_answer(from, &(struct peer_frame){ .kind = PEER_READY });
	worker__hello__free_unpacked(hello, NULL);
}

static void
lane_call(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Job *job = peer_unpack(frame, &worker__job__descriptor);
	Worker__Done done = WORKER__DONE__INIT;
	char first[] = "192.0.2.1:0/7", second[] = "192.0.2.2:0/8", child[32];
	char nonsense[RBD_ID_SIZE + 1];
	char *watchers[] = { first, second };
	const char *what = job->image_id;
	struct err err = ERR_INIT;

	nonsense[RBD_ID_SIZE] = '\0';
	(void)snprintf(child, sizeof(child), "rbd/%d", (int)getpid());
	done.child = child;
	done.watchers = watchers;
	done.n_watchers = countof(watchers);
	if (str_eq(what, "dies"))
		_exit(1);
	if (str_eq(what, "hangs"))
		for (;;)
			(void)pause();
	if (str_eq(what, "shut out"))
		(void)err_set_rc(&err, -ESHUTDOWN, "rbd_open");
	if (str_eq(what, "in use"))
		(void)err_set_rc(&err, -EBUSY, "rbd_remove");
	if (str_eq(what, "raves"))
		done.image_id = memset(nonsense, 'x', RBD_ID_SIZE);
	peer_reply(from, err_is_set(&err) ? &err : NULL, &done.base);
	worker__job__free_unpacked(job, NULL);
}

static void
lane_closed(int rc)
{
	(void)rc;
	loop_stop();
}

static int
lane_main(void)
{
	static const struct peer_service service = {
		.name = "ceph-lane",
		.version = WORKER__PROTOCOL__VERSION,
		.max_frame = WORKER_FRAME_MAX,
		.max_queued = WORKER_QUEUED_MAX,
		.hello = lane_hello,
		.call = lane_call,
		.closed = lane_closed,
	};

	if (loop_init() < 0)
		return 1;
	peer_serve(3, &service);
	loop_run();
	return 0;
}

/* The name of a pool without a cluster is the one that it has. */
int
rados_ioctx_get_pool_name(rados_ioctx_t io, char *buf, unsigned maxlen)
{
	(void)io;
	(void)buf;
	(void)maxlen;
	return -ENOENT;
}

/* ---- in the worker --------------------------------------------------------- */

static Worker__Hello hello = WORKER__HELLO__INIT;
static char user_good[] = "good", user_refused[] = "refused",
	    user_dies[] = "dies";

static struct ceph_pool pool = { .rados_namespace = (char[]){ "" } };

struct work {
	struct lane_job job;
	struct waited end;
};

static void
begin(struct work *w, const char *what)
{
	*w = (struct work){ .end = WAITED_INIT };
	w->job.kind = LANE_FIND_CHILD;
	w->job.pool = &pool;
	w->job.image_id = what;
	lane_job_start(&w->job, &w->end.wake);
}

static int
run(struct work *w, const char *what)
{
	begin(w, what);
	return waited_for(&w->end);
}

/* Until no process of a lane is left. */
static bool
lanes_have_ended(void)
{
	siginfo_t info;

	for (int i = 0; i < 12000; i++) {
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 &&
		    errno == ECHILD)
			return true;
		loop_turn(false);
		(void)usleep(5000);
	}
	return false;
}

static void
test_jobs(void)
{
	struct work a, b, c, d;

	is_int(run(&a, "x"), 0, "a job is done in a lane");
	ok(str_starts(a.job.child, "rbd/") && a.job.nwatchers == 2 &&
		str_eq(a.job.watcher[1], "192.0.2.2:0/8"),
	    "which answers");
	is_int(run(&b, "in use"), -EBUSY, "a job that fails says so");
	is_str(b.job.child, a.job.child, "the lane is used again");
	begin(&b, "x");
	begin(&c, "x");
	begin(&d, "x");
	ok(waited_for(&b.end) == 0 && waited_for(&c.end) == 0 &&
		waited_for(&d.end) == 0,
	    "three jobs at once are done");
	is_int(run(&a, "raves"), -EIO, "an answer that is none is a failure");
	ok(str_starts(a.job.err.text, "librbd: an image id of "),
	    "which says why");
	a = (struct work){ .end = WAITED_INIT };
	a.job.kind = LANE_CREATE;
	a.job.pool = &pool;
	lane_job_start(&a.job, &a.end.wake);
	ok(waited_for(&a.end) < 0 && a.job.err.code == ERR_INTERNAL,
	    "a job without what it is about is none");
	ok(lanes_have_ended(), "idle lanes end");
}

static void
test_ends(void)
{
	struct work a, b;

	is_int(run(&a, "dies"), -EPIPE, "a lane dies over a job");
	is_str(
	    a.job.err.text, "librbd: the lane died over this", "which says so");
	is_int(run(&a, "shut out"), -ESHUTDOWN, "a lane is blocklisted");
	is_int(run(&b, "x"), 0, "the next job is done");
	ok(!str_eq(a.job.child, b.job.child), "by another lane");
	ok(lanes_have_ended(), "they end");
}

static void
test_late(void)
{
	struct work a, b, c;
	int64_t now_ms = clock_now_ms();

	begin(&a, "hangs");
	begin(&b, "hangs");
	begin(&c, "x");
	/* Until both are at it. */
	for (int i = 0; i < 12000 && (a.job.lane == NULL || b.job.lane == NULL);
	     i++) {
		loop_turn(false);
		(void)usleep(5000);
	}
	clock_fake(now_ms + 4 * LANE_JOB_MS);
	ok(waited_for(&a.end) == -ETIME && waited_for(&b.end) == -ETIME,
	    "lanes that hang are late");
	is_str(a.job.err.text,
	    "librbd: rbd/hangs: not done after 60 s: the cluster does not answer",
	    "which names the image");
	is_int(waited_for(&c.end), -ETIME, "and who waits for a lane");
	is_str(c.job.err.text,
	    "librbd: rbd/x: no lane was free after 60 s: the cluster does not answer",
	    "is told something else");
	clock_fake(-1);
	ok(lanes_have_ended(), "late lanes are killed");
	is_int(run(&a, "x"), 0, "the next job is done");
	ok(lanes_have_ended(), "its lane ends");
}

static void
test_no_lane(void)
{
	struct work a;

	hello.user = user_refused;
	ok(run(&a, "x") < 0 && a.job.err.code == ERR_UNAUTHENTICATED,
	    "a lane that cannot connect");
	is_str(a.job.err.text, "librbd: authenticate: key refused",
	    "ends the job with the step");
	hello.user = user_dies;
	ok(run(&a, "x") < 0 && a.job.err.code == ERR_UNAVAILABLE,
	    "a lane that dies while it connects");
	is_str(a.job.err.text, "librbd: a lane died while it connected",
	    "ends the job, too");
	hello.user = user_good;
	is_int(run(&a, "x"), 0, "and the next job is done");
}

int
main(int argc, char **argv)
{
	struct pool_name *name;

	(void)argc;
	if (str_eq(argv[0], "/proc/self/exe"))
		return lane_main();
	name = mem_new(sizeof(*name));
	name->name = str_dup("rbd");
	pool.name = name;
	hello.user = user_good;
	hello.max_lanes = 2;
	hello.lane_idle_ms = 50;
	if (loop_init() < 0)
		return 99;
	lanes_init(&hello);
	test_jobs();
	test_ends();
	test_late();
	test_no_lane();
	lanes_fini();
	loop_fini();
	free(name->name);
	free(name);
	return tap_end();
}
