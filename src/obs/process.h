/*
 * process.h - what a process uses, by /proc, and the metrics that Prometheus'
 * clients tell of their own one.
 */
#ifndef OBS_PROCESS_H
#define OBS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct process_use {
	unsigned processes;
	uint64_t resident_bytes;
	uint64_t descriptors;
};

/* Adds the process; one that is gone, or not ours to see, adds nothing. */
void process_use_add(struct process_use *use, pid_t pid);

/* Calls `each` for its children, those of its first thread. */
void process_each_child(
    pid_t pid, void (*each)(pid_t child, void *arg), void *arg);

/*
 * Adds CPU time, memory, descriptors, and start of this process, which counts
 * as started now.
 */
void process_metrics_add(void);

#endif
