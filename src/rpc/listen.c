/*
 * listen.c - the listening socket.
 */
#include "rpc/listen.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 4096    /* the kernel cuts it to net.core.somaxconn */
#define ACCEPT_BATCH 64 /* then those who are connected get their turn */
#define RETRY_MS 100

int
listen_parse(const char *endpoint, struct sockaddr_un *address, struct err *err)
{
	const char *path = endpoint;

	if (str_starts(path, "unix://"))
		path += strlen("unix://");
	else if (str_starts(path, "unix:"))
		path += strlen("unix:");
	else if (strstr(path, "://") != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "endpoint %s is not a unix socket", endpoint);
	if (unix_socket_address(address, path, err) < 0) {
		err_prefix(err, "endpoint %s", endpoint);
		return -EINVAL;
	}
	return 0;
}

static void
pause_accept(struct listener *ln)
{
	ln->paused = true;
	io_want(&ln->io, 0);
	timer_arm(&ln->retry, RETRY_MS);
}

static void
accept_some(struct listener *ln, size_t most)
{
	size_t room = ln->room(ln);

	if (room == 0)
		pause_accept(ln);
	if (most > room)
		most = room;
	for (size_t i = 0; i < most && !ln->paused; i++) {
		int fd = accept4(
		    ln->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			ln->starved = false;
			ln->accepted(ln, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: let some connections end. */
		if (!ln->starved)
			log_error("rpc.accept", "path=%s error=\"%s\"",
			    ln->file.address.sun_path, strerror(errno));
		ln->starved = true;
		pause_accept(ln);
	}
}

static void
on_ready(struct io *io, int what)
{
	(void)what;
	accept_some(container_of(io, struct listener, io), ACCEPT_BATCH);
}

static void
on_retry(struct timer *timer)
{
	listen_resume(container_of(timer, struct listener, retry));
}

int
listen_open(struct listener *ln, const char *endpoint,
    const struct unix_socket_file *file, struct err *err)
{
	int rc = listen_parse(endpoint, &ln->file.address, err), fd;

	if (rc < 0)
		return rc;
	fd = unix_socket_listen(&ln->file, file, BACKLOG, err);
	if (fd < 0)
		return fd;
	ln->paused = false;
	ln->retry.fire = on_retry;
	io_watch(&ln->io, fd, IO_READ, on_ready);
	return 0;
}

void
listen_resume(struct listener *ln)
{
	if (!ln->paused || ln->io.ev == NULL)
		return;
	ln->paused = false;
	timer_disarm(&ln->retry);
	io_want(&ln->io, IO_READ);
}

void
listen_stop(struct listener *ln)
{
	int fd = ln->io.fd;

	if (ln->io.ev == NULL)
		return;
	timer_disarm(&ln->retry);
	unix_socket_remove(&ln->file);
	accept_some(ln, BACKLOG);
	io_unwatch(&ln->io);
	(void)close(fd);
}
