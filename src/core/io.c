/*
 * io.c - descriptor watchers over libevent.
 */
#include "core/io.h"

#include "core/loop.h"

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

void
io_want(struct io *io, int wants)
{
	short what = EV_PERSIST;

	if (io->wants == wants)
		return;
	if (io->wants != 0)
		(void)event_del(io->ev);
	io->wants = wants;
	if (wants == 0)
		return;
	if (wants & IO_READ)
		what |= EV_READ;
	if (wants & IO_WRITE)
		what |= EV_WRITE;
	if (event_assign(io->ev, loop_base(), io->fd, what, on_ready, io) < 0 ||
	    event_add(io->ev, NULL) < 0) {
		(void)fprintf(stderr, "cannot watch descriptor %d\n", io->fd);
		abort();
	}
}

void
io_start(
    struct io *io, int fd, int wants, void (*ready)(struct io *io, int what))
{
	if (io->ev == NULL)
		io->ev = mem_new(event_get_struct_event_size());
	io->fd = fd;
	io->wants = 0;
	io->ready = ready;
	io_want(io, wants);
}

void
io_stop(struct io *io)
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

	io_stop(io);
	(void)close(fd);
}
