/*
 * http.c - the listening socket, and one request on each connection.
 */
#include "obs/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/io.h"
#include "core/timer.h"
#include "obs/tls.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
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
	struct ssl_st *tls; /* NULL: without, or not any more */
	struct timer deadline;
	char in[HTTP_HEAD_MAX + 1];
	size_t in_len;
	struct buf out;
	TAILQ_ENTRY(http_conn) link;
};

struct http {
	const struct http_route *routes;
	size_t route_count;
	struct io io;
	struct timer retry; /* of accept(), or of listening */
	char *wanted;       /* the address as given */
	struct unix_socket_file mode;
	struct err why;  /* why it does not listen, as last told */
	struct tls *tls; /* NULL: without */
	bool is_unix;
	struct unix_socket file;
	char address[160];
	TAILQ_HEAD(, http_conn) conns; /* the oldest first */
	size_t conn_count;
};

/* ---- the head of a request, as RFC 9112 has it as far as a GET needs ------ */

struct http_head {
	bool is_head; /* HEAD: the answer has no body */
	char *path;   /* in the bytes, without query */
};

static const struct {
	int status;
	const char *reason;
} reasons[] = { { 200, "OK" }, { 400, "Bad Request" }, { 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" }, { 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" } };

/*
 * The length of a head with its empty line; 0: there is more to come. Lines may
 * end with LF alone, which RFC 9112 2.2 allows a server to take.
 */
static size_t
head_len(const char *bytes, size_t len)
{
	size_t line = 0; /* where it begins */

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n')
			continue;
		if (line > 0 &&
		    (i == line || (i == line + 1 && bytes[line] == '\r')))
			return i + 1;
		line = i + 1;
	}
	return 0;
}

/* Cuts the next line off *at, without its end; NULL if a NUL is in it. */
static char *
next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	if (end == NULL)
		return NULL;
	*at = end + 1;
	if (end > line && end[-1] == '\r')
		end--;
	*end = '\0';
	return line;
}

static bool
is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    (text[i] == '\0' ||
			strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
			return false;
	return len > 0;
}

/* 200 or the status to answer: 400, 405, 505; *minor of "HTTP/1.minor". */
static int
parse_request_line(char *line, struct http_head *head, int *minor)
{
	char *target = strchr(line, ' ');
	char *version = target != NULL ? strchr(target + 1, ' ') : NULL;

	if (version == NULL || !is_token(line, (size_t)(target - line)))
		return 400;
	*target++ = '\0';
	*version++ = '\0';
	if (!str_starts(version, "HTTP/") ||
	    !isdigit((unsigned char)version[5]) || version[6] != '.' ||
	    !isdigit((unsigned char)version[7]) || version[8] != '\0')
		return 400;
	if (version[5] != '1')
		return 505;
	*minor = version[7] - '0';
	/* "/path?query", or a whole URL, as a proxy is sent it. */
	if (str_starts(target, "http://"))
		target = strchr(target + strlen("http://"), '/');
	if (target == NULL || *target != '/')
		return 400;
	target[strcspn(target, "?#")] = '\0';
	head->path = target;
	head->is_head = str_eq(line, "HEAD");
	return head->is_head || str_eq(line, "GET") ? 200 : 405;
}

/*
 * Takes a whole head apart, in place: `bytes` has room for a NUL at its end.
 * Returns 200 or the status to answer.
 */
static int
parse_head(char *bytes, size_t len, struct http_head *head)
{
	unsigned hosts = 0;
	int minor = 0, status;
	char *at = bytes, *line;

	bytes[len] = '\0';
	line = next_line(&at);
	if (line == NULL)
		return 400;
	status = parse_request_line(line, head, &minor);
	if (status == 400 || status == 505)
		return status;
	while ((line = next_line(&at)) != NULL && *line != '\0') {
		size_t name = strcspn(line, ":");

		if (line[name] != ':' || !is_token(line, name))
			return 400;
		hosts += name == 4 && strncasecmp(line, "host", 4) == 0;
	}
	if (line == NULL || at != bytes + len || hosts > 1 ||
	    (hosts == 0 && minor >= 1))
		return 400;
	return status;
}

/* ---- connections --------------------------------------------------------- */

static void
http_end(struct http_conn *conn)
{
	timer_disarm(&conn->deadline);
	if (conn->tls != NULL)
		tls_close(conn->tls);
	io_close(&conn->io);
	buf_fini(&conn->out);
	TAILQ_REMOVE(&conn->http->conns, conn, link);
	conn->http->conn_count--;
	free(conn);
}

static void
http_on_deadline(struct timer *timer)
{
	http_end(container_of(timer, struct http_conn, deadline));
}

/* Bytes, 0 at the end, or a negative errno; waits for what -EAGAIN lacks. */
static ssize_t
conn_recv(struct http_conn *conn, void *to, size_t len)
{
	int wants = IO_READ;
	ssize_t n;

	if (conn->tls != NULL)
		n = tls_recv(conn->tls, to, len, &wants);
	else if ((n = recv(conn->io.fd, to, len, 0)) < 0)
		n = errno == EINTR ? -EAGAIN : -errno;
	if (n == -EAGAIN)
		io_want(&conn->io, wants);
	return n;
}

static ssize_t
conn_send(struct http_conn *conn, const void *from, size_t len)
{
	int wants = IO_WRITE;
	ssize_t n;

	if (conn->tls != NULL)
		n = tls_send(conn->tls, from, len, &wants);
	else if ((n = send(conn->io.fd, from, len, MSG_NOSIGNAL)) < 0)
		n = errno == EINTR ? -EAGAIN : -errno;
	if (n == -EAGAIN)
		io_want(&conn->io, wants);
	return n;
}

/* The answer goes as the question came: in the clear. */
static void
http_refuse_plain(struct http_conn *conn)
{
	static const char answer[] =
	    "HTTP/1.1 400 Bad Request\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n"
	    "Content-Length: 21\r\nConnection: close\r\n\r\n"
	    "https is spoken here\n";

	tls_close(conn->tls);
	conn->tls = NULL;
	if (buf_append(&conn->out, answer, sizeof(answer) - 1) < 0) {
		http_end(conn);
		return;
	}
	conn->state = HTTP_WRITING;
	io_want(&conn->io, IO_WRITE);
}

/* `status` is that of the request so far. */
static void
http_respond(struct http_conn *conn, int status, const struct http_head *head)
{
	const struct http *http = conn->http;
	const char *type = "text/plain; charset=utf-8", *reason = "Unknown";
	time_t now = (time_t)(clock_wall_ms() / 1000);
	const struct http_route *route = NULL;
	char date[40];
	struct buf body;
	struct tm tm;
	int rc;

	buf_init(&body, HTTP_BODY_MAX);
	for (size_t i = 0; status == 200 && i < http->route_count; i++)
		if (str_eq(http->routes[i].path, head->path))
			route = &http->routes[i];
	if (route != NULL) {
		status = route->get(&body);
		type = route->type;
	} else if (status == 200) {
		status = 404;
	}
	for (size_t i = 0; i < countof(reasons); i++)
		if (reasons[i].status == status)
			reason = reasons[i].reason;
	if (route == NULL)
		(void)buf_printf(&body, "%s\n", reason);
	(void)gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	rc = buf_printf(&conn->out,
	    "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\n"
	    "Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
	    status, reason, date, type, body.len,
	    status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (rc == 0 && !head->is_head)
		rc = buf_append(&conn->out, body.data, body.len);
	buf_fini(&body);
	conn->state = HTTP_WRITING;
	io_want(&conn->io, IO_WRITE);
	if (rc < 0) /* no memory: an empty answer is none */
		buf_clear(&conn->out);
}

/* More of a request has come, or, after its answer, of what nobody reads. */
static void
http_read(struct http_conn *conn)
{
	struct http_head head = { .path = NULL };
	ssize_t n = conn_recv(
	    conn, conn->in + conn->in_len, HTTP_HEAD_MAX - conn->in_len);
	size_t len;

	if (n == -EAGAIN)
		return;
	if (n == -EPROTONOSUPPORT && conn->tls != NULL) {
		http_refuse_plain(conn);
		return;
	}
	if (n <= 0) {
		http_end(conn);
		return;
	}
	if (conn->state == HTTP_LINGERING)
		return;
	conn->in_len += (size_t)n;
	len = head_len(conn->in, conn->in_len);
	if (len > 0)
		http_respond(conn, parse_head(conn->in, len, &head), &head);
	else if (conn->in_len == HTTP_HEAD_MAX)
		http_respond(conn, 431, &head);
	else if (conn->tls != NULL && tls_has_more(conn->tls))
		http_read(conn);
}

static void
http_write(struct http_conn *conn)
{
	ssize_t n = conn_send(conn, conn->out.data, conn->out.len);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		http_end(conn);
		return;
	}
	buf_consume(&conn->out, (size_t)n);
	if (conn->out.len > 0)
		return;
	/* To close with bytes unread would take the answer back. */
	buf_fini(&conn->out);
	if (conn->tls != NULL)
		tls_close(conn->tls);
	conn->tls = NULL;
	(void)shutdown(conn->io.fd, SHUT_WR);
	conn->state = HTTP_LINGERING;
	conn->in_len = 0;
	io_want(&conn->io, IO_READ);
	timer_arm(&conn->deadline, LINGER_MS);
}

static void
http_on_conn_ready(struct io *io, int what)
{
	struct http_conn *conn = container_of(io, struct http_conn, io);

	(void)what;
	if (conn->state == HTTP_WRITING)
		http_write(conn);
	else
		http_read(conn);
}

static void
http_on_acceptable(struct io *io, int what)
{
	struct http *http = container_of(io, struct http, io);
	struct http_conn *conn;

	(void)what;
	if (http->tls != NULL)
		tls_refresh(http->tls);
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(
		    io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			log_warn("http.accept", "address=%s error=\"%s\"",
			    http->address, strerror(errno));
			io_want(io, 0);
			timer_arm(&http->retry, RETRY_MS);
			return;
		}
		if (http->conn_count >= HTTP_CONNECTIONS_MAX)
			http_end(TAILQ_FIRST(&http->conns));
		conn = mem_new(sizeof(*conn));
		conn->http = http;
		buf_init(&conn->out, HTTP_BODY_MAX + HTTP_HEAD_MAX);
		conn->deadline.fire = http_on_deadline;
		timer_arm(&conn->deadline, HTTP_DEADLINE_MS);
		TAILQ_INSERT_TAIL(&http->conns, conn, link);
		http->conn_count++;
		io_watch(&conn->io, fd, IO_READ, http_on_conn_ready);
		if (http->tls != NULL &&
		    (conn->tls = tls_accept(http->tls, fd)) == NULL)
			http_end(conn);
	}
}

/* ---- the listening socket ------------------------------------------------ */

/*
 * Takes an address apart: that of a unix socket into *un, that of a port into
 * *list, else NULL, which the caller frees. Names are not looked up, as that
 * blocks. But everybody knows where localhost is.
 */
static int
parse_address(const char *address, struct sockaddr_un *un,
    struct addrinfo **list, struct err *err)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	const char *colon = strrchr(address, ':'), *from = address;
	size_t len = colon != NULL ? (size_t)(colon - address) : 0;
	bool is_ipv6 = len >= 2 && from[0] == '[' && from[len - 1] == ']';
	uint64_t port = UINT64_MAX;
	char host[100];

	*list = NULL;
	if (str_starts(address, UNIX_PREFIX "/"))
		return unix_socket_address(
		    un, address + strlen(UNIX_PREFIX), err);
	if (is_ipv6) {
		from++;
		len -= 2;
	}
	if (colon == NULL || str_to_u64(colon + 1, &port) < 0 || port > 65535 ||
	    (!is_ipv6 && memchr(from, ':', len) != NULL) ||
	    str_put(host, sizeof(host), "%.*s", (int)len, from) < 0 ||
	    getaddrinfo(str_eq(host, "localhost") ? "127.0.0.1"
		    : *host == '\0'               ? NULL
						  : host,
		colon + 1, &hints, list) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s is not address:port (127.0.0.1:9809, [::1]:9809, :9809) or unix:///path",
		    address);
	return 0;
}

int
http_address_check(const char *address, struct err *err)
{
	struct sockaddr_un un;
	struct addrinfo *list;
	int rc = parse_address(address, &un, &list, err);

	if (list != NULL)
		freeaddrinfo(list);
	return rc;
}

/* Listens at the first address of a family that can be had; or an errno. */
static int
listen_tcp(const struct addrinfo *ai, int family)
{
	int one = 1, zero = 0, rc = -EAFNOSUPPORT;

	for (; ai != NULL; ai = ai->ai_next) {
		auto_close int fd = -1;

		if (ai->ai_family != family)
			continue;
		fd = socket(
		    family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			(void)setsockopt(
			    fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (fd >= 0 && family == AF_INET6) /* "::" takes both */
			(void)setsockopt(
			    fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		if (fd >= 0 && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
		    listen(fd, BACKLOG) == 0)
			return take_fd(&fd);
		rc = -errno;
	}
	return rc;
}

static int
http_listen(struct http *http, struct err *err)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);
	char host[100] = "", port[16] = "";
	struct addrinfo *list;
	int fd = parse_address(http->wanted, &http->file.address, &list, err);

	if (fd < 0)
		return fd;
	if (list == NULL) {
		fd = unix_socket_listen(&http->file, &http->mode, BACKLOG, err);
		http->is_unix = fd >= 0;
		if (fd >= 0)
			(void)snprintf(http->address, sizeof(http->address),
			    "unix://%s", http->file.address.sun_path);
	} else {
		fd = listen_tcp(list, AF_INET6);
		if (fd < 0) /* no such address, or a kernel without IPv6 */
			fd = listen_tcp(list, AF_INET);
		freeaddrinfo(list);
		if (fd < 0)
			return err_set_rc(err, fd, "listen on port %s",
			    strrchr(http->wanted, ':') + 1);
		/* As one would type it. */
		if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
			(void)getnameinfo((struct sockaddr *)&ss, len, host,
			    sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
		(void)snprintf(http->address, sizeof(http->address),
		    ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	}
	if (fd >= 0)
		io_watch(&http->io, fd, IO_READ, http_on_acceptable);
	return fd < 0 ? fd : 0;
}

/* 0: it listens, or will; else the errors of listening. */
static int
http_try(struct http *http, struct err *err)
{
	int rc = http_listen(http, err);

	if (rc == 0) {
		log_info("metrics.listen", "address=%s", http->address);
		return 0;
	}
	if (rc != -EADDRINUSE && rc != -EADDRNOTAVAIL)
		return rc;
	if (!str_eq(err->text, http->why.text))
		log_warn("metrics.unavailable",
		    "address=%s retry_ms=%d text=%s", http->wanted, LISTEN_MS,
		    err->text);
	http->why = *err;
	timer_arm(&http->retry, LISTEN_MS);
	return 0;
}

static void
http_on_retry(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, retry);
	struct err err = ERR_INIT;

	if (http->io.ev != NULL)
		io_want(&http->io, IO_READ);
	else if (http_try(http, &err) < 0)
		timer_arm(&http->retry, LISTEN_MS);
}

struct http *
http_serve(const char *address, const struct unix_socket_file *file,
    const struct http_route *routes, size_t route_count, struct err *err)
{
	struct http *http = mem_new(sizeof(*http));

	TAILQ_INIT(&http->conns);
	http->routes = routes;
	http->route_count = route_count;
	http->wanted = str_dup(address);
	http->mode = *file;
	http->retry.fire = http_on_retry;
	if (http_try(http, err) < 0) {
		http_free(http);
		return NULL;
	}
	return http;
}

int
http_use_tls(struct http *http, const char *dir, struct err *err)
{
	http->tls = tls_new(dir, err);
	return http->tls != NULL ? 0 : err->rc;
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
	if (http->io.ev != NULL)
		io_close(&http->io);
	for (conn = TAILQ_FIRST(&http->conns); conn != NULL; conn = next) {
		next = TAILQ_NEXT(conn, link);
		http_end(conn);
	}
	tls_free(http->tls);
	free(http->wanted);
	free(http);
}

const char *
http_address(const struct http *http)
{
	return http->address;
}
