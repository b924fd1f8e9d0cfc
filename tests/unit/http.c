/*
 * The HTTP server of the metrics: what it answers, and that nobody holds it up
 * or makes it grow.
 */
#include "obs/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define LARGE ((size_t)3 << 20)

static char dir[] = "/tmp/http-XXXXXX";
static char path[64], address[80];
static int64_t now_ms = 1000000;

/* ---- a server ------------------------------------------------------------ */

static unsigned asked;

static int
get_hello(struct buf *body)
{
	asked++;
	return buf_printf(body, "hello\n") == 0 ? 200 : 500;
}

static int
get_sick(struct buf *body)
{
	return buf_printf(body, "sick\n") == 0 ? 503 : 500;
}

static int
get_large(struct buf *body)
{
	void *to = buf_reserve(body, LARGE);

	if (to == NULL)
		return 500;
	memset(to, 'x', LARGE);
	body->len += LARGE;
	return 200;
}

static int
get_too_large(struct buf *body)
{
	return buf_reserve(body, HTTP_BODY_MAX + 1) != NULL ? 200 : 500;
}

static const struct http_route routes[] = {
	{ "/hello", "text/x-hello", get_hello },
	{ "/sick", "text/plain", get_sick },
	{ "/large", "text/plain", get_large },
	{ "/too-large", "text/plain", get_too_large },
};

static struct http *
serve(const char *at)
{
	struct err err = ERR_INIT;
	struct http *http = http_serve(
	    at, UNIX_SOCKET_FILE(0640), routes, countof(routes), &err);

	if (http == NULL)
		diag("%s", err.text);
	return http;
}

static void
turns(void)
{
	for (int i = 0; i < 20; i++)
		loop_turn(false);
}

static void
pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	turns();
}

/* ---- a client ------------------------------------------------------------ */

static int
client(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (str_put(un.sun_path, sizeof(un.sun_path), "%s", path) < 0 ||
	    connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static void
say(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		diag("send: %s", strerror(errno));
	turns();
}

static char answer[LARGE + 4096];
static size_t answer_len;

/* All that comes until the end or until nothing more comes; is it the end? */
static bool
hear(int fd)
{
	ssize_t n;

	answer_len = 0;
	for (int idle = 0; idle < 3;) {
		n = recv(fd, answer + answer_len,
		    sizeof(answer) - 1 - answer_len, 0);
		if (n > 0) {
			answer_len += (size_t)n;
			idle = 0;
		} else if (n < 0 && errno == EAGAIN) {
			turns();
			idle++;
		} else {
			answer[answer_len] = '\0';
			return true;
		}
	}
	answer[answer_len] = '\0';
	return false;
}

/* One request on a connection of its own; the status, 0 without an answer. */
static int
ask(const char *request)
{
	int fd = client(), status = 0;

	say(fd, request);
	if (!hear(fd) || sscanf(answer, "HTTP/1.1 %d ", &status) != 1)
		status = 0;
	(void)close(fd);
	turns();
	return status;
}

/* ---- tests --------------------------------------------------------------- */

static void
answers(void)
{
	struct http *http = serve(address);
	const char *body;

	is_int(ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200, "GET");
	body = strstr(answer, "\r\n\r\n");
	ok(body != NULL && str_eq(body + 4, "hello\n"), "has the body");
	ok(strstr(answer, "\r\nContent-Type: text/x-hello\r\n") != NULL &&
		strstr(answer, "\r\nContent-Length: 6\r\n") != NULL &&
		strstr(answer, "\r\nConnection: close\r\n") != NULL &&
		strstr(answer, "\r\nDate: ") != NULL,
	    "and tells type, length and end");
	is_int(ask("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200, "HEAD");
	body = strstr(answer, "\r\n\r\n");
	ok(body != NULL && body[4] == '\0' &&
		strstr(answer, "\r\nContent-Length: 6\r\n") != NULL,
	    "has the length and no body");
	is_int(ask("GET /sick HTTP/1.1\r\nHost: x\r\n\r\n"), 503,
	    "a route may have its own status");
	is_int(ask("GET /large HTTP/1.1\r\nHost: x\r\n\r\n"), 200,
	    "an answer larger than the socket's buffers");
	body = strstr(answer, "\r\n\r\n");
	ok(body != NULL && answer_len - (size_t)(body + 4 - answer) == LARGE,
	    "arrives whole");
	is_int(ask("GET /too-large HTTP/1.1\r\nHost: x\r\n\r\n"), 500,
	    "one beyond the limit is an error");
	is_int(ask("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
		   "\r\nabc"),
	    405, "POST, with what it brings, is refused in words");
	ok(strstr(answer, "\r\nAllow: GET, HEAD\r\n") != NULL,
	    "which say what is allowed");
	http_free(http);
}

static void
requests(void)
{
	static const struct {
		const char *request;
		int status;
	} rows[] = {
		{ "GET /hello?a=b HTTP/1.1\r\nHost: x\r\n\r\n", 200 },
		{ "GET http://x:1/hello HTTP/1.1\r\nHost: x\r\n\r\n", 200 },
		{ "GET /hello HTTP/1.0\r\n\r\n", 200 },
		{ "GET /hello HTTP/1.0\n\n", 200 },
		{ "GET /hello HTTP/1.1\r\nhost:\r\nX-A: \t b\r\n\r\n", 200 },
		{ "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /sick", 200 },
		{ "GET /hell HTTP/1.1\r\nHost: x\r\n\r\n", 404 },
		{ "GET /hello/ HTTP/1.1\r\nHost: x\r\n\r\n", 404 },
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404 },
		{ "BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405 },
		{ "get /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405 },
		{ "GET /hello HTTP/1.1\r\n\r\n", 400 },
		{ "GET /hello HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400 },
		{ "GET /hello HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400 },
		{ "GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400 },
		{ "GET /hello HTTP/1.1\r\nHost: x\r\n X: folded\r\n\r\n", 400 },
		{ "GET hello HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET /hello\r\nHost: x\r\n\r\n", 400 },
		{ "GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ " GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET /hello HTTP/1.1 \r\nHost: x\r\n\r\n", 400 },
		{ "GET /hello HTTP/1\r\nHost: x\r\n\r\n", 400 },
		{ "GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505 },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
		{ "\r\n\r\n", 400 },
	};
	struct http *http = serve(address);
	int fd;

	for (size_t i = 0; i < countof(rows); i++) {
		int status = ask(rows[i].request);
		char name[40];

		(void)log_quote(name, sizeof(name), rows[i].request);
		is_int(
		    status, rows[i].status, "%d for %s", rows[i].status, name);
	}
	fd = client();
	(void)!send(fd, "GET /hello HTTP/1.1\r\nHost: x\0y\r\n\r\n", 34, 0);
	ok(hear(fd) && str_starts(answer, "HTTP/1.1 400 "),
	    "a NUL in the head is refused");
	(void)close(fd);
	fd = client();
	for (const char *c = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
	     *c != '\0'; c++) {
		const char one[] = { *c, '\0' };

		say(fd, one);
	}
	ok(hear(fd) && str_starts(answer, "HTTP/1.1 200 "),
	    "a request may come byte by byte");
	(void)close(fd);
	http_free(http);
}

static void
heads_are_bounded(void)
{
	struct http *http = serve(address);
	static char request[HTTP_HEAD_MAX + 1];
	size_t room;

	(void)snprintf(
	    request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: x\r\nX: ");
	room = HTTP_HEAD_MAX - strlen(request) - 4;
	memset(request + strlen(request), 'a', room);
	memcpy(request + HTTP_HEAD_MAX - 4, "\r\n\r\n", 5);
	is_int(ask(request), 200, "a head of %d bytes is taken", HTTP_HEAD_MAX);
	request[HTTP_HEAD_MAX - 1] = 'a';
	is_int(ask(request), 431, "one that has not ended there is not");
	http_free(http);
}

static void
peers_have_a_deadline(void)
{
	struct http *http = serve(address);
	int silent = client(), slow = client(), deaf = client();

	turns();
	say(deaf, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 9; i++) {
		say(slow, "G");
		pass(1000);
	}
	ok(!hear(silent) && !hear(slow), "a request has some time");
	pass(1000);
	ok(hear(silent) && answer_len == 0, "who is silent is sent away");
	ok(hear(slow) && answer_len == 0,
	    "and who dribbles, when the same time is over");
	ok(hear(deaf) && answer_len < LARGE,
	    "and who does not take his answer");
	(void)close(silent);
	(void)close(slow);
	(void)close(deaf);

	/* Answered, but does not close. */
	silent = client();
	say(silent, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	pass(1000);
	ok(send(silent, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE,
	    "who has his answer and stays is closed after a second");
	(void)close(silent);
	http_free(http);
}

static void
connections_are_bounded(void)
{
	struct http *http = serve(address);
	int fd[HTTP_CONNECTIONS_MAX];

	for (int i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		fd[i] = client();
		turns();
	}
	ok(!hear(fd[0]), "%d connections may wait", HTTP_CONNECTIONS_MAX);
	is_int(ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200,
	    "one more is served all the same");
	ok(hear(fd[0]) && answer_len == 0, "for which the oldest one goes");
	ok(!hear(fd[1]), "and no other");
	for (int i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		(void)close(fd[i]);
	http_free(http);
}

static unsigned warnings;

static void
count_warnings(enum log_level level, const char *line)
{
	(void)line;
	warnings += level == LOG_LEVEL_WARN;
}

static void
lack_of_descriptors_is_waited_out(void)
{
	struct http *http = serve(address);
	struct rlimit was, tight;
	int fd = client();

	log_set_sink(count_warnings);
	if (getrlimit(RLIMIT_NOFILE, &was) < 0)
		abort();
	tight = was;
	tight.rlim_cur = (rlim_t)fd + 1;
	(void)setrlimit(RLIMIT_NOFILE, &tight);
	turns();
	is_int(
	    warnings, 1, "a lack of descriptors is logged, and not in a loop");
	(void)setrlimit(RLIMIT_NOFILE, &was);
	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	pass(1000);
	ok(hear(fd) && str_starts(answer, "HTTP/1.1 200 "),
	    "and who waits is served when there are some again");
	log_set_sink(NULL);
	(void)close(fd);
	http_free(http);
}

static mode_t
mode_of(const char *file)
{
	struct stat st;

	return lstat(file, &st) == 0 ? st.st_mode & 07777 : 0;
}

static void
unix_sockets(void)
{
	struct http *http = serve(address);
	struct err err = ERR_INIT;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	is_str(http_address(http), address, "it tells where it listens");
	is_int(mode_of(path), 0640, "the socket has the mode asked for");
	ok(http_serve(address, UNIX_SOCKET_FILE(0600), routes, 1, &err) ==
		    NULL &&
		err.code == ERR_ALREADY_EXISTS,
	    "a live socket is refused: %s", err.text);
	http_free(http);
	is_int(mode_of(path), 0, "the file goes with the server");

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (str_put(un.sun_path, sizeof(un.sun_path), "%s", path) < 0 ||
	    bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		abort();
	(void)close(fd);
	http = serve(address);
	is_int(ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200,
	    "a stale one is replaced");
	http_free(http);
}

/* One that serves where `http` does, as soon as that has gone. */
static void
taken(struct http *http)
{
	auto_free char *where = str_dup(http_address(http));
	struct err err = ERR_INIT;
	struct http *next = http_serve(
	    where, UNIX_SOCKET_FILE(0600), routes, 1, &err);

	if (!ok(next != NULL, "a port that is taken is waited for: %s",
		err.text))
		return;
	is_str(http_address(next), "", "it serves nowhere yet");
	pass(10001);
	is_str(http_address(next), "", "nor while the port is taken");
	http_free(http);
	pass(10001);
	is_str(http_address(next), where, "but soon after it is free");
	http_free(next);
	err = (struct err)ERR_INIT;
	ok(http_serve("unix:///nowhere/at/all", UNIX_SOCKET_FILE(0600), routes,
	       1, &err) == NULL,
	    "where nobody could ever serve is refused: %s", err.text);
}

/* The port in "127.0.0.1:port" of a server that was asked for any. */
static void
tcp(void)
{
	struct http *http = serve("127.0.0.1:0"), *all;
	struct sockaddr_in in = { .sin_family = AF_INET };
	unsigned port = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ok(http != NULL &&
		sscanf(http_address(http), "127.0.0.1:%u", &port) == 1 &&
		port > 0,
	    "port 0 is any free one, and is told: %s", http_address(http));
	in.sin_port = htons((uint16_t)port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	is_int(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0,
	    "it takes connections");
	turns();
	(void)!send(fd, "GET /hello HTTP/1.0\r\n\r\n", 23, 0);
	turns();
	ok(hear(fd) && str_starts(answer, "HTTP/1.1 200 "), "and answers");
	(void)close(fd);
	taken(http);
	all = serve(":0");
	ok(all != NULL && strstr(http_address(all), ":") != NULL,
	    "no host is all addresses: %s", http_address(all));
	http_free(all);
}

static void
addresses(void)
{
	static const char *const good[] = { "127.0.0.1:9809", ":9809",
		"[::1]:0", "localhost:65535", "unix:///a/b.sock" };
	static const char *const bad[] = { "", "9809", "127.0.0.1", "a:b",
		"a:65536", "a:-1", "::1:80", "unix:a", "unix://a",
		"http://a:80", "/a:80", "127.0.0.1:", "host:80", "256.0.0.1:80",
		"[127.0.0.1:80" };
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(good); i++)
		is_int(http_address_check(good[i], &err), 0, "%s is an address",
		    good[i]);
	for (size_t i = 0; i < countof(bad); i++) {
		err = (struct err)ERR_INIT;
		ok(http_address_check(bad[i], &err) < 0 &&
			err.code == ERR_INVALID_ARGUMENT,
		    "\"%s\" is none", bad[i]);
	}
	ok(http_serve("host:80", UNIX_SOCKET_FILE(0600), routes, 1, &err) ==
		NULL,
	    "names are not looked up: %s", err.text);
}

int
main(void)
{
	log_init("http", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	clock_fake(now_ms);
	if (loop_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/http.sock", dir);
	(void)snprintf(address, sizeof(address), "unix://%s", path);
	answers();
	requests();
	heads_are_bounded();
	peers_have_a_deadline();
	connections_are_bounded();
	lack_of_descriptors_is_waited_out();
	unix_sockets();
	tcp();
	addresses();
	(void)rmdir(dir);
	loop_fini();
	return tap_end();
}
