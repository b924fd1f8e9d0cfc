/*
 * systemd.c - the datagrams of sd_notify(3). Its protocol is a promise of
 * systemd's, and small; the library would cost each daemon more memory than
 * it has pages for all of src/core.
 */
#include "core/systemd.h"
#include "base/log.h"
#include "core/timer.h"
#include "core/unix_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	struct sockaddr_un address;
	socklen_t address_bytes; /* 0: nobody is to be told */
	int64_t watchdog_ms;     /* 0: there is none */
	struct timer watchdog;
} s;

/* The queue of systemd being full is no reason to wait: the next turn tells. */
static void
tell(const char *text)
{
	int fd, saved;
	ssize_t sent;

	if (s.address_bytes == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	sent = fd < 0
	    ? -1
	    : sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		  (const struct sockaddr *)&s.address, s.address_bytes);
	saved = errno;
	if (fd >= 0)
		(void)close(fd);
	if (sent < 0)
		log_warn("systemd.notify", "state=%s error=\"%s\"", text,
		    strerror(saved));
}

static void
on_watchdog(struct timer *timer)
{
	tell("WATCHDOG=1");
	timer_arm(timer, s.watchdog_ms / 2);
}

/* An address as systemd gives it: a path, or '@' and an abstract name. */
static void
take_address(const char *text)
{
	struct err err = ERR_INIT;

	if (unix_socket_address(&s.address, text, &err) < 0 ||
	    (text[0] != '/' && text[0] != '@')) {
		log_warn("systemd.notify", "address=%s error=\"%s\"", text,
		    err.code != ERR_OK ? err.text : "not a unix socket");
		return;
	}
	s.address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    strlen(text));
	if (text[0] == '@')
		s.address.sun_path[0] = '\0';
}

void
systemd_begin(void)
{
	const char *address = getenv("NOTIFY_SOCKET");
	const char *pid = getenv("WATCHDOG_PID");
	const char *usec = getenv("WATCHDOG_USEC");
	uint64_t of = (uint64_t)getpid(), value;

	if (address != NULL)
		take_address(address);
	/* They may be meant for whoever has started us. */
	if (usec != NULL && str_to_u64(usec, &value) == 0 &&
	    value / 1000 <= INT32_MAX &&
	    (pid == NULL || str_to_u64(pid, &of) == 0) &&
	    of == (uint64_t)getpid())
		s.watchdog_ms = (int64_t)(value / 1000);
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_PID");
	(void)unsetenv("WATCHDOG_USEC");
}

void
systemd_ready(void)
{
	tell("READY=1");
	if (s.watchdog_ms > 0 && s.address_bytes > 0) {
		s.watchdog.fire = on_watchdog;
		on_watchdog(&s.watchdog);
	}
}

void
systemd_stopping(void)
{
	tell("STOPPING=1");
}
