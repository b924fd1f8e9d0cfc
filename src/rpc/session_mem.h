/*
 * session_mem.h - the memory of one nghttp2 session.
 *
 * A session takes 25 KiB, most of it zeros or never touched, and a node may
 * have thousands of connections that wait. So each session has a region of
 * address space to itself. It is got in one piece and given back in one
 * piece; and while its connection waits it can be parked, which keeps the
 * bytes that are not zero, some 2 KiB, and gives the pages back.
 *
 * The rule that holds it together: a region never moves, so that all pointers
 * in it are right again when it is woken; and nobody calls nghttp2 while it
 * is parked.
 */
#ifndef RPC_SESSION_MEM_H
#define RPC_SESSION_MEM_H

#include "base/str.h"

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

struct region;
struct elsewhere;

/* Embed it, where it does not move; zeroed: nothing is held. */
struct session_mem {
	struct region *region;
	LIST_HEAD(, elsewhere) elsewhere; /* blocks outside of it */
	unsigned char *parked;            /* what it held; NULL: it is awake */
	size_t parked_len;
};

/* nghttp2_session_server_new3 or nghttp2_session_client_new3. */
typedef int session_maker(nghttp2_session **session,
    const nghttp2_session_callbacks *callbacks, void *arg,
    const nghttp2_option *option, nghttp2_mem *mem);

/*
 * Makes a session in a region of its own. Returns 0 or -ENOMEM, and holds
 * nothing then.
 */
int session_mem_new(struct session_mem *mem, nghttp2_session **session,
    session_maker *make, const nghttp2_session_callbacks *callbacks, void *arg,
    const nghttp2_option *option) must_check;

/*
 * Gives all of it back, parked or not. The session is gone with its memory:
 * nghttp2_session_del() would do nothing but free.
 */
void session_mem_fini(struct session_mem *mem);

/* False, and nothing has changed, if there is no memory for the copy. */
bool session_mem_park(struct session_mem *mem);
void session_mem_wake(struct session_mem *mem); /* no effect if awake */

#endif
