/*
 * worker_hooked.h - the exit status of a worker that was killed (see
 * worker_hooked.c) when other writes were under way beside the one that it was
 * killed at.
 */
#ifndef TESTS_WORKER_HOOKED_H
#define TESTS_WORKER_HOOKED_H

#define KILLED_BESIDE 42

#endif
