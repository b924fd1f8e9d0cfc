/*
 * unix_socket.c - the file of a listening unix socket.
 */
#include "core/unix_socket.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/socket.h>

int
unix_socket_address(
    struct sockaddr_un *address, const char *path, struct err *err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (path[0] == '\0')
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "the path of a socket is empty");
	if (str_put(address->sun_path, sizeof(address->sun_path), "%s", path) <
	    0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: the path of a socket is at most %zu bytes", path,
		    sizeof(address->sun_path) - 1);
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

static int
new_socket(struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : err_set_rc(err, -errno, "socket");
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
	fd = new_socket(err);
	if (fd < 0)
		return fd;
	/* EAGAIN: its queue is full, so somebody listens. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
		0 ||
	    errno == EAGAIN)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "socket %s is served by another process", path);
	if (errno != ECONNREFUSED)
		return err_set_rc(err, -errno, "connect %s", path);
	log_info("socket.stale", "path=%s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "unlink %s", path);
	return 0;
}

/* Whose the new file is; until listen() everybody is refused. */
static int
set_file(struct unix_socket *us, const struct unix_socket_file *file,
    struct err *err)
{
	const char *path = us->address.sun_path;
	struct stat st;

	if (file->owner != UNIX_SOCKET_KEEP &&
	    lchown(path, file->owner, UNIX_SOCKET_KEEP) < 0)
		return err_set_rc(
		    err, -errno, "set owner %u of %s", file->owner, path);
	if (file->group != UNIX_SOCKET_KEEP &&
	    lchown(path, UNIX_SOCKET_KEEP, file->group) < 0)
		return err_set_rc(
		    err, -errno, "set group %u of %s", file->group, path);
	if (chmod(path, file->mode) < 0 || lstat(path, &st) < 0)
		return err_set_rc(err, -errno, "chmod %s", path);
	us->dev = st.st_dev;
	us->ino = st.st_ino;
	return 0;
}

int
unix_socket_listen(struct unix_socket *us, const struct unix_socket_file *file,
    int backlog, struct err *err)
{
	const char *path = us->address.sun_path;
	auto_close int lock = lock_directory(path, err);
	auto_close int fd = -1;
	int rc;

	if (lock < 0)
		return lock;
	rc = remove_stale(&us->address, err);
	if (rc < 0)
		return rc;
	fd = new_socket(err);
	if (fd < 0)
		return fd;
	/* The mode of a new file is that of its socket less the umask. */
	if (fchmod(fd, file->mode) < 0 ||
	    bind(fd, (struct sockaddr *)&us->address, sizeof(us->address)) < 0)
		return err_set_rc(err, -errno, "bind %s", path);
	rc = set_file(us, file, err);
	if (rc == 0 && listen(fd, backlog) < 0)
		rc = err_set_rc(err, -errno, "listen on %s", path);
	if (rc < 0) {
		(void)unlink(path);
		return rc;
	}
	return take_fd(&fd);
}

void
unix_socket_remove(const struct unix_socket *us)
{
	struct stat st;

	if (lstat(us->address.sun_path, &st) == 0 && st.st_dev == us->dev &&
	    st.st_ino == us->ino)
		(void)unlink(us->address.sun_path);
}
