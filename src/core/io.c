/*
 * io.c - descriptor watchers over libevent.
 */
#include "core/io.h"

#include "core/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct io *io = arg;
	int ready = 0;

	(void)fd;
	if (what & EV_READ)
		ready |= IO_READ;
	if (what & EV_WRITE)
		ready |= IO_WRITE;
	io->ready(io, ready);
}

/* 0, or -ENOMEM: libevent or the kernel has no memory for it. */
static int
watch(struct io *io, int wants)
{
	short what = EV_PERSIST;

	if (io->wants == wants)
		return 0;
	if (io->wants != 0)
		(void)event_del(io->ev);
	io->wants = wants;
	if (wants == 0)
		return 0;
	if (wants & IO_READ)
		what |= EV_READ;
	if (wants & IO_WRITE)
		what |= EV_WRITE;
	if (event_assign(io->ev, loop_base(), io->fd, what, on_ready, io) < 0 ||
	    event_add(io->ev, NULL) < 0) {
		io->wants = 0;
		return -ENOMEM;
	}
	return 0;
}

void
io_want(struct io *io, int wants)
{
	if (watch(io, wants) < 0) {
		(void)fprintf(stderr, "cannot watch descriptor %d\n", io->fd);
		abort();
	}
}

int
io_try_watch(
    struct io *io, int fd, int wants, void (*ready)(struct io *io, int what))
{
	int rc;

	if (io->ev == NULL)
		io->ev = calloc(1, event_get_struct_event_size());
	if (io->ev == NULL)
		return -ENOMEM;
	io->fd = fd;
	io->wants = 0;
	io->ready = ready;
	rc = watch(io, wants);
	if (rc < 0)
		io_unwatch(io);
	return rc;
}

void
io_watch(
    struct io *io, int fd, int wants, void (*ready)(struct io *io, int what))
{
	if (io_try_watch(io, fd, wants, ready) < 0) {
		(void)fprintf(stderr, "cannot watch descriptor %d\n", fd);
		abort();
	}
}

void
io_unwatch(struct io *io)
{
	if (io->ev == NULL)
		return;
	io_want(io, 0);
	free(io->ev);
	io->ev = NULL;
	io->fd = -1;
}

void
io_close(struct io *io)
{
	int fd = io->fd;

	io_unwatch(io);
	(void)close(fd);
}
