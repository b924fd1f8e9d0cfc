/*
 * fuse.h - the server of /dev/fuse: one directory with a file for each image.
 *
 * The rule that holds it together: it never waits. Everything but reads,
 * writes, flushes and zeroing is answered from memory at once; those go to
 * image_io and are answered when they come back, in any order.
 */
#ifndef ATTACH_FUSE_H
#define ATTACH_FUSE_H

#include "attach/table.h"

/*
 * Buffers of requests that may be held before we stop reading new ones. Not
 * reached by less than 8 images whose queues are all full of large writes.
 */
#define FUSE_HELD_BYTES_MAX (1ULL << 30)

/*
 * Serves `fd` (non-blocking; the mount exists). `ended` is called when the
 * directory has been unmounted and nothing will come any more.
 */
void fuse_serve(int fd, struct table *table, void (*ended)(void));

/*
 * Asks the kernel to send again what a predecessor has read and not answered.
 * Returns 0, or -EINVAL where the kernel cannot (before 6.9).
 */
int fuse_resend(int fd);

/* Stops reading requests: they stay in the kernel's queue. */
void fuse_pause(void);

/*
 * Now and then: gives back the memory of large requests that have not come
 * since the last time.
 */
void fuse_trim(void);

#endif
