/*
 * controller_run.h - running Controller RPCs on the store of fake_ceph.h.
 */
#ifndef TESTS_CONTROLLER_RUN_H
#define TESTS_CONTROLLER_RUN_H

#include "base/err.h"
#include "tests/op/fake_ceph.h"

#include <stdbool.h>

/* What they know of the daemon; limits may be changed. */
extern struct csi_env env;

/* What the last one has answered. */
extern struct outcome {
	struct err err;
	char volume_id[160];
	bool readied;
	bool again, encrypted; /* of Format */
	char key[64]; /* a user's, of ControllerPublishVolume; of Format */
	/* of ControllerExpandVolume */
	int64_t bytes;
	bool needs_node;
	/* of Audit */
	size_t findings, repaired;
	char token[16];
	char list[400]; /* of lists: "WHAT ...; WHAT ...; " */
} out;

/* Runs it and all that it leaves behind to the end. */
void run(const char *method, const void *request);

/* As a worker that has just started; its end, with the locks given back. */
void begin(void);
void end(const char *what, unsigned n);

/* Runs `step` in a process of its own that the fault may kill; true: it did. */
bool in_child(void (*step)(const char *), const char *arg,
    enum fake_fault fault, unsigned n);

#endif
