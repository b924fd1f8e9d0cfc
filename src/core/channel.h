/*
 * channel.h - whole frames over a stream socket between two of our own
 * processes, with descriptors beside them where needed.
 *
 * On the wire: u32 length and u32 number of descriptors, in this machine's
 * byte order, then the bytes. Descriptors travel with the first byte of their frame. Frames may
 * hold keys: what was sent, or handed over, is wiped.
 */
#ifndef CORE_CHANNEL_H
#define CORE_CHANNEL_H

#include "base/buf.h"

#define CHANNEL_FDS_MAX 4

struct channel;

struct channel_ops {
	/*
	 * A whole frame. `bytes` is valid during the call only. Descriptors
	 * (fds[0..nfds-1]) belong to the callee. May free the channel.
	 */
	void (*frame)(struct channel *channel, const void *bytes, size_t len,
	    int *fds, size_t nfds, void *arg);

	/*
	 * The other side is gone (rc 0) or the stream is broken (negative
	 * errno). Called once; the owner frees the channel then or later.
	 */
	void (*closed)(struct channel *channel, int rc, void *arg);
};

/*
 * Takes over the stream socket `fd`. A frame longer than max_frame breaks
 * the stream (-EMSGSIZE), as does more than max_queued bytes of output that
 * the other side does not read (-ENOBUFS).
 */
struct channel *channel_new(int fd, size_t max_frame, size_t max_queued,
    const struct channel_ops *ops, void *arg);
void channel_free(struct channel *channel); /* closes; NULL is fine */

/*
 * Puts a frame of `len` bytes at the end of the queue: *bytes is where they go,
 * before channel_push() and before the next frame. Descriptors are copied (the
 * caller keeps its own). Returns 0 or a negative errno when the channel is
 * closed or over its limits; `closed` is called from the loop then.
 */
int channel_begin(struct channel *channel, size_t len, const int *fds,
    size_t nfds, unsigned char **bytes) must_check;

/* Sends what the socket takes. 0, or why the channel is broken. */
int channel_push(struct channel *channel);

/* A pair of connected, close-on-exec, non-blocking sockets. 0 or -errno. */
int channel_pair(int fd[2]) must_check;

#endif
