/*
 * channel.c - frames, descriptors, limits and ends of a channel.
 */
#include "core/channel.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <errno.h>
#include <sys/socket.h>

#define FRAME_MAX 4096
#define QUEUE_MAX 100000

struct seen {
	struct channel *channel;
	size_t frames, bytes, fds;
	size_t last_len, last_nfds;
	int last_fd;
	int closed; /* times */
	int closed_rc;
	bool free_at_frame;
};

static void
on_frame(struct channel *channel, const void *bytes, size_t len, int *fds,
    size_t nfds, void *arg)
{
	struct seen *seen = arg;
	const unsigned char *b = bytes;

	seen->frames++;
	seen->bytes += len;
	seen->fds += nfds;
	seen->last_len = len;
	seen->last_nfds = nfds;
	if (nfds > 0)
		seen->last_fd = fds[0];
	for (size_t i = 1; i < len; i++)
		if (b[i] != (unsigned char)len)
			seen->last_len = SIZE_MAX;
	if (seen->free_at_frame) {
		seen->channel = NULL;
		channel_free(channel);
	}
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	struct seen *seen = arg;

	(void)channel;
	seen->closed++;
	seen->closed_rc = rc;
}

static const struct channel_ops ops = { .frame = on_frame,
	.closed = on_closed };

static int
send_fds(struct channel *c, const void *bytes, size_t len, const int *fds,
    size_t nfds)
{
	unsigned char *to;
	int rc = channel_begin(c, len, fds, nfds, &to);

	if (rc < 0)
		return rc;
	if (len > 0)
		memcpy(to, bytes, len);
	return channel_push(c);
}

static int
send_frame(struct channel *c, const void *bytes, size_t len)
{
	return send_fds(c, bytes, len, NULL, 0);
}

static void
turns(int n)
{
	while (n-- > 0)
		loop_turn(false);
}

static void
pair_up(struct seen *a, struct seen *b)
{
	int fd[2];

	*a = *b = (struct seen){ 0 };
	if (channel_pair(fd) < 0)
		abort();
	a->channel = channel_new(fd[0], FRAME_MAX, QUEUE_MAX, &ops, a);
	b->channel = channel_new(fd[1], FRAME_MAX, QUEUE_MAX, &ops, b);
}

static void
test_frames(void)
{
	struct seen a, b;
	unsigned char frame[FRAME_MAX];
	size_t sent = 0;

	pair_up(&a, &b);
	for (size_t len = 0; len <= 300; len++) {
		memset(frame, (int)(len & 255), sizeof(frame));
		if (send_frame(a.channel, frame, len) == 0)
			sent += len;
	}
	turns(10);
	is_int(b.frames, 301, "every frame arrives, the empty one too");
	is_int(b.bytes, sent, "with all its bytes");
	is_int(b.last_len, 300, "as one piece");
	is_int(send_frame(a.channel, frame, FRAME_MAX + 1), -EMSGSIZE,
	    "a frame over the limit is not sent");
	channel_free(a.channel);
	turns(3);
	ok(b.closed == 1 && b.closed_rc == 0, "the end is reported once");
	is_int(send_frame(b.channel, frame, 1), -EPIPE,
	    "and nothing can be sent any more");
	channel_free(b.channel);
}

static void
test_back_pressure(void)
{
	struct seen a, b;
	unsigned char frame[FRAME_MAX] = { 0 };
	int rc = 0, n = 0;

	pair_up(&a, &b);
	while (rc == 0 && n++ < 10000)
		rc = send_frame(a.channel, frame, sizeof(frame));
	is_int(rc, -ENOBUFS, "a peer that does not read meets the limit");
	turns(1);
	ok(a.closed == 1 && a.closed_rc == -ENOBUFS,
	    "and the channel is broken");
	channel_free(a.channel);
	channel_free(b.channel);
}

static void
test_fds(void)
{
	struct seen a, b;
	int fd[2];
	char c = 0;

	pair_up(&a, &b);
	(void)!pipe(fd);
	(void)send_frame(a.channel, "", 0);
	(void)send_fds(a.channel, "\0\2", 2, &fd[0], 1);
	(void)send_frame(a.channel, "", 0);
	(void)send_fds(a.channel, "\0\2", 2, fd, 2);
	turns(5);
	ok(b.frames == 4 && b.fds == 3 && b.last_nfds == 2,
	    "descriptors come with their own frame");
	(void)!write(fd[1], "x", 1);
	(void)!read(b.last_fd, &c, 1);
	is_int(c, 'x', "and are the same open files");
	channel_free(a.channel);
	channel_free(b.channel);
}

static void
test_bad_peer(void)
{
	struct seen b = { 0 };
	int fd[2];

	if (channel_pair(fd) < 0)
		abort();
	b.channel = channel_new(fd[1], FRAME_MAX, QUEUE_MAX, &ops, &b);
	(void)!write(fd[0], (uint32_t[]){ UINT32_MAX, 0 }, 8);
	turns(3);
	ok(b.closed == 1 && b.closed_rc == -EMSGSIZE,
	    "a length over the limit breaks the stream");
	channel_free(b.channel);
	(void)close(fd[0]);

	b = (struct seen){ 0 };
	if (channel_pair(fd) < 0)
		abort();
	b.channel = channel_new(fd[1], FRAME_MAX, QUEUE_MAX, &ops, &b);
	(void)!write(fd[0], (uint32_t[]){ 0, 1 }, 8);
	turns(3);
	ok(b.closed == 1 && b.closed_rc == -EPROTO,
	    "descriptors that were promised and not sent break it too");
	channel_free(b.channel);
	(void)close(fd[0]);
}

static void
test_free_inside(void)
{
	struct seen a, b;

	pair_up(&a, &b);
	b.free_at_frame = true;
	(void)send_frame(a.channel, "", 0);
	(void)send_frame(a.channel, "", 0);
	turns(3);
	is_int(b.frames, 1, "a channel may be freed inside its callback");
	is_int(a.closed, 1, "the other side sees the end");
	channel_free(a.channel);
}

int
main(void)
{
	if (loop_init() < 0)
		return 99;
	test_frames();
	test_back_pressure();
	test_fds();
	test_bad_peer();
	test_free_inside();
	loop_fini();
	return tap_end();
}
