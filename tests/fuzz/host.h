/*
 * host.h - a server with a few connections over socketpairs, for the fuzz
 * targets that play its clients.
 */
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include "rpc/server.h"
#include "tests/fuzz/wire.h"

#define HOST_CONNS 3 /* as many as the server takes */

struct host_conn {
	int fd;    /* -1: not open */
	bool deaf; /* does not read for now */
	bool over; /* the server has closed */
	struct wire wire;
};

struct host {
	struct server *server;
	struct host_conn conn[HOST_CONNS];
	struct wake drain;
	int64_t now_ms; /* the fake clock */
	bool draining;
	bool drained;
};

/* The loop and the services, once; a server with narrow limits each time. */
void host_start(struct host *host);

void host_open(struct host *host, struct host_conn *conn);
void host_send(
    struct host *host, struct host_conn *conn, const void *bytes, size_t len);
void host_close(struct host_conn *conn);
void host_wait(struct host *host, int64_t ms); /* time passes */
void host_drain(struct host *host);

/* Until nothing moves any more. */
void host_run(struct host *host);

/*
 * The connections go, and nothing may be left of them: no call, no byte. Then
 * a new client is served, unless the server drains: then it has drained.
 * `hard`: the server ends first.
 */
void host_end(struct host *host, bool hard);

#endif
