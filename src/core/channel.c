/*
 * channel.c - framing, output queue, SCM_RIGHTS.
 */
#include "core/channel.h"

#include "base/secret.h"
#include "core/io.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD 8      /* before each frame: u32 length, u32 descriptors */
#define FDS_HELD 16 /* came in and not yet claimed by a frame */
#define READ_BYTES 65536

/* Descriptors that leave with the byte at stream offset `at`. */
struct parcel {
	uint64_t at;
	int fd[CHANNEL_FDS_MAX];
	size_t nfds;
	STAILQ_ENTRY(parcel)
	link;
};

struct channel {
	struct io io;
	size_t max_frame, max_queued;
	const struct channel_ops *ops;
	void *arg;
	struct buf in, out;
	uint64_t sent; /* bytes that left, ever */
	STAILQ_HEAD(, parcel) parcels;
	int fds[FDS_HELD]; /* came in, oldest first */
	size_t nfds;
	int broken; /* negative errno */
	bool eof, told;
	bool *freed; /* set when freed inside a callback */
	struct job close_job;
};

static void
on_close(struct job *job)
{
	struct channel *c = container_of(job, struct channel, close_job);

	if (c->told)
		return;
	c->told = true;
	io_want(&c->io, 0);
	c->ops->closed(c, c->broken, c->arg);
}

static void
channel_fail(struct channel *c, int rc)
{
	if (c->broken == 0)
		c->broken = rc;
	c->eof = true;
	io_want(&c->io, 0);
	if (!c->told && !c->close_job.queued)
		loop_post(&c->close_job);
}

static void
drop_parcel(struct channel *c)
{
	struct parcel *parcel = STAILQ_FIRST(&c->parcels);

	STAILQ_REMOVE_HEAD(&c->parcels, link);
	for (size_t i = 0; i < parcel->nfds; i++)
		(void)close(parcel->fd[i]);
	free(parcel);
}

/* Sends up to `len` bytes from the front, with descriptors if given. */
static ssize_t
send_some(struct channel *c, size_t len, const struct parcel *parcel)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
	} control = { .space = { 0 } };
	struct iovec iov = { .iov_base = c->out.data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (parcel != NULL) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * parcel->nfds);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * parcel->nfds);
		memcpy(CMSG_DATA(cmsg), parcel->fd, sizeof(int) * parcel->nfds);
	}
	return sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
flush(struct channel *c)
{
	while (c->out.len > 0) {
		struct parcel *parcel = STAILQ_FIRST(&c->parcels);
		bool now = parcel != NULL && parcel->at == c->sent;
		size_t len = c->out.len;
		ssize_t n;

		if (parcel != NULL && !now && parcel->at < c->sent + len)
			len = (size_t)(parcel->at - c->sent);
		n = send_some(c, len, now ? parcel : NULL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			channel_fail(c, -errno);
			return;
		}
		if (now)
			drop_parcel(c);
		c->sent += (uint64_t)n;
		secret_wipe(c->out.data, (size_t)n);
		buf_consume(&c->out, (size_t)n);
	}
	io_want(&c->io, c->out.len > 0 ? IO_READ | IO_WRITE : IO_READ);
}

static void
take_fds(struct channel *c, struct msghdr *msg)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m != NULL;
	     m = CMSG_NXTHDR(msg, m)) {
		size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(fd));
			if (c->nfds < FDS_HELD)
				c->fds[c->nfds++] = fd;
			else
				(void)close(fd);
		}
	}
}

static uint32_t
get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 24;
}

static void
put_u32(unsigned char *p, size_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (8 * i) & 255);
}

/*
 * Hands over the whole frames that are in. The kernel may glue the bytes of
 * a frame without descriptors to those of one with some, hence their number
 * in the head.
 */
static void
deliver(struct channel *c)
{
	bool freed = false;
	size_t used = 0;

	c->freed = &freed;
	while (c->in.len - used >= HEAD) {
		const unsigned char *p = c->in.data + used;
		size_t len = get_u32(p), nfds = get_u32(p + 4);
		int fds[CHANNEL_FDS_MAX];

		if (len > c->max_frame || nfds > CHANNEL_FDS_MAX) {
			channel_fail(c, -EMSGSIZE);
			break;
		}
		if (c->in.len - used - HEAD < len)
			break;
		if (nfds > c->nfds) {
			channel_fail(c, -EPROTO);
			break;
		}
		memcpy(fds, c->fds, nfds * sizeof(int));
		c->nfds -= nfds;
		memmove(c->fds, c->fds + nfds, c->nfds * sizeof(int));
		used += HEAD + len;
		c->ops->frame(c, p + HEAD, len, fds, nfds, c->arg);
		if (freed)
			return;
		secret_wipe(c->in.data + used - len, len);
	}
	c->freed = NULL;
	buf_consume(&c->in, used);
}

static void
on_channel_io(struct io *io, int what)
{
	struct channel *c = container_of(io, struct channel, io);
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_len = READ_BYTES };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space) };
	ssize_t n;

	if (what & IO_WRITE) {
		flush(c);
		if (c->eof)
			return;
	}
	if (!(what & IO_READ))
		return;
	iov.iov_base = buf_reserve(&c->in, READ_BYTES);
	if (iov.iov_base == NULL) {
		channel_fail(c, -EMSGSIZE);
		return;
	}
	n = recvmsg(io->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		channel_fail(c, n < 0 && errno != ECONNRESET ? -errno : 0);
		return;
	}
	take_fds(c, &msg);
	c->in.len += (size_t)n;
	deliver(c);
}

struct channel *
channel_new(int fd, size_t max_frame, size_t max_queued,
    const struct channel_ops *ops, void *arg)
{
	struct channel *c = mem_new(sizeof(*c));

	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	c->max_frame = max_frame;
	c->max_queued = max_queued;
	c->ops = ops;
	c->arg = arg;
	c->close_job.run = on_close;
	STAILQ_INIT(&c->parcels);
	buf_init(&c->in, max_frame + HEAD + READ_BYTES);
	buf_init(&c->out, max_queued);
	io_watch(&c->io, fd, IO_READ, on_channel_io);
	return c;
}

void
channel_free(struct channel *c)
{
	int fd;

	if (c == NULL)
		return;
	if (c->freed != NULL)
		*c->freed = true;
	loop_unpost(&c->close_job);
	fd = c->io.fd;
	io_unwatch(&c->io);
	(void)close(fd);
	for (size_t i = 0; i < c->nfds; i++)
		(void)close(c->fds[i]);
	while (!STAILQ_EMPTY(&c->parcels))
		drop_parcel(c);
	buf_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

int
channel_begin(struct channel *c, size_t len, const int *fds, size_t nfds,
    unsigned char **bytes)
{
	struct parcel *parcel = NULL;
	unsigned char *head;
	int fd;

	if (c->eof)
		return c->broken != 0 ? c->broken : -EPIPE;
	if (len > c->max_frame || nfds > CHANNEL_FDS_MAX)
		return -EMSGSIZE;
	head = buf_reserve(&c->out, HEAD + len);
	if (head == NULL) {
		channel_fail(c, -ENOBUFS);
		return -ENOBUFS;
	}
	if (nfds > 0) {
		parcel = mem_new(sizeof(*parcel));
		parcel->at = c->sent + c->out.len;
		STAILQ_INSERT_TAIL(&c->parcels, parcel, link);
	}
	for (size_t i = 0; i < nfds; i++) {
		fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0) {
			channel_fail(c, -errno);
			return c->broken;
		}
		parcel->fd[parcel->nfds++] = fd;
	}
	put_u32(head, len);
	put_u32(head + 4, nfds);
	c->out.len += HEAD + len;
	*bytes = head + HEAD;
	return 0;
}

int
channel_push(struct channel *c)
{
	flush(c);
	return c->broken;
}

int
channel_send_fds(struct channel *c, const void *bytes, size_t len,
    const int *fds, size_t nfds)
{
	unsigned char *to;
	int rc = channel_begin(c, len, fds, nfds, &to);

	if (rc < 0)
		return rc;
	if (len > 0)
		memcpy(to, bytes, len);
	return channel_push(c);
}

int
channel_send(struct channel *c, const void *bytes, size_t len)
{
	return channel_send_fds(c, bytes, len, NULL, 0);
}

int
channel_pair(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		   0, fd) < 0
	    ? -errno
	    : 0;
}
