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

/* Before each frame. */
struct frame_head {
	uint32_t len, nfds;
};
#define HEAD sizeof(struct frame_head)

/* Room for the descriptors of one message. */
union channel_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
};

#define FDS_HELD 16 /* came in and not yet claimed by a frame */
#define READ_BYTES 65536

/* What is to be sent. Descriptors leave with its first byte. */
struct outgoing {
	size_t len, sent;
	size_t nfds;
	int fd[CHANNEL_FDS_MAX];
	STAILQ_ENTRY(outgoing) link;
	unsigned char bytes[];
};

struct channel {
	struct io io;
	size_t max_frame, max_queued;
	const struct channel_ops *ops;
	void *arg;
	struct buf in;
	STAILQ_HEAD(, outgoing) out;
	size_t queued;     /* bytes in them */
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

/* The first frame has left, or never will. */
static void
drop_first(struct channel *c)
{
	struct outgoing *o = STAILQ_FIRST(&c->out);

	STAILQ_REMOVE_HEAD(&c->out, link);
	c->queued -= o->len;
	for (size_t i = 0; i < o->nfds; i++)
		(void)close(o->fd[i]);
	secret_wipe(o->bytes, o->len);
	free(o);
}

static void
flush(struct channel *c)
{
	struct outgoing *o;

	while ((o = STAILQ_FIRST(&c->out)) != NULL) {
		union channel_control control = { .space = { 0 } };
		struct cmsghdr *cmsg = &control.align;
		struct iovec iov = { .iov_base = o->bytes + o->sent,
			.iov_len = o->len - o->sent };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;

		if (o->nfds > 0 && o->sent == 0) {
			msg.msg_control = control.space;
			msg.msg_controllen = CMSG_SPACE(sizeof(int) * o->nfds);
			cmsg->cmsg_level = SOL_SOCKET;
			cmsg->cmsg_type = SCM_RIGHTS;
			cmsg->cmsg_len = CMSG_LEN(sizeof(int) * o->nfds);
			memcpy(CMSG_DATA(cmsg), o->fd, sizeof(int) * o->nfds);
		}
		n = sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			channel_fail(c, -errno);
			return;
		}
		o->sent += (size_t)n;
		if (o->sent == o->len)
			drop_first(c);
	}
	io_want(&c->io, o != NULL ? IO_READ | IO_WRITE : IO_READ);
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
		struct frame_head head;
		size_t len, nfds;
		int fds[CHANNEL_FDS_MAX];

		memcpy(&head, p, HEAD);
		len = head.len;
		nfds = head.nfds;
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
	}
	c->freed = NULL;
	buf_consume(&c->in, used);
}

static void
on_channel_io(struct io *io, int what)
{
	struct channel *c = container_of(io, struct channel, io);
	union channel_control control;
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
	STAILQ_INIT(&c->out);
	buf_init(&c->in, max_frame + HEAD + READ_BYTES);
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
	while (!STAILQ_EMPTY(&c->out))
		drop_first(c);
	buf_fini(&c->in);
	free(c);
}

int
channel_begin(struct channel *c, size_t len, const int *fds, size_t nfds,
    unsigned char **bytes)
{
	struct outgoing *o;

	if (c->eof)
		return c->broken != 0 ? c->broken : -EPIPE;
	if (len > c->max_frame || nfds > CHANNEL_FDS_MAX)
		return -EMSGSIZE;
	if (c->queued + HEAD + len > c->max_queued) {
		channel_fail(c, -ENOBUFS);
		return -ENOBUFS;
	}
	o = mem_new(sizeof(*o) + HEAD + len);
	o->len = HEAD + len;
	c->queued += o->len;
	STAILQ_INSERT_TAIL(&c->out, o, link);
	for (; o->nfds < nfds; o->nfds++) {
		o->fd[o->nfds] = fcntl(fds[o->nfds], F_DUPFD_CLOEXEC, 3);
		if (o->fd[o->nfds] < 0) {
			channel_fail(c, -errno);
			return c->broken;
		}
	}
	memcpy(o->bytes,
	    &(struct frame_head){
		.len = (uint32_t)len, .nfds = (uint32_t)nfds },
	    HEAD);
	*bytes = o->bytes + HEAD;
	return 0;
}

int
channel_push(struct channel *c)
{
	flush(c);
	return c->broken;
}

int
channel_pair(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		   0, fd) < 0
	    ? -errno
	    : 0;
}
