/*
 * h2io.c - the socket side of an HTTP/2 connection.
 *
 * A connection that waits for nothing keeps no buffer: input goes through one
 * buffer that all share, output through another, and only what a slow reader
 * leaves in the socket is copied aside. While it is there a server does not
 * read from that peer either, so it cannot make us queue more. A client does:
 * if both ends waited for each other to read, they would wait for ever.
 */
#include "rpc/h2io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* So often a connection has its turn, then the others get theirs. */
#define READS_PER_TURN 4
#define ROUNDS_PER_TURN 4 /* of output: a stream may fill up what was sent */

static unsigned char input[64 * 1024];
static unsigned char output[64 * 1024];

void
h2io_end(struct h2io *h2, const char *why)
{
	int fd = h2->io.fd;

	loop_unpost(&h2->flush);
	io_unwatch(&h2->io);
	(void)close(fd);
	nghttp2_session_del(h2->session);
	h2->session = NULL;
	buf_fini(&h2->unsent);
	h2->ops->ended(h2, why);
}

/* Sends bytes or keeps them aside; false: the connection has ended. */
static bool
send_or_keep(struct h2io *h2, const unsigned char *bytes, size_t len)
{
	ssize_t n = 0;

	while (len > 0 && h2->unsent.len == 0) {
		n = send(h2->io.fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			h2io_end(h2, strerror(errno));
			return false;
		}
		if (n < 0)
			break;
		bytes += n;
		len -= (size_t)n;
		h2->bytes.out += (size_t)n;
	}
	if (len > 0 && buf_append(&h2->unsent, bytes, len) < 0) {
		h2io_end(h2, "output buffer is full");
		return false;
	}
	return true;
}

/* Tries again to send what was kept aside; false: ended. */
static bool
send_kept(struct h2io *h2)
{
	while (h2->unsent_at < h2->unsent.len) {
		ssize_t n = send(h2->io.fd, h2->unsent.data + h2->unsent_at,
		    h2->unsent.len - h2->unsent_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			h2io_end(h2, strerror(errno));
			return false;
		}
		h2->unsent_at += (size_t)n;
		h2->bytes.out += (size_t)n;
	}
	buf_fini(&h2->unsent);
	h2->unsent_at = 0;
	return true;
}

/* Sends what the session has, gathered into few calls; false: ended. */
static bool
send_queued(struct h2io *h2)
{
	const uint8_t *bytes;
	size_t len = 0;
	ssize_t n;

	while (h2->unsent.len == 0 &&
	    (n = nghttp2_session_mem_send(h2->session, &bytes)) != 0) {
		if (n < 0) {
			h2io_end(h2, nghttp2_strerror((int)n));
			return false;
		}
		if (len + (size_t)n > sizeof(output)) {
			if (!send_or_keep(h2, output, len))
				return false;
			len = 0;
		}
		memcpy(output + len, bytes, (size_t)n);
		len += (size_t)n;
	}
	return send_or_keep(h2, output, len);
}

void
h2io_end_told(struct h2io *h2, const char *why)
{
	if (send_kept(h2) && send_queued(h2))
		h2io_end(h2, why);
}

void
h2io_flush_soon(struct h2io *h2)
{
	if (!h2->flush.queued)
		loop_post_late(&h2->flush);
}

void
h2io_flush_now(struct h2io *h2)
{
	loop_unpost(&h2->flush);
	h2->flush.run(&h2->flush);
}

/* Gives bytes to nghttp2, frame by frame; 0 or an error of it. */
static int
feed(struct h2io *h2, const unsigned char *bytes, size_t len)
{
	nghttp2_frame_hd hd;
	ssize_t used = 0;
	bool begins;
	size_t n;
	int rc;

	for (; len > 0 && used >= 0; bytes += n, len -= n) {
		n = h2scan_next(&h2->scan, bytes, len, &hd, &begins);
		if (begins && h2->ops->frame != NULL &&
		    (rc = h2->ops->frame(h2, &hd)) < 0)
			return rc;
		used = nghttp2_session_mem_recv(h2->session, bytes, n);
	}
	return used < 0 ? (int)used : 0;
}

/* Reads a while; false: ended. */
static bool
read_some(struct h2io *h2)
{
	ssize_t n;
	int error;

	for (int i = 0; i < READS_PER_TURN; i++) {
		n = recv(h2->io.fd, input, sizeof(input), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			h2io_end(h2, n < 0 ? strerror(errno) : NULL);
			return false;
		}
		h2->bytes.in += (size_t)n;
		error = feed(h2, input, (size_t)n);
		if (error < 0) {
			if (h2->ops->refused != NULL)
				h2->ops->refused(h2, error);
			h2io_end_told(h2, nghttp2_strerror(error));
			return false;
		}
		if ((size_t)n < sizeof(input))
			return true;
	}
	return true;
}

static void
on_flush(struct job *job)
{
	struct h2io *h2 = container_of(job, struct h2io, flush);

	if (h2->fresh) {
		h2->fresh = false;
		if (!read_some(h2))
			return;
		h2->ops->settle(h2);
		loop_unpost(job); /* what was asked for follows here */
	}
	if (!send_kept(h2))
		return;
	h2->ops->settle(h2);
	for (int i = 0; i < ROUNDS_PER_TURN && h2->unsent.len == 0 &&
	     nghttp2_session_want_write(h2->session);
	     i++) {
		if (!send_queued(h2))
			return;
		h2->ops->settle(h2);
	}
	if (h2->unsent.len > 0)
		io_want(&h2->io, h2->is_client ? IO_READ | IO_WRITE : IO_WRITE);
	else if (nghttp2_session_want_write(h2->session))
		h2io_flush_soon(h2);
	else if (nghttp2_session_want_read(h2->session))
		io_want(&h2->io, IO_READ);
	else {
		h2io_end(h2, NULL);
		return;
	}
	if (h2->ops->rested != NULL)
		h2->ops->rested(h2);
}

static void
on_ready(struct io *io, int what)
{
	struct h2io *h2 = container_of(io, struct h2io, io);

	if (what & IO_READ) {
		if (!read_some(h2))
			return;
		h2->ops->settle(h2);
	}
	if ((what & IO_WRITE) || nghttp2_session_want_write(h2->session) ||
	    !nghttp2_session_want_read(h2->session))
		h2io_flush_soon(h2);
	else if (h2->ops->rested != NULL)
		h2->ops->rested(h2);
}

int
h2io_init(struct h2io *h2, nghttp2_session *session, int fd,
    const struct h2io_ops *ops)
{
	h2->session = session;
	h2->ops = ops;
	h2->flush.run = on_flush;
	h2->unsent_at = 0;
	h2->bytes = (struct h2io_bytes){ .in = 0 };
	h2->is_client = nghttp2_session_check_server_session(session) == 0;
	h2->fresh = !h2->is_client;
	h2->scan = (struct h2scan){
		.left = h2->fresh ? H2IO_PREFACE_BYTES : 0,
	};
	/* One round of output, cut short by the socket, always fits. */
	buf_init(&h2->unsent, 2 * sizeof(output));
	return io_try_watch(&h2->io, fd, IO_READ, on_ready);
}
