/*
 * socket.c - the listening socket: stale and live files, modes, a connection
 * for each call without growth, more connections than are allowed.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "tests/rpc/peer.h"
#include "tests/rpc/service.h"
#include "tests/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NOBODY 65534

static char dir[] = "/tmp/rpc-socket-XXXXXX";
static char path[64], endpoint[80];

static struct server *
serve(mode_t mode, const struct server_limits *limits, struct err *err)
{
	struct server *server = server_new(&service_router, limits);

	if (server_listen(server, endpoint, UNIX_SOCKET_FILE(mode), err) == 0)
		return server;
	server_free(server);
	return NULL;
}

static mode_t
mode_of(const char *file)
{
	struct stat st;

	return lstat(file, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* A socket file as a process that was killed leaves it. */
static void
leave_stale(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (str_put(address.sun_path, sizeof(address.sun_path), "%s", path) <
		0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 1) < 0)
		abort();
}

static void
socket_files_come_and_go(void)
{
	struct err err = ERR_INIT;
	struct server *server = serve(0660, NULL, &err);
	struct server *second;
	struct h2peer peer;

	ok(server != NULL, "a server listens");
	is_int(mode_of(path), 0660, "... on a socket of the mode asked for");
	is_int(peer_connect(&peer, path), 0, "... takes connections");
	peer_close(&peer);

	second = serve(0600, NULL, &err);
	ok(second == NULL && err.code == ERR_ALREADY_EXISTS &&
		strstr(err.text, "served by another process") != NULL,
	    "a second one is refused: %s", err.text);
	is_int(peer_connect(&peer, path), 0, "... and the first one is well");
	peer_close(&peer);
	server_free(server);
	is_int(mode_of(path), 0, "the file goes with the server");
}

/* Needs root, or the owner stays the one who runs the test. */
static void
owners_are_set(void)
{
	const struct unix_socket_file file = {
		.mode = 0660,
		.owner = geteuid() == 0 ? NOBODY : geteuid(),
		.group = geteuid() == 0 ? NOBODY : getegid(),
	};
	struct unix_socket_file foreign = file;
	struct server *server = server_new(&service_router, NULL);
	struct err err = ERR_INIT;
	struct stat st;

	ok(server_listen(server, endpoint, &file, &err) == 0 &&
		lstat(path, &st) == 0 && st.st_uid == file.owner &&
		st.st_gid == file.group && (st.st_mode & 07777) == 0660,
	    "a socket has the owner and the group asked for");
	server_free(server);
	is_int(mode_of(path), 0, "... and goes all the same");

	/* Who is not root may not give files away. */
	if (geteuid() == 0 &&
	    (chown(dir, NOBODY, NOBODY) < 0 || seteuid(NOBODY) < 0))
		abort();
	foreign.owner = geteuid() + 1;
	server = server_new(&service_router, NULL);
	ok(server_listen(server, endpoint, &foreign, &err) < 0 &&
		err.code == ERR_PERMISSION_DENIED && mode_of(path) == 0,
	    "an owner that cannot be set leaves no file: %s", err.text);
	server_free(server);
	if (getuid() == 0 && (seteuid(0) < 0 || chown(dir, 0, 0) < 0))
		abort();
}

static void
stale_files_are_replaced(void)
{
	struct err err = ERR_INIT;
	struct server *server;
	struct h2peer peer;

	leave_stale();
	is_int(peer_connect(&peer, path), -ECONNREFUSED,
	    "a stale file refuses connections");
	server = serve(0600, NULL, &err);
	ok(server != NULL, "... and is replaced");
	is_int(peer_connect(&peer, path), 0, "... by one that takes them");
	peer_close(&peer);

	/* Somebody else's file of that name must survive our end. */
	(void)unlink(path);
	leave_stale();
	server_free(server);
	ok(mode_of(path) != 0, "another's socket file is not removed");
	(void)unlink(path);
}

static void
other_files_are_in_the_way(void)
{
	struct err err = ERR_INIT;
	auto_close int fd = open(path, O_CREAT | O_WRONLY, 0600);

	ok(serve(0600, NULL, &err) == NULL && err.code == ERR_ALREADY_EXISTS,
	    "a plain file is not removed: %s", err.text);
	is_int(unlink(path), 0, "... it is still there");
}

static void
directories_are_needed(void)
{
	struct server *server = server_new(&service_router, NULL);
	struct err err = ERR_INIT;

	ok(server_listen(server, "unix:///nowhere/at/all.sock",
	       UNIX_SOCKET_FILE(0600), &err) < 0 &&
		strstr(err.text, "/nowhere/at") != NULL,
	    "a missing directory is named: %s", err.text);
	server_free(server);
}

static unsigned
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

static bool
call_once(void)
{
	struct exchange *x;
	struct h2peer peer;
	bool good;

	if (peer_connect(&peer, path) < 0)
		return false;
	x = peer_call(&peer, "/test.T/Echo", "hello", 5, "10S");
	peer_run(&peer);
	good = x->code == 0 && x->closed;
	peer_close(&peer);
	for (int i = 0; i < 3; i++)
		loop_turn(false);
	return good;
}

static void
a_connection_per_call_costs_nothing(void)
{
	struct err err = ERR_INIT;
	struct server *server = serve(0600, NULL, &err);
	size_t bytes = 0;
	unsigned fds = 0, good = 0;

	for (int i = 0; i < 1100; i++) {
		if (i == 100) {
			bytes = mallinfo2().uordblks;
			fds = count_fds();
		}
		good += call_once();
	}
	is_int(good, 1100, "1,100 calls, each with its own connection");
	is_int(count_fds(), fds, "... no descriptor is left over");
	/* The smallest leak of malloc() is 32 bytes; its caches are less. */
	ok(mallinfo2().uordblks < bytes + 1000 * 32 / 2,
	    "... and no memory (%zd bytes)",
	    (ssize_t)(mallinfo2().uordblks - bytes));
	is_int(
	    server_counters(server)->connections, 0, "... and no connection");
	server_free(server);
}

static void
busy_connections_are_left_alone(void)
{
	const struct server_limits limits = { .connections = 2 };
	struct err err = ERR_INIT;
	struct server *server = serve(0600, &limits, &err);
	struct exchange *x[3];
	struct h2peer peer[3];

	for (int i = 0; i < 3; i++) {
		if (peer_connect(&peer[i], path) < 0)
			abort();
		x[i] = peer_call(&peer[i], "/test.T/Wait", "", 0, NULL);
		peer_run(&peer[i]);
	}
	is_int(service_waiting, 2, "two connections are served");
	is_int(
	    server_counters(server)->connections, 2, "... the third one waits");
	peer_close(&peer[0]);
	peer_run(&peer[2]);
	is_int(service_waiting, 2, "... until one has ended");
	service_answer();
	peer_run(&peer[1]);
	peer_run(&peer[2]);
	ok(x[1]->code == 0 && x[2]->code == 0, "... and all get their answer");
	peer_close(&peer[1]);
	peer_close(&peer[2]);
	server_free(server);
}

/* Opens a connection and, if `call`, makes a call on it. */
static void
settle_down(struct h2peer *peer, bool call)
{
	if (peer_connect(peer, path) < 0)
		abort();
	if (call)
		(void)peer_call(peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(peer);
}

static void
idle_connections_make_room(void)
{
	const struct server_limits limits = { .connections = 3 };
	struct err err = ERR_INIT;
	struct server *server = serve(0600, &limits, &err);
	struct h2peer sidecar, silent, second, first_new, second_new;

	clock_fake(1000000);
	settle_down(&sidecar, true);
	settle_down(&silent, false);
	settle_down(&second, true);
	clock_fake(1000000 + 1000);
	settle_down(&first_new, true);
	peer_run(&silent);
	ok(silent.wire.eof && silent.goaway_count > 0,
	    "a new connection replaces one that never made a call");
	settle_down(&second_new, true);
	peer_run(&first_new);
	peer_run(&second);
	peer_run(&sidecar);
	ok(first_new.wire.eof, "... else the youngest that has nothing to do");
	ok(!second.wire.eof && !sidecar.wire.eof,
	    "... so those of sidecars stay");
	is_int(
	    server_counters(server)->connections, 3, "... and the limit holds");
	is_int(server_counters(server)->faults[SERVER_FAULT_EVICTED], 2,
	    "... and both are counted");
	peer_close(&sidecar);
	peer_close(&silent);
	peer_close(&second);
	peer_close(&first_new);
	peer_close(&second_new);
	server_free(server);
	clock_fake(-1);
}

static void
many_connect_at_once(void)
{
	enum { MANY = 300 };
	static struct h2peer peer[MANY];
	struct err err = ERR_INIT;
	struct server *server = serve(0600, NULL, &err);
	struct exchange *x[MANY];
	unsigned good = 0;

	for (int i = 0; i < MANY; i++) {
		if (peer_connect(&peer[i], path) < 0)
			abort();
		x[i] = peer_call(&peer[i], "/test.T/Echo", "x", 1, NULL);
	}
	for (int i = 0; i < MANY; i++)
		peer_run(&peer[i]);
	for (int i = 0; i < MANY; i++)
		good += x[i]->code == 0;
	is_int(good, MANY, "%d connections at once are all served", MANY);
	for (int i = 0; i < MANY; i++)
		peer_close(&peer[i]);
	server_free(server);
}

static unsigned errors;

static void
count_errors(enum log_level level, const char *line)
{
	(void)line;
	errors += level == LOG_LEVEL_ERROR;
}

static void
lack_of_descriptors_is_waited_out(void)
{
	struct err err = ERR_INIT;
	struct server *server = serve(0600, NULL, &err);
	struct rlimit was, tight;
	struct exchange *x;
	struct h2peer peer;

	clock_fake(1000000);
	log_set_sink(count_errors);
	if (peer_connect(&peer, path) < 0 || getrlimit(RLIMIT_NOFILE, &was) < 0)
		abort();
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	tight = was;
	tight.rlim_cur = (rlim_t)peer.wire.fd + 1;
	(void)setrlimit(RLIMIT_NOFILE, &tight);
	for (int i = 0; i < 10; i++) {
		clock_fake(1000000 + 100 * i);
		peer_run(&peer);
	}
	is_int(errors, 1, "a lack of descriptors is logged once");
	is_int(x->code, -1, "... who comes then waits");
	(void)setrlimit(RLIMIT_NOFILE, &was);
	clock_fake(1000000 + 2000);
	peer_run(&peer);
	is_int(x->code, 0, "... and is served when there are some again");
	clock_fake(-1);
	log_set_sink(NULL);
	peer_close(&peer);
	server_free(server);
}

static bool drained;

static void
drain_serves_the_queue(void)
{
	struct err err = ERR_INIT;
	struct server *server = serve(0600, NULL, &err);
	struct exchange *x;
	struct h2peer peer, late;

	if (peer_connect(&peer, path) < 0)
		abort();
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	drain_server(server, &drained);
	is_int(peer_connect(&late, path), -ENOENT,
	    "a draining server takes no new connection");
	peer_run(&peer);
	is_int(x->code, 0, "... but serves who was in its queue");
	ok(drained && peer.wire.eof, "... and is done then");
	peer_close(&peer);
	server_free(server);
}

int
main(void)
{
	log_init("socket", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/csi.sock", dir);
	(void)snprintf(endpoint, sizeof(endpoint), "unix://%s", path);
	socket_files_come_and_go();
	owners_are_set();
	stale_files_are_replaced();
	other_files_are_in_the_way();
	directories_are_needed();
	a_connection_per_call_costs_nothing();
	busy_connections_are_left_alone();
	idle_connections_make_room();
	many_connect_at_once();
	lack_of_descriptors_is_waited_out();
	drain_serves_the_queue();
	(void)rmdir(dir);
	loop_fini();
	return tap_end();
}
