/*
 * lanes.h - the worker's side of its lanes: processes of the same program,
 * started when a job waits, ended when idle, each with one job at a time.
 */
#ifndef WORKER_LANES_H
#define WORKER_LANES_H

#include "worker/session.h"

/* The session must outlive the lanes. */
void lanes_init(const struct session *session);
void lanes_fini(void); /* lets go of all; no job may wait */

#endif
