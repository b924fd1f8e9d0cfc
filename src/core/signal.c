/*
 * signal.c - a fixed table of signal watchers.
 */
#include "core/signal.h"

#include "base/str.h"
#include "core/loop.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>

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
