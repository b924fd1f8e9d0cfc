/*
 * drain.h - the orderly end of the daemon.
 */
#ifndef DAEMON_DRAIN_H
#define DAEMON_DRAIN_H

#include "base/str.h"
#include "rpc/server.h"

/*
 * Takes no new connection, sends the clients away, lets what runs finish, in
 * the workers' background, too, for at most `timeout_ms` in all, then stops the
 * loop. A second call stops it at once.
 */
void drain_begin(struct server *server, int64_t timeout_ms);

bool drain_is_started(void);

/* After the loop: has everything ended by itself? */
bool drain_is_complete(void);

#endif
