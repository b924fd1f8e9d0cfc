/*
 * listen.h - a listening unix socket: new connections in batches.
 */
#ifndef RPC_LISTEN_H
#define RPC_LISTEN_H

#include "base/err.h"
#include "core/io.h"
#include "core/timer.h"
#include "core/unix_socket.h"

struct listener {
	struct io io;
	struct timer retry; /* while there is no room, or no descriptor */
	struct unix_socket file;
	/*
	 * Asked when somebody wants to connect: how many may. 0: none; asked
	 * again by listen_resume(), and after a while by itself.
	 */
	size_t (*room)(struct listener *listener);
	/* Gets each new connection, non-blocking. */
	void (*accepted)(struct listener *listener, int fd);
	bool paused;
	bool starved; /* out of descriptors, which is logged once */
};

/*
 * The path in "unix:///path", "unix:/path", "unix:relative" or "/path" as an
 * address. Returns 0 or ERR_INVALID_ARGUMENT.
 */
int listen_parse(const char *endpoint, struct sockaddr_un *address,
    struct err *err) must_check;

/*
 * Listens; both callbacks must be set. Errors are those of
 * listen_parse() and unix_socket_listen().
 */
int listen_open(struct listener *listener, const char *endpoint,
    const struct unix_socket_file *file, struct err *err) must_check;

void listen_resume(struct listener *listener);

/*
 * Takes what is in the queue already, stops, and removes the socket file
 * unless it is somebody else's by now. No effect if not listening.
 */
void listen_stop(struct listener *listener);

#endif
