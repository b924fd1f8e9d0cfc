/*
 * io.h - readiness of a descriptor. The callback runs inside the poll: it may
 * read, write and post jobs, and may stop or free any watcher, also its own.
 */
#ifndef CORE_IO_H
#define CORE_IO_H

#include "base/str.h"

struct event;

enum {
	IO_READ = 1,
	IO_WRITE = 2,
};

/* Embed it; owns no descriptor. */
struct io {
	int fd;
	int wants; /* IO_READ | IO_WRITE, 0: sleeps */
	void (*ready)(struct io *io, int what);
	struct event *ev;
};

/*
 * Watches `fd` for `wants`; level triggered. Call again to change `wants`.
 * io_unwatch() ends the watch (before the descriptor is closed).
 */
void io_watch(
    struct io *io, int fd, int wants, void (*ready)(struct io *io, int what));

/*
 * The same for a descriptor that a peer made us have: -ENOMEM where io_watch()
 * ends the process, and nothing is watched then.
 */
int io_try_watch(struct io *io, int fd, int wants,
    void (*ready)(struct io *io, int what)) must_check;
void io_want(struct io *io, int wants);
void io_unwatch(struct io *io);

/* Ends the watch and closes the descriptor, for those who own it. */
void io_close(struct io *io);

#endif
