/*
 * loop.c - libevent polls; what is ready is collected in a list of jobs and
 * run after the poll, never inside the code that made it ready.
 */
#include "core/loop.h"

#include "core/timer.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sys/eventfd.h>

STAILQ_HEAD(job_list, job);

static struct {
	struct event_base *base;
	struct event *wake_ev;
	int wake_fd;
	bool stopping;
	uint64_t turn;
	pthread_t thread;
	struct job_list ready;       /* loop's thread only */
	struct job_list late;        /* for the end of the batch */
	pthread_mutex_t remote_lock; /* guards remote, and nothing else */
	struct job_list remote;
} lp = { .wake_fd = -1 };

static void
on_remote(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	(void)arg;
	if (read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return;
	pthread_mutex_lock(&lp.remote_lock);
	STAILQ_CONCAT(&lp.ready, &lp.remote);
	pthread_mutex_unlock(&lp.remote_lock);
}

int
loop_init(void)
{
	struct event_config *config = event_config_new();

	if (config == NULL)
		return -ENOMEM;
	(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	lp.base = event_base_new_with_config(config);
	event_config_free(config);
	lp.thread = pthread_self();
	lp.stopping = false;
	STAILQ_INIT(&lp.ready);
	STAILQ_INIT(&lp.late);
	STAILQ_INIT(&lp.remote);
	pthread_mutex_init(&lp.remote_lock, NULL);
	lp.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lp.base == NULL || lp.wake_fd < 0)
		return -ENOMEM;
	lp.wake_ev = event_new(
	    lp.base, lp.wake_fd, EV_READ | EV_PERSIST, on_remote, NULL);
	if (lp.wake_ev == NULL || event_add(lp.wake_ev, NULL) < 0)
		return -ENOMEM;
	return timer_init(lp.base);
}

void
loop_fini(void)
{
	timer_fini();
	event_free(lp.wake_ev);
	event_base_free(lp.base);
	(void)close(lp.wake_fd);
	pthread_mutex_destroy(&lp.remote_lock);
	lp.base = NULL;
	lp.wake_fd = -1;
}

struct event_base *
loop_base(void)
{
	return lp.base;
}

void
loop_post(struct job *job)
{
	assert(pthread_equal(lp.thread, pthread_self()));
	assert(!job->queued);
	job->queued = true;
	job->turn = lp.turn;
	STAILQ_INSERT_TAIL(&lp.ready, job, link);
}

void
loop_post_late(struct job *job)
{
	assert(pthread_equal(lp.thread, pthread_self()));
	assert(!job->queued);
	job->queued = job->late = true;
	job->turn = lp.turn;
	STAILQ_INSERT_TAIL(&lp.late, job, link);
}

void
loop_post_remote(struct job *job)
{
	uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&lp.remote_lock);
	assert(!job->queued);
	job->queued = true;
	job->turn = 0;
	first = STAILQ_EMPTY(&lp.remote);
	STAILQ_INSERT_TAIL(&lp.remote, job, link);
	pthread_mutex_unlock(&lp.remote_lock);
	if (first)
		(void)!write(lp.wake_fd, &one, sizeof(one));
}

void
loop_unpost(struct job *job)
{
	if (!job->queued)
		return;
	STAILQ_REMOVE(job->late ? &lp.late : &lp.ready, job, job, link);
	job->queued = job->late = false;
}

/* Runs what was posted before now; what is posted meanwhile waits. */
static void
run_batch(struct job_list *jobs)
{
	struct job *job;

	lp.turn++;
	while ((job = STAILQ_FIRST(jobs)) != NULL && job->turn < lp.turn) {
		STAILQ_REMOVE_HEAD(jobs, link);
		job->queued = job->late = false;
		job->run(job);
	}
}

void
loop_turn(bool block)
{
	timer_next();
	(void)event_base_loop(lp.base,
	    block && STAILQ_EMPTY(&lp.ready) && STAILQ_EMPTY(&lp.late)
		? EVLOOP_ONCE
		: EVLOOP_ONCE | EVLOOP_NONBLOCK);
	timer_run_due();

	run_batch(&lp.ready);
	run_batch(&lp.late);
}

void
loop_run(void)
{
	while (!lp.stopping)
		loop_turn(true);
	lp.stopping = false;
}

void
loop_stop(void)
{
	lp.stopping = true;
}
