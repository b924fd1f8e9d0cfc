/*
 * watch.c - see watch.h.
 */
#include "rpc/watch.h"

#include <errno.h>
#include <stdlib.h>

static void
watcher_free(struct watcher *w)
{
	LIST_REMOVE(w, link);
	free(w);
}

/* Ends the call if it cannot be told. */
static void
watcher_tell(struct call *call)
{
	struct watcher *w = call->data;
	struct err err = ERR_INIT;
	int rc = w->watch->tell(w, &err);

	if (rc == 0 || rc == -EAGAIN)
		return;
	watcher_free(w);
	call_fail_err(call, &err);
}

static void
watcher_gone(struct call *call, enum call_gone why)
{
	(void)why;
	watcher_free(call->data);
}

static void
watcher_leave(struct call *call)
{
	watcher_free(call->data);
	call_fail(call, ERR_UNAVAILABLE, "server is shutting down");
}

void
watch_add(struct watched *watch, struct call *call, uint64_t about)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		call_fail(call, ERR_UNAVAILABLE, "server has no memory for it");
		return;
	}
	w->call = call;
	w->watch = watch;
	w->about = about;
	LIST_INSERT_HEAD(&watch->watchers, w, link);
	call->data = w;
	call->gone = watcher_gone;
	call->writable = watcher_tell;
	call->leaving = watcher_leave;
	watcher_tell(call);
}

bool
watch_tell(struct watched *watch)
{
	struct watcher *w, *next;

	for (w = LIST_FIRST(&watch->watchers); w != NULL; w = next) {
		next = LIST_NEXT(w, link);
		watcher_tell(w->call);
	}
	return !LIST_EMPTY(&watch->watchers);
}
