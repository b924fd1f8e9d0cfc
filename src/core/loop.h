/*
 * loop.h - the one event loop of a process: posted work, and the only door
 * through which another thread may hand us something.
 *
 * One batch a turn: work that is posted while a batch runs is run after the
 * next poll, so that no event source starves.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include "base/str.h"

#include <sys/queue.h>

struct event_base;

/* A piece of work to run on the loop's thread; embed it, never allocate it. */
struct job {
	STAILQ_ENTRY(job) link;
	void (*run)(struct job *job);
	uint64_t turn; /* the turn in which it was posted */
	bool late;     /* posted by loop_post_late() */
	bool queued;   /* a queued job must not be posted again or freed */
};

int loop_init(void) must_check; /* 0 or -ENOMEM */
void loop_fini(void);
struct event_base *loop_base(void); /* for core/ only */

void loop_post(struct job *job);        /* on the loop's thread */
void loop_post_remote(struct job *job); /* any thread: librados callbacks */

/*
 * The same as loop_post(), but for the end of the turn, behind the batch that
 * runs: for what is to be done once for all that a batch has done.
 */
void loop_post_late(struct job *job);

/* Takes back a job of our own thread; no effect if it is not queued. */
void loop_unpost(struct job *job);

void loop_run(void); /* until loop_stop() */
void loop_stop(void);

/*
 * One turn: polls (waits when `block`), then runs one batch. For tests and
 * for the start-up of helpers.
 */
void loop_turn(bool block);

#endif
