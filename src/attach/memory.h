/*
 * memory.h - whether I/O can be served under a memory limit.
 *
 * The rule that holds it together: this process writes back the node's dirty
 * pages. In a memory cgroup of version 1 any allocation at the limit, our own
 * and the kernel's for our system calls, may wait until such a page is
 * written, and so for ourselves, for ever. The kernel spares a process with
 * PR_SET_IO_FLUSHER that, which needs CAP_SYS_RESOURCE. Version 2 lets who
 * dirties pages wait, not who reclaims them; there a limit that is too low
 * ends in the OOM killer, as under version 1 with PR_SET_IO_FLUSHER.
 */
#ifndef ATTACH_MEMORY_H
#define ATTACH_MEMORY_H

#include "base/err.h"
#include "base/str.h"

struct memory_limit {
	uint64_t bytes; /* the tightest one above us; UINT64_MAX: none */
	uint64_t used;  /* of it, by processes */
	bool version_1; /* of the cgroup */
};

/*
 * Of this process; none if it cannot be told. `root` is "" but in tests. Half
 * of the node's memory and more is no limit: before dirty pages fill it the
 * kernel stops who makes them (vm.dirty_ratio is 20 %).
 */
void memory_look(const char *root, struct memory_limit *limit);

/* Whether so little is left that the OOM killer is likely. Pure. */
bool memory_is_short(const struct memory_limit *limit);

/*
 * Whether images may be attached; `flusher`: we are an I/O flusher.
 * FAILED_PRECONDITION with the limit and the remedy. Pure.
 */
int memory_check(
    const struct memory_limit *limit, bool flusher, struct err *err) must_check;

/*
 * Maps `bytes` whose pages are all there, for munmap(). A process that is
 * killed while a page comes into being under its read(2) of a request makes
 * that request fail with EIO (Linux: fuse_dev_do_read()). MAP_POPULATE does
 * nothing where memory is locked by MCL_ONFAULT (populate_vma_page_range()).
 * MAP_FAILED: no memory.
 */
void *memory_map(size_t bytes);

/*
 * Lets go of the pages of programs and libraries that only the start has used:
 * mlockall() keeps what was touched once. What is needed comes back from the
 * page cache and is kept again. No page that was ever written is concerned.
 */
void memory_drop_unused(void);

#endif
