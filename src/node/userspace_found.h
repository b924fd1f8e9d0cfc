/*
 * userspace_found.h - a rbd-attachd that an earlier rbd-csid has started: how
 * to reach it, and its descriptors without its help.
 */
#ifndef NODE_USERSPACE_FOUND_H
#define NODE_USERSPACE_FOUND_H

#include "base/str.h"

#include <sys/types.h>

/* Connects to DIR/sock, without waiting. The descriptor or a negative errno. */
int found_connect(const char *dir);

/*
 * The process that serves the session in `dir`: the peer of `fd`; without one
 * (negative) it is looked for among all processes, as it may not listen yet.
 * 0 or less: there is none.
 */
pid_t found_pid(const char *dir, int fd);

/*
 * Copies of its /dev/fuse and its image table, for which it need not do
 * anything. Needs Linux 5.6 and CAP_SYS_PTRACE. 0 or a negative errno.
 */
int found_descriptors(int pidfd, int fds[2]) must_check;

#endif
