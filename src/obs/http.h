/*
 * http.h - a small HTTP/1.1 server for those who scrape and probe.
 *
 * The rule that holds it together: a connection is one request, has one
 * deadline whatever the peer does, and there are only so many of them; the
 * oldest one goes for a new one. docs/OURS.md tells why no library does it.
 */
#ifndef OBS_HTTP_H
#define OBS_HTTP_H

#include "base/buf.h"
#include "core/unix_socket.h"

#define HTTP_CONNECTIONS_MAX 32
#define HTTP_HEAD_MAX 8192              /* bytes of a request; more: 431 */
#define HTTP_DEADLINE_MS 10000          /* from the connection to its end */
#define HTTP_BODY_MAX ((size_t)4 << 20) /* of an answer; more: 500 */

struct http_route {
	const char *path;
	const char *type; /* of the body */
	/* Fills the body and returns the status: 200, 500 or 503. */
	int (*get)(struct buf *body);
};

struct http;

/* Is this "address:port" or "unix:///path"? 0 or ERR_INVALID_ARGUMENT. */
int http_address_check(const char *address, struct err *err) must_check;

/*
 * Listens on `address`: "127.0.0.1:9809", "[::1]:9809", ":9809" (everywhere)
 * or "unix:///run/metrics.sock", which is made as `file` says; port 0 is any
 * free one. Answers GET and HEAD of the routes, which must live as long. A
 * port that somebody else has now, or an address that this host does not have
 * yet, is a warning and tried again every 10 s: those who are served otherwise
 * must not suffer for it. NULL with `err` for the rest: as
 * http_address_check(), unix_socket_listen(), or the errno's.
 */
struct http *http_serve(const char *address,
    const struct unix_socket_file *file, const struct http_route *routes,
    size_t route_count, struct err *err);

/*
 * From now on by TLS only, with the certificate and key of a directory: as
 * tls_new(). A request in the clear is answered 400.
 */
int http_use_tls(
    struct http *http, const char *dir, struct err *err) must_check;

void http_free(struct http *http);

/* Where it listens, with the port it has: "127.0.0.1:43210"; "" if nowhere. */
const char *http_address(const struct http *http);

#endif
