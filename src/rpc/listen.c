/*
 * listen.c - the listening socket.
 */
#include "rpc/listen.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
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
	if (path[0] == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "endpoint %s names no path", endpoint);
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (str_put(address->sun_path, sizeof(address->sun_path), "%s", path) <
	    0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "endpoint %s: path of a socket is at most %zu bytes",
		    endpoint, sizeof(address->sun_path) - 1);
	return 0;
}

/*
 * Only one process at a time may look whether the socket file is stale and
 * replace it, so the directory is locked meanwhile: a lock file would be a
 * file too many beside the socket.
 */
static int
lock_directory(const char *socket_path, struct err *err)
{
	auto_free char *copy = str_dup(socket_path);
	const char *dir = dirname(copy);
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set_rc(err, -errno, "open directory %s", dir);
	if (flock(fd, LOCK_EX) < 0)
		return err_set_rc(err, -errno, "lock directory %s", dir);
	return take_fd(&fd);
}

/* Removes a socket file that nobody listens on; refuses anything else. */
static int
remove_stale(const struct sockaddr_un *address, struct err *err)
{
	const char *path = address->sun_path;
	auto_close int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT
		    ? 0
		    : err_set_rc(err, -errno, "stat %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_ALREADY_EXISTS,
		    "%s is in the way and is not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_rc(err, -errno, "socket");
	/* EAGAIN: its queue is full, so somebody listens. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
		0 ||
	    errno == EAGAIN)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "socket %s is served by another process", path);
	if (errno != ECONNREFUSED)
		return err_set_rc(err, -errno, "connect %s", path);
	log_info("rpc.stale_socket", "path=%s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "unlink %s", path);
	return 0;
}

static int
bind_and_listen(int fd, struct listener *ln, mode_t mode, struct err *err)
{
	const char *path = ln->address.sun_path;
	struct stat st;

	/* The mode of the new file: nobody gets in before the chmod. */
	if (fchmod(fd, mode) < 0 ||
	    bind(fd, (struct sockaddr *)&ln->address, sizeof(ln->address)) < 0)
		return err_set_rc(err, -errno, "bind %s", path);
	if (chmod(path, mode) < 0 || lstat(path, &st) < 0)
		return err_set_rc(err, -errno, "chmod %s", path);
	if (listen(fd, BACKLOG) < 0)
		return err_set_rc(err, -errno, "listen on %s", path);
	ln->dev = st.st_dev;
	ln->ino = st.st_ino;
	return 0;
}

static void
pause_accept(struct listener *ln)
{
	ln->paused = true;
	io_want(&ln->io, 0);
}

static void
accept_some(struct listener *ln, int most)
{
	for (int i = 0; i < most && !ln->paused; i++) {
		int fd = accept4(
		    ln->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			ln->starved = false;
			if (!ln->accepted(ln, fd))
				pause_accept(ln);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: let some connections end. */
		if (!ln->starved)
			log_error("rpc.accept", "path=%s error=\"%s\"",
			    ln->address.sun_path, strerror(errno));
		ln->starved = true;
		pause_accept(ln);
		timer_start(&ln->retry, RETRY_MS);
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
listen_start(
    struct listener *ln, const char *endpoint, mode_t mode, struct err *err)
{
	auto_close int lock = -1, fd = -1;
	int rc;

	rc = listen_parse(endpoint, &ln->address, err);
	if (rc < 0)
		return rc;
	lock = lock_directory(ln->address.sun_path, err);
	if (lock < 0)
		return lock;
	rc = remove_stale(&ln->address, err);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_rc(err, -errno, "socket");
	rc = bind_and_listen(fd, ln, mode, err);
	if (rc < 0)
		return rc;
	ln->paused = false;
	ln->retry.fire = on_retry;
	io_start(&ln->io, take_fd(&fd), IO_READ, on_ready);
	return 0;
}

void
listen_resume(struct listener *ln)
{
	if (!ln->paused || ln->io.ev == NULL)
		return;
	ln->paused = false;
	timer_stop(&ln->retry);
	io_want(&ln->io, IO_READ);
}

void
listen_stop(struct listener *ln)
{
	int fd = ln->io.fd;
	struct stat st;

	if (ln->io.ev == NULL)
		return;
	timer_stop(&ln->retry);
	if (lstat(ln->address.sun_path, &st) == 0 && st.st_dev == ln->dev &&
	    st.st_ino == ln->ino)
		(void)unlink(ln->address.sun_path);
	accept_some(ln, BACKLOG);
	io_stop(&ln->io);
	(void)close(fd);
}
