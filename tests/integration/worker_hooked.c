/*
 * worker_hooked.c - linked into a ceph-worker of its own: kills it in front of
 * the n-th write to the cluster, of which a job of a lane counts as one, when
 * all before that have landed. The program that users have knows nothing of
 * this.
 *
 *	RBD_CSI_TEST_KILL_AT=n        the write
 *	RBD_CSI_TEST_KILL_BESIDE=1    those that are sent beside it land as well,
 *	                              it alone is missing
 *	RBD_CSI_TEST_KILL_PARENT=1    the process that has started it dies, too
 *	RBD_CSI_TEST_FAIL_AT=n        that write is not done, and fails
 *	RBD_CSI_TEST_FAIL_AGAIN=n     the n-th after that fails, too
 *	RBD_CSI_TEST_STOP=1           before that the process stops (SIGSTOP)
 *
 * Ids of snapshots are no writes: what is left of them is a gap between numbers.
 */
#include "tests/integration/worker_hooked.h"
#include "controller/lane.h"
#include "core/loop.h"

#include <rados/librados.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* What starts side by side is sent within so many turns of the loop. */
#define TURNS 30
#define POOLS_MAX 8

static uint64_t left;   /* writes until then; 0: nobody is to be killed */
static unsigned beside; /* writes that were kept back, or sent, beside it */
static unsigned turns;  /* since it was kept back */
static bool is_parents; /* RBD_CSI_TEST_KILL_PARENT */
static bool is_missing; /* RBD_CSI_TEST_KILL_BESIDE */
static uint64_t fails;  /* writes until one that fails, itself included */
static uint64_t again;  /* and after that until another one */
static bool is_stopped; /* RBD_CSI_TEST_STOP */
static rados_ioctx_t pools[POOLS_MAX];

int __real_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime,
    int flags);
int __wrap_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime,
    int flags);
void __real_lane_job_start(struct lane_job *job, struct wake *waiter);
void __wrap_lane_job_start(struct lane_job *job, struct wake *waiter);

static void
on_turn(struct job *job)
{
	if (turns++ < TURNS) {
		loop_post(job);
		return;
	}
	for (size_t i = 0; i < POOLS_MAX && pools[i] != NULL; i++)
		(void)rados_aio_flush(pools[i]);
	if (is_parents)
		(void)kill(getppid(), SIGKILL);
	if (beside > 0)
		_exit(KILLED_BESIDE);
	(void)kill(getpid(), SIGKILL);
}

/* Whether one more write is to be sent; `where` is for people. */
static bool
is_sent(const char *where)
{
	static struct job job = { .run = on_turn };

	if (left == 0)
		return true;
	if (turns > 0 || job.queued) {
		beside++;
		return is_missing;
	}
	if (left > 1) {
		left--;
		return true;
	}
	fprintf(stderr, "# killed in front of %s\n", where);
	loop_post(&job);
	return false;
}

/* What makes no sense is refused with -EINVAL, and nothing of it is done. */
static int
fail(rados_ioctx_t io, rados_completion_t completion, const char *object)
{
	rados_write_op_t op = rados_create_write_op();
	int prval, rc;

	fprintf(stderr, "# fails: %s\n", object);
	if (is_stopped)
		(void)raise(SIGSTOP);
	rados_write_op_exec(op, "rbd", "set_id", "", 0, &prval); /* no id */
	rc = __real_rados_aio_write_op_operate(
	    op, io, completion, object, NULL, LIBRADOS_OPERATION_NOFLAG);
	rados_release_write_op(op);
	return rc;
}

int
__wrap_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime, int flags)
{
	for (size_t i = 0; i < POOLS_MAX && pools[i] != io; i++)
		if (pools[i] == NULL)
			pools[i] = io;
	if (!is_sent(object))
		return 0; /* and is never answered */
	if (fails > 0 && --fails == 0) {
		fails = again;
		again = 0;
		return fail(io, completion, object);
	}
	return __real_rados_aio_write_op_operate(
	    op, io, completion, object, mtime, flags);
}

void
__wrap_lane_job_start(struct lane_job *job, struct wake *waiter)
{
	if (is_sent("a job of a lane"))
		__real_lane_job_start(job, waiter);
}

__attribute__((constructor)) static void
install_hook(void)
{
	const char *at = getenv("RBD_CSI_TEST_KILL_AT");
	const char *fail_at = getenv("RBD_CSI_TEST_FAIL_AT");
	const char *fail_again = getenv("RBD_CSI_TEST_FAIL_AGAIN");

	if (at == NULL || str_to_u64(at, &left) < 0)
		left = 0;
	if (fail_at == NULL || str_to_u64(fail_at, &fails) < 0)
		fails = 0;
	if (fail_again == NULL || str_to_u64(fail_again, &again) < 0)
		again = 0;
	is_stopped = getenv("RBD_CSI_TEST_STOP") != NULL;
	is_missing = getenv("RBD_CSI_TEST_KILL_BESIDE") != NULL;
	is_parents = getenv("RBD_CSI_TEST_KILL_PARENT") != NULL;
}
