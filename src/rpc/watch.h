/*
 * watch.h - calls whose clients are sent how something is, and how it has
 * become, until they go or the server leaves.
 *
 * The rule that holds it together: who watches is sent how it is when it can
 * be sent, never a queue of what has passed.
 */
#ifndef RPC_WATCH_H
#define RPC_WATCH_H

#include "rpc/call.h"

#include <sys/queue.h>

struct watched;

/* One call; `about` and `shown` are for tell(). */
struct watcher {
	struct call *call;
	struct watched *watch;
	uint64_t about; /* as watch_add() was given it */
	uint64_t shown; /* what it was sent last; 0: nothing yet */
	LIST_ENTRY(watcher) link;
};

/* Static, and owned by whoever is watched. */
struct watched {
	/*
	 * Sends what the watcher has not got: 0 if that is sent or there is
	 * nothing, -EAGAIN as stream_send(): it is asked again when there is
	 * room. Any other failure ends the call with `err`.
	 */
	int (*tell)(struct watcher *w, struct err *err);
	LIST_HEAD(, watcher) watchers; /* private */
};

/*
 * Tells the call at once, and from now on whenever watch_tell() says that
 * there may be news. Without memory it is failed instead.
 */
void watch_add(struct watched *watch, struct call *call, uint64_t about);

/* Tells all of them; false: nobody watches. */
bool watch_tell(struct watched *watch);

#endif
