/*
 * http.c - the listening socket, and one request on each connection.
 */
#include "obs/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/io.h"
#include "core/timer.h"
#include "obs/http_parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>

#define BACKLOG 16
#define ACCEPT_BATCH 16
#define RETRY_MS 1000   /* after running out of descriptors */
#define LISTEN_MS 10000 /* after the address could not be had */
#define LINGER_MS 1000  /* for the peer to close after its answer */
#define UNIX_PREFIX "unix://"

enum http_state {
	HTTP_READING = 0, /* the request is not whole yet */
	HTTP_WRITING,     /* `out` is to be sent */
	HTTP_LINGERING,   /* all is sent; what still comes is thrown away */
};

struct http_conn {
	struct http *http;
	enum http_state state;
	struct io io;
	struct timer deadline;
	char in[HTTP_HEAD_MAX + 1];
	size_t in_len;
	struct buf out;
	TAILQ_ENTRY(http_conn)
	link;
};

struct http {
	const struct http_route *routes;
	size_t route_count;
	struct io io;
	struct timer retry;
	struct timer again; /* http_serve: until it listens */
	char *wanted;       /* the address as given */
	struct unix_socket_file mode;
	struct err why; /* why it does not listen, as last told */
	bool is_unix;
	struct unix_socket file;
	char address[160];
	TAILQ_HEAD(, http_conn) conns; /* the oldest first */
	size_t conn_count;
};

static void
conn_end(struct http_conn *conn)
{
	timer_disarm(&conn->deadline);
	io_close(&conn->io);
	buf_fini(&conn->out);
	TAILQ_REMOVE(&conn->http->conns, conn, link);
	conn->http->conn_count--;
	free(conn);
}

static void
on_deadline(struct timer *timer)
{
	conn_end(container_of(timer, struct http_conn, deadline));
}

/* ---- answers ------------------------------------------------------------- */

static void
answer(struct http_conn *conn, int status, const char *type,
    const struct buf *body, bool with_body)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	char date[40];
	struct tm tm;
	int rc;

	(void)gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	rc = buf_printf(&conn->out,
	    "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\n"
	    "Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
	    status, http_reason(status), date, type, body->len,
	    status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (rc == 0 && with_body)
		rc = buf_append(&conn->out, body->data, body->len);
	conn->state = HTTP_WRITING;
	io_want(&conn->io, IO_WRITE);
	if (rc < 0) /* no memory: an empty answer is none */
		buf_clear(&conn->out);
}

static const struct http_route *
route_find(const struct http *http, const char *path)
{
	for (size_t i = 0; i < http->route_count; i++)
		if (str_eq(http->routes[i].path, path))
			return &http->routes[i];
	return NULL;
}

/* `status` is that of the request so far. */
static void
respond(struct http_conn *conn, int status, const struct http_head *head)
{
	const struct http_route *route = NULL;
	const char *type = "text/plain; charset=utf-8";
	struct buf body;

	buf_init(&body, HTTP_BODY_MAX);
	if (status == 200) {
		route = route_find(conn->http, head->path);
		status = route != NULL ? route->get(&body) : 404;
	}
	if (route != NULL)
		type = route->type;
	else
		(void)buf_printf(&body, "%s\n", http_reason(status));
	answer(conn, status, type, &body, !head->is_head);
	buf_fini(&body);
}

/* ---- connections --------------------------------------------------------- */

/* The bytes that came, at most `size`; false: the connection has ended. */
static bool
receive(struct http_conn *conn, char *to, size_t size, size_t *got)
{
	ssize_t n = recv(conn->io.fd, to, size, 0);

	*got = n > 0 ? (size_t)n : 0;
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return true;
	conn_end(conn);
	return false;
}

static void
read_request(struct http_conn *conn)
{
	struct http_head head = { .path = NULL };
	size_t got, len;
	int status;

	if (!receive(conn, conn->in + conn->in_len,
		HTTP_HEAD_MAX - conn->in_len, &got))
		return;
	conn->in_len += got;
	len = http_head_len(conn->in, conn->in_len);
	if (len == 0 && conn->in_len < HTTP_HEAD_MAX)
		return;
	status = len > 0 ? http_head_parse(conn->in, len, &head) : 431;
	respond(conn, status, &head);
}

static void
write_answer(struct http_conn *conn)
{
	ssize_t n = send(
	    conn->io.fd, conn->out.data, conn->out.len, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		conn_end(conn);
		return;
	}
	buf_consume(&conn->out, (size_t)n);
	if (conn->out.len > 0)
		return;
	/* To close with bytes unread would take the answer back. */
	buf_fini(&conn->out);
	(void)shutdown(conn->io.fd, SHUT_WR);
	conn->state = HTTP_LINGERING;
	io_want(&conn->io, IO_READ);
	timer_arm(&conn->deadline, LINGER_MS);
}

static void
on_conn_ready(struct io *io, int what)
{
	struct http_conn *conn = container_of(io, struct http_conn, io);
	size_t got;

	(void)what;
	switch (conn->state) {
	case HTTP_READING:
		read_request(conn);
		return;
	case HTTP_WRITING:
		write_answer(conn);
		return;
	case HTTP_LINGERING:
		(void)receive(conn, conn->in, HTTP_HEAD_MAX, &got);
		return;
	}
}

static void
conn_start(struct http *http, int fd)
{
	struct http_conn *conn;

	if (http->conn_count >= HTTP_CONNECTIONS_MAX)
		conn_end(TAILQ_FIRST(&http->conns));
	conn = mem_new(sizeof(*conn));
	conn->http = http;
	buf_init(&conn->out, HTTP_BODY_MAX + HTTP_HEAD_MAX);
	conn->deadline.fire = on_deadline;
	timer_arm(&conn->deadline, HTTP_DEADLINE_MS);
	TAILQ_INSERT_TAIL(&http->conns, conn, link);
	http->conn_count++;
	io_watch(&conn->io, fd, IO_READ, on_conn_ready);
}

static void
on_retry(struct timer *timer)
{
	io_want(&container_of(timer, struct http, retry)->io, IO_READ);
}

static void
on_accept(struct io *io, int what)
{
	struct http *http = container_of(io, struct http, io);

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(
		    io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			conn_start(http, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		log_warn("http.accept", "address=%s error=\"%s\"",
		    http->address, strerror(errno));
		io_want(io, 0);
		timer_arm(&http->retry, RETRY_MS);
		return;
	}
}

/* ---- the listening socket ------------------------------------------------ */

static bool
host_is_good(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return *host == '\0' || inet_pton(AF_INET, host, address) == 1 ||
	    inet_pton(AF_INET6, host, address) == 1;
}

/*
 * "host:port" in two, the host without brackets. Names are not looked up:
 * that blocks. But everybody knows where localhost is.
 */
static int
split(const char *address, char *host, size_t size, const char **port,
    struct err *err)
{
	const char *colon = strrchr(address, ':'), *from = address;
	size_t len = colon != NULL ? (size_t)(colon - address) : 0;
	uint64_t number;

	if (colon == NULL || str_to_u64(colon + 1, &number) < 0 ||
	    number > 65535)
		goto bad;
	*port = colon + 1;
	if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
		from++;
		len -= 2;
	} else if (memchr(from, ':', len) != NULL) {
		goto bad; /* IPv6 without brackets */
	}
	if (str_put(host, size, "%.*s", (int)len, from) < 0)
		goto bad;
	if (str_eq(host, "localhost"))
		return str_put(host, size, "127.0.0.1");
	if (host_is_good(host))
		return 0;
bad:
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "%s is not address:port (127.0.0.1:9809, [::1]:9809, :9809) or "
	    "unix:///path",
	    address);
}

int
http_address_check(const char *address, struct err *err)
{
	struct sockaddr_un un;
	const char *port;
	char host[100];

	if (str_starts(address, UNIX_PREFIX "/"))
		return unix_socket_address(
		    &un, address + strlen(UNIX_PREFIX), err);
	return split(address, host, sizeof(host), &port, err);
}

static int
listen_one(const struct addrinfo *ai)
{
	int one = 1, zero = 0, rc;
	auto_close int fd = socket(
	    ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6) /* "::" takes both */
		(void)setsockopt(
		    fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		rc = -errno;
		return rc;
	}
	return take_fd(&fd);
}

static int
listen_at(const char *host, const char *port, struct err *err)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	int rc = getaddrinfo(host, port, &hints, &list);

	if (rc != 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "host %s: %s", host,
		    gai_strerror(rc));
	rc = -EADDRNOTAVAIL;
	for (ai = list; ai != NULL && rc < 0; ai = ai->ai_next)
		rc = listen_one(ai);
	freeaddrinfo(list);
	return rc >= 0 ? rc : err_set_rc(err, rc, "listen on port %s", port);
}

/* The name of a listening TCP socket, as one would type it. */
static void
put_address(int fd, char *out, size_t size)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);
	char host[100] = "", port[16] = "";

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		(void)getnameinfo((struct sockaddr *)&ss, len, host,
		    sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	(void)snprintf(out, size,
	    ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int
listen_tcp(struct http *http, const char *address, struct err *err)
{
	const char *port = "";
	char host[100] = "";
	int fd = split(address, host, sizeof(host), &port, err);

	if (fd < 0)
		return fd;
	if (*host != '\0') {
		fd = listen_at(host, port, err);
	} else {
		fd = listen_at("::", port, NULL);
		if (fd < 0) /* a kernel without IPv6 */
			fd = listen_at("0.0.0.0", port, err);
	}
	if (fd >= 0)
		put_address(fd, http->address, sizeof(http->address));
	return fd;
}

static int
listen_unix(struct http *http, const char *path, struct err *err)
{
	int rc = unix_socket_address(&http->file.address, path, err);

	if (rc == 0)
		rc = unix_socket_listen(&http->file, &http->mode, BACKLOG, err);
	http->is_unix = rc >= 0;
	if (rc >= 0)
		(void)snprintf(http->address, sizeof(http->address),
		    "unix://%s", http->file.address.sun_path);
	return rc;
}

static int
http_listen(struct http *http, struct err *err)
{
	const char *address = http->wanted;
	int fd = str_starts(address, UNIX_PREFIX)
	    ? listen_unix(http, address + strlen(UNIX_PREFIX), err)
	    : listen_tcp(http, address, err);

	if (fd >= 0)
		io_watch(&http->io, fd, IO_READ, on_accept);
	return fd < 0 ? fd : 0;
}

static void
http_wait(struct http *http, const struct err *err)
{
	if (!str_eq(err->text, http->why.text))
		log_warn("metrics.unavailable",
		    "address=%s retry_ms=%d text=%s", http->wanted, LISTEN_MS,
		    err->text);
	http->why = *err;
	timer_arm(&http->again, LISTEN_MS);
}

static void
on_again(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, again);
	struct err err = ERR_INIT;

	if (http_listen(http, &err) == 0)
		log_info("metrics.listen", "address=%s", http->address);
	else
		http_wait(http, &err);
}

static struct http *
http_make(const char *address, const struct unix_socket_file *file,
    const struct http_route *routes, size_t route_count)
{
	struct http *http = mem_new(sizeof(*http));

	TAILQ_INIT(&http->conns);
	http->routes = routes;
	http->route_count = route_count;
	http->wanted = str_dup(address);
	http->mode = *file;
	http->retry.fire = on_retry;
	http->again.fire = on_again;
	return http;
}

struct http *
http_new(const char *address, const struct unix_socket_file *file,
    const struct http_route *routes, size_t route_count, struct err *err)
{
	struct http *http;

	if (http_address_check(address, err) < 0)
		return NULL;
	http = http_make(address, file, routes, route_count);
	if (http_listen(http, err) < 0) {
		http_free(http);
		return NULL;
	}
	return http;
}

struct http *
http_serve(const char *address, const struct unix_socket_file *file,
    const struct http_route *routes, size_t route_count, struct err *err)
{
	struct http *http;
	int rc = http_address_check(address, err);

	if (rc < 0)
		return NULL;
	http = http_make(address, file, routes, route_count);
	rc = http_listen(http, err);
	if (rc == 0) {
		log_info("metrics.listen", "address=%s", http->address);
	} else if (rc == -EADDRINUSE || rc == -EADDRNOTAVAIL) {
		http_wait(http, err);
	} else {
		http_free(http);
		http = NULL;
	}
	return http;
}

void
http_free(struct http *http)
{
	struct http_conn *conn, *next;

	if (http == NULL)
		return;
	if (http->is_unix)
		unix_socket_remove(&http->file);
	timer_disarm(&http->retry);
	timer_disarm(&http->again);
	if (http->io.ev != NULL)
		io_close(&http->io);
	for (conn = TAILQ_FIRST(&http->conns); conn != NULL; conn = next) {
		next = TAILQ_NEXT(conn, link);
		conn_end(conn);
	}
	free(http->wanted);
	free(http);
}

const char *
http_address(const struct http *http)
{
	return http->address;
}
