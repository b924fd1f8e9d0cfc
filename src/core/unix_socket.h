/*
 * unix_socket.h - how a listening unix socket takes its place in the file
 * system, and how it leaves it.
 *
 * The rule that holds it together: a file that somebody listens on is never
 * touched, and nobody can connect before mode and owner are what was asked
 * for.
 */
#ifndef CORE_UNIX_SOCKET_H
#define CORE_UNIX_SOCKET_H

#include "base/err.h"
#include "base/str.h"

#include <sys/stat.h>
#include <sys/un.h>

/* Whose file it is to be. */
struct unix_socket_file {
	mode_t mode;
	uid_t owner; /* UNIX_SOCKET_KEEP: as the process makes it */
	gid_t group; /* the same */
};

#define UNIX_SOCKET_KEEP (~0u)

/* A file of the process' own owner and group. */
#define UNIX_SOCKET_FILE(mode_)                                                \
	(&(const struct unix_socket_file){ .mode = (mode_),                    \
	    .owner = UNIX_SOCKET_KEEP,                                         \
	    .group = UNIX_SOCKET_KEEP })

struct unix_socket {
	struct sockaddr_un address;
	dev_t dev; /* of the file, to remove only our own */
	ino_t ino;
};

/* `path` as an address: 0, or ERR_INVALID_ARGUMENT (empty, too long). */
int unix_socket_address(
    struct sockaddr_un *address, const char *path, struct err *err) must_check;

/*
 * Listens at us->address, which is set. A socket file that nobody listens on
 * is replaced. Returns the descriptor, non-blocking, which the caller owns.
 * ERR_ALREADY_EXISTS: somebody listens, or the file is no socket; else the
 * errno's code, and no file is left behind.
 */
int unix_socket_listen(struct unix_socket *us,
    const struct unix_socket_file *file, int backlog,
    struct err *err) must_check;

/* Removes the file, unless it is somebody else's by now. */
void unix_socket_remove(const struct unix_socket *us);

#endif
