/*
 * systemd.c - what systemd is told, read at a socket of our own.
 */
#include "core/systemd.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t now_ms = 1000;

/* A datagram socket at a path, or at an abstract name that begins with '@'. */
static int
listen_at(const char *text)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	size_t bytes = strlen(text);

	memcpy(a.sun_path, text, bytes);
	if (text[0] == '@')
		a.sun_path[0] = '\0';
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes)) <
		0)
		ok(false, "a socket at %s", text);
	return fd;
}

static bool
was_told(int fd, const char *expected)
{
	char text[100];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	if (!str_eq(text, expected))
		diag("told \"%s\"", text);
	return str_eq(text, expected);
}

static void
pass_ms(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	loop_turn(false);
	loop_turn(false);
}

/* In a process of its own, as each daemon is: what is told at `address`. */
static void
test_told(const char *address, const char *usec, const char *pid, bool watched)
{
	int fd = listen_at(address), status = -1;
	pid_t child = fork();

	if (child == 0) {
		char self[20];

		(void)snprintf(self, sizeof(self), "%d", (int)getpid());
		(void)setenv("NOTIFY_SOCKET", address, 1);
		(void)setenv("WATCHDOG_USEC", usec, 1);
		(void)setenv("WATCHDOG_PID", pid != NULL ? pid : self, 1);
		clock_fake(now_ms);
		if (loop_init() < 0)
			_exit(1);
		systemd_begin();
		if (getenv("NOTIFY_SOCKET") != NULL ||
		    getenv("WATCHDOG_USEC") != NULL ||
		    getenv("WATCHDOG_PID") != NULL)
			_exit(2);
		pass_ms(60000);
		if (!was_told(fd, ""))
			_exit(3); /* not ready, so nothing is said */
		systemd_ready();
		if (!was_told(fd, "READY=1"))
			_exit(4);
		for (int i = 0; i < 3; i++) {
			if (!was_told(fd, watched ? "WATCHDOG=1" : ""))
				_exit(5);
			pass_ms(999);
			if (!was_told(fd, ""))
				_exit(6);
			pass_ms(1);
		}
		if (watched && !was_told(fd, "WATCHDOG=1"))
			_exit(7);
		systemd_stopping();
		_exit(was_told(fd, "STOPPING=1") ? 0 : 8);
	}
	(void)waitpid(child, &status, 0);
	ok(status == 0, "at %s, WATCHDOG_USEC=%s of %s: told as it is (%d)",
	    address[0] == '@' ? "an abstract name" : "a path", usec,
	    pid != NULL ? pid : "this process", WEXITSTATUS(status));
	(void)close(fd);
	if (address[0] == '/')
		(void)unlink(address);
}

/* The socket is not there, or nothing like one: the daemon goes on. */
static void
test_untold(const char *address)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		if (address != NULL)
			(void)setenv("NOTIFY_SOCKET", address, 1);
		else
			(void)unsetenv("NOTIFY_SOCKET");
		(void)setenv("WATCHDOG_USEC", "2000000", 1);
		log_init("systemd", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
		if (loop_init() < 0)
			_exit(1);
		systemd_begin();
		systemd_ready();
		systemd_stopping();
		_exit(0);
	}
	(void)waitpid(child, &status, 0);
	ok(status == 0, "NOTIFY_SOCKET=%s: it goes on untold",
	    address != NULL ? address : "(unset)");
}

int
main(void)
{
	char path[60], name[60];

	(void)snprintf(path, sizeof(path), "/tmp/systemd-%d", (int)getpid());
	(void)snprintf(name, sizeof(name), "@systemd-%d", (int)getpid());
	test_told(path, "2000000", NULL, true);
	test_told(name, "2000000", NULL, true);
	test_told(path, "2000000", "1", false);
	test_told(path, "0", NULL, false);
	test_told(path, "2 s", NULL, false);
	test_untold(NULL);
	test_untold("/nowhere/notify");
	test_untold("vsock:2:1234");
	test_untold("");
	return tap_end();
}
