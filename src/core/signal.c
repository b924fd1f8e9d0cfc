/*
 * signal.c - a fixed table of signal watchers, and dispositions.
 */
#include "core/signal.h"

#include "core/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const int requests[] = { SIGHUP, SIGUSR1, SIGUSR2 };

static struct {
	struct event *ev;
	void (*caught)(int signo);
} watch[NSIG];

static void
on_signal(evutil_socket_t signo, short what, void *arg)
{
	(void)what;
	(void)arg;
	watch[signo].caught((int)signo);
}

void
signal_watch(int signo, void (*caught)(int signo))
{
	watch[signo].caught = caught;
	if (watch[signo].ev != NULL)
		return;
	watch[signo].ev = evsignal_new(loop_base(), signo, on_signal, NULL);
	if (watch[signo].ev == NULL || event_add(watch[signo].ev, NULL) < 0) {
		(void)fprintf(stderr, "cannot watch signal %d\n", signo);
		abort();
	}
}

void
signal_fini(void)
{
	for (size_t i = 0; i < countof(watch); i++)
		if (watch[i].ev != NULL) {
			event_free(watch[i].ev);
			watch[i].ev = NULL;
		}
}

void
signal_requests(sigset_t *set)
{
	(void)sigemptyset(set);
	for (size_t i = 0; i < countof(requests); i++)
		(void)sigaddset(set, requests[i]);
}

void
process_begin(void)
{
	const struct rlimit none = { 0, 0 };
	sigset_t set;

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < countof(requests); i++)
		(void)signal(requests[i], SIG_IGN);
	signal_requests(&set);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
signal_hold(sigset_t *before)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, before);
}

void
signal_release(const sigset_t *before)
{
	(void)sigprocmask(SIG_SETMASK, before, NULL);
}

void
signal_forget(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	for (size_t i = 0; i < countof(requests); i++)
		(void)signal(requests[i], SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int
process_enter_netns(const char *path, struct err *err)
{
	auto_close int fd = -1;

	if (str_is_empty(path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "enter network namespace %s: %s", path, strerror(errno));
	return 0;
}
