/*
 * h2io.c - the socket side of an HTTP/2 connection.
 *
 * A connection that waits for nothing keeps no buffer: input goes through one
 * buffer that all share, output through another, and only what a slow reader
 * leaves in the socket is copied aside. While it is there a server does not
 * read from that peer either, so it cannot make us queue more. A client does:
 * if both ends waited for each other to read, they would wait for ever.
 *
 * Requests have keys in them, so both buffers are wiped after each use. nghttp2
 * copies no data that comes in.
 */
#include "rpc/h2io.h"

#include "base/secret.h"
#include "core/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* So often a connection has its turn, then the others get theirs. */
#define READS_PER_TURN 4
#define ROUNDS_PER_TURN 4 /* of output: a stream may fill up what was sent */

static unsigned char input[64 * 1024];
static unsigned char output[64 * 1024];

int
endpoint_parse(
    const char *endpoint, struct sockaddr_un *address, struct err *err)
{
	const char *path = endpoint;

	if (str_starts(path, "unix://"))
		path += strlen("unix://");
	else if (str_starts(path, "unix:"))
		path += strlen("unix:");
	else if (strstr(path, "://") != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "endpoint %s is not a unix socket", endpoint);
	if (unix_socket_address(address, path, err) < 0) {
		err_prefix(err, "endpoint %s", endpoint);
		return -EINVAL;
	}
	return 0;
}

size_t
h2scan_next(struct h2scan *scan, const unsigned char *bytes, size_t len,
    nghttp2_frame_hd *hd, bool *begins)
{
	const unsigned char *p = scan->head;
	size_t n = 0;

	*begins = false;
	if (scan->left == 0) {
		n = H2SCAN_HEAD_BYTES - scan->have;
		if (n > len)
			n = len;
		memcpy(scan->head + scan->have, bytes, n);
		scan->have += n;
		if (scan->have < H2SCAN_HEAD_BYTES)
			return n;
		*hd = (nghttp2_frame_hd){
			.length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
			.type = p[3],
			.flags = p[4],
			.stream_id = (int32_t)((uint32_t)(p[5] & 0x7f) << 24 |
			    (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]),
		};
		*begins = true;
		scan->have = 0;
		scan->left = hd->length;
	}
	if (scan->left < len - n)
		len = n + scan->left;
	scan->left -= len - n;
	return len;
}

void
h2io_end(struct h2io *h2, const char *why)
{
	loop_unpost(&h2->flush);
	io_close(&h2->io);
	nghttp2_session_del(h2->session);
	h2->session = NULL;
	buf_fini(&h2->unsent);
	h2->ops->ended(h2, why);
}

/* Sends what the socket takes: how many bytes, or -1: ended. */
static ssize_t
send_some(struct h2io *h2, const unsigned char *bytes, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(
		    h2->io.fd, bytes + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			h2io_end(h2, strerror(errno));
			return -1;
		}
		sent += (size_t)n;
		h2->bytes_out += (size_t)n;
	}
	return (ssize_t)sent;
}

/* Tries again to send what was kept aside; false: ended. */
static bool
send_kept(struct h2io *h2)
{
	ssize_t n;

	if (h2->unsent.len == 0)
		return true;
	n = send_some(h2, h2->unsent.data + h2->unsent_at,
	    h2->unsent.len - h2->unsent_at);
	if (n < 0)
		return false;
	h2->unsent_at += (size_t)n;
	if (h2->unsent_at == h2->unsent.len) {
		buf_fini(&h2->unsent);
		h2->unsent_at = 0;
	}
	return true;
}

/*
 * Sends what the session has, gathered into few calls, and keeps aside what
 * the socket does not take; false: ended.
 */
static bool
send_queued(struct h2io *h2)
{
	const uint8_t *bytes;
	size_t len = 0;
	ssize_t n, sent;

	for (;;) {
		n = h2->unsent.len == 0
		    ? nghttp2_session_mem_send(h2->session, &bytes)
		    : 0;
		if (n < 0) {
			h2io_end(h2, nghttp2_strerror((int)n));
			return false;
		}
		if (n == 0 || len + (size_t)n > sizeof(output)) {
			bool full;

			sent = h2->unsent.len == 0 ? send_some(h2, output, len)
						   : 0;
			full = sent >= 0 && len > (size_t)sent &&
			    buf_append(&h2->unsent, output + sent,
				len - (size_t)sent) < 0;
			secret_wipe(output, len);
			if (sent < 0)
				return false;
			if (full) {
				h2io_end(h2, "output buffer is full");
				return false;
			}
			len = 0;
		}
		if (n == 0)
			return true;
		memcpy(output + len, bytes, (size_t)n);
		len += (size_t)n;
	}
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

/* Reads a while and gives it to nghttp2 frame by frame; false: ended. */
static bool
read_some(struct h2io *h2)
{
	nghttp2_frame_hd hd;
	bool begins;

	for (int i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = recv(h2->io.fd, input, sizeof(input), 0), rc = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			h2io_end(h2, n < 0 ? strerror(errno) : NULL);
			return false;
		}
		h2->bytes_in += (size_t)n;
		for (size_t at = 0, len; at < (size_t)n && rc >= 0; at += len) {
			len = h2scan_next(&h2->scan, input + at, (size_t)n - at,
			    &hd, &begins);
			if (begins && h2->ops->frame != NULL)
				rc = h2->ops->frame(h2, &hd);
			if (rc >= 0)
				rc = nghttp2_session_mem_recv(
				    h2->session, input + at, len);
		}
		secret_wipe(input, (size_t)n);
		if (rc < 0) {
			if (h2->ops->refused != NULL)
				h2->ops->refused(h2, (int)rc);
			h2io_end_told(h2, nghttp2_strerror((int)rc));
			return false;
		}
		if ((size_t)n < sizeof(input))
			return true;
	}
	return true;
}

static void
h2io_on_flush(struct job *job)
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
h2io_on_ready(struct io *io, int what)
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
	bool is_client = nghttp2_session_check_server_session(session) == 0;

	*h2 = (struct h2io){
		.session = session,
		.ops = ops,
		.flush.run = h2io_on_flush,
		.is_client = is_client,
		.fresh = !is_client,
		/* A client says this before its first frame: RFC 9113 3.4. */
		.scan.left = is_client ? 0 : NGHTTP2_CLIENT_MAGIC_LEN,
	};
	/* One round of output, cut short by the socket, always fits. */
	buf_init(&h2->unsent, 2 * sizeof(output));
	return io_try_watch(&h2->io, fd, IO_READ, h2io_on_ready);
}
