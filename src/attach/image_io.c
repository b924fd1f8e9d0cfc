/*
 * image_io.c - see image_io.h.
 *
 * Callbacks of librbd come on its own threads and do two things: read the
 * return value, and hand a job or an op to the loop. Those of requests answer
 * a success in between, by one system call that no lock is held for.
 */
#include "attach/image_io.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <rbd/librbd.h>
#include <string.h>
#include <sys/uio.h>

static struct {
	unsigned requests;   /* of all images, waiting or in flight */
	uint64_t bytes;      /* their buffers */
	struct table *table; /* counts them; NULL: nobody does */
} total;

/* Images with pieces that may be joined, while a batch is read. */
static TAILQ_HEAD(, image_io) held = TAILQ_HEAD_INITIALIZER(held);
static bool in_batch;

static void (*on_failure)(
    struct image_io *io, const struct image_req *req, int rc);

void
image_io_setup(struct table *table,
    void (*failed)(struct image_io *io, const struct image_req *req, int rc))
{
	total.table = table;
	on_failure = failed;
}

void
image_io_init(struct image_io *io)
{
	assert(!io->changed_job.queued);
	memset(io, 0, sizeof(*io));
	TAILQ_INIT(&io->flying);
	TAILQ_INIT(&io->queued);
}

/* ---- requests ---------------------------------------------------------- */

static void pump(struct image_io *io);

static void
count_requests(int n)
{
	total.requests += (unsigned)n;
	if (total.table != NULL)
		atomic_store_explicit(&total.table->in_flight, total.requests,
		    memory_order_relaxed);
}

/* On any thread: the first one answers. Returns whether this was the first. */
static bool
answer(struct image_req *req, int rc)
{
	if (atomic_exchange(&req->answered, true))
		return false;
	req->answer(req, rc);
	return true;
}

static void
note(struct image_req *req, int rc)
{
	if (total.table != NULL && !req->noted)
		table_io_note(total.table, (enum table_io_kind)req->kind,
		    req->len, rc, clock_now_us() - req->began_us);
	req->noted = true;
}

static void
finish(struct image_req *req, int rc)
{
	total.bytes -= req->data == NULL ? 0 : req->len;
	count_requests(-1);
	note(req, rc);
	(void)answer(req, rc);
	req->done(req);
}

static void
on_landed(struct job *job)
{
	struct image_req *req = container_of(job, struct image_req, job), *next;
	struct image_io *io = req->io;
	int rc = req->rc;

	free(req->pieces);
	for (next = req; next != NULL; next = next->joined) {
		TAILQ_REMOVE(&io->flying, next, link);
		io->ops--;
		io->bytes -= next->len;
	}
	if (rc < 0 && on_failure != NULL)
		on_failure(io, req, rc);
	for (; req != NULL; req = next) {
		next = req->joined;
		finish(req, rc);
	}
	pump(io);
}

static void
on_refused(struct job *job)
{
	finish(container_of(job, struct image_req, job), -EIO);
}

/* A read past a shrunk end is short; what is missing reads as zeros. */
static void
zero_missing(struct image_req *req, uint64_t got)
{
	for (; req != NULL; req = req->joined) {
		uint64_t have = got < req->len ? got : req->len;

		memset((char *)req->data + have, 0, req->len - have);
		got -= have;
	}
}

static void
on_rbd(rbd_completion_t completion, void *arg)
{
	struct image_req *req = arg;
	ssize_t rc = rbd_aio_get_return_value(completion);

	rbd_aio_release(completion);
	if (req->kind == IMAGE_READ && rc >= 0)
		zero_missing(req, (uint64_t)rc);
	req->rc = rc < 0 ? (int)rc : 0;
	/* Failures go by the loop: what they mean is looked at first. */
	for (struct image_req *r = req; rc >= 0 && r != NULL; r = r->joined)
		(void)answer(r, 0);
	loop_post_remote(&req->job);
}

static bool
has_room(const struct image_io *io, const struct image_req *req)
{
	return io->ops == 0 ||
	    (io->ops < IMAGE_OPS_MAX &&
		io->bytes + req->len <= IMAGE_BYTES_MAX);
}

/* The next one of the queue is on its way. */
static struct image_req *
take_off(struct image_io *io)
{
	struct image_req *req = TAILQ_FIRST(&io->queued);

	TAILQ_REMOVE(&io->queued, req, link);
	io->waiting--;
	TAILQ_INSERT_TAIL(&io->flying, req, link);
	io->ops++;
	io->bytes += req->len;
	req->joined = NULL;
	req->pieces = NULL;
	return req;
}

/* `req` with those behind it in the queue that continue it; how many. */
static int
join(struct image_io *io, struct image_req *req, struct iovec *iov)
{
	struct image_req *last = req, *next;
	uint64_t len = req->len;
	int n = 1;

	iov[0] = (struct iovec){ req->data, req->len };
	while (n < IMAGE_JOINED_MAX &&
	    (next = TAILQ_FIRST(&io->queued)) != NULL &&
	    next->kind == req->kind && next->offset == req->offset + len &&
	    len + next->len <= IMAGE_JOINED_BYTES && has_room(io, next)) {
		last = last->joined = take_off(io);
		iov[n++] = (struct iovec){ last->data, last->len };
		len += last->len;
	}
	return n;
}

static int
write_joined(struct image_io *io, struct image_req *req, rbd_completion_t c)
{
	struct iovec iov[IMAGE_JOINED_MAX];
	int n = join(io, req, iov);

	return n == 1
	    ? rbd_aio_write(io->rbd, req->offset, req->len, req->data, c)
	    : rbd_aio_writev(io->rbd, iov, n, req->offset, c);
}

/* librbd looks at the list of pieces again when their data has come. */
static int
read_joined(struct image_io *io, struct image_req *req, rbd_completion_t c)
{
	struct iovec iov[IMAGE_JOINED_MAX];
	int n = join(io, req, iov);

	if (n == 1)
		return rbd_aio_read(
		    io->rbd, req->offset, req->len, req->data, c);
	req->pieces = mem_new((size_t)n * sizeof(*iov));
	memcpy(req->pieces, iov, (size_t)n * sizeof(*iov));
	return rbd_aio_readv(io->rbd, req->pieces, n, req->offset, c);
}

static void
launch(struct image_io *io)
{
	struct image_req *req = take_off(io);
	rbd_completion_t c;
	int rc;

	req->job.run = on_landed;
	rc = rbd_aio_create_completion(req, on_rbd, &c);
	if (rc == 0) {
		rc = -EINVAL;
		switch (req->kind) {
		case IMAGE_READ:
			rc = read_joined(io, req, c);
			break;
		case IMAGE_WRITE:
			rc = write_joined(io, req, c);
			break;
		case IMAGE_FLUSH:
			rc = rbd_aio_flush(io->rbd, c);
			break;
		case IMAGE_ZERO:
			/*
			 * Not a discard: that skips what is smaller than
			 * rbd_discard_granularity_bytes and would leave old
			 * data.
			 */
			rc = rbd_aio_write_zeroes(
			    io->rbd, req->offset, req->len, c, 0, 0);
			break;
		case IMAGE_REQ_KINDS:
			break;
		}
		if (rc < 0)
			rbd_aio_release(c);
	}
	if (rc < 0) {
		req->rc = rc;
		loop_post(&req->job);
	}
}

static void
pump(struct image_io *io)
{
	struct image_req *req;

	while (io->ready && (req = TAILQ_FIRST(&io->queued)) != NULL &&
	    has_room(io, req))
		launch(io);
}

void
image_io_submit(struct image_io *io, struct image_req *req)
{
	req->io = io;
	req->answered = req->noted = false;
	req->began_us = clock_now_us();
	count_requests(1);
	total.bytes += req->data == NULL ? 0 : req->len;
	if (io->dead) {
		req->job.run = on_refused;
		loop_post(&req->job);
		return;
	}
	TAILQ_INSERT_TAIL(&io->queued, req, link);
	io->waiting++;
	if (in_batch && (req->kind == IMAGE_WRITE || req->kind == IMAGE_READ) &&
	    req->len >= IMAGE_PIECE_MIN && req->len < IMAGE_JOINED_BYTES) {
		if (!io->held)
			TAILQ_INSERT_TAIL(&held, io, held_link);
		io->held = true;
		io->held_bytes += req->len;
		if (io->held_bytes < IMAGE_JOINED_BYTES)
			return;
	}
	io->held_bytes = 0;
	pump(io);
}

void
image_io_batch_begin(void)
{
	in_batch = true;
}

void
image_io_batch_end(void)
{
	struct image_io *io;

	in_batch = false;
	while ((io = TAILQ_FIRST(&held)) != NULL) {
		TAILQ_REMOVE(&held, io, held_link);
		io->held = false;
		io->held_bytes = 0;
		pump(io);
	}
}

void
image_io_resume(struct image_io *io)
{
	io->ready = true;
	pump(io);
}

unsigned
image_io_abort(struct image_io *io)
{
	struct image_req *req;
	unsigned answered = 0;

	io->dead = true;
	TAILQ_FOREACH (req, &io->flying, link) {
		if (!answer(req, -EIO))
			continue;
		note(req, -EIO);
		answered++;
	}
	while ((req = TAILQ_FIRST(&io->queued)) != NULL) {
		TAILQ_REMOVE(&io->queued, req, link);
		io->waiting--;
		finish(req, -EIO);
		answered++;
	}
	return answered;
}

unsigned
image_io_total(void)
{
	return total.requests;
}

uint64_t
image_io_total_bytes(void)
{
	return total.bytes;
}

/* ---- open, close, lock ------------------------------------------------- */

static void
on_op(rbd_completion_t completion, void *arg)
{
	int rc = (int)rbd_aio_get_return_value(completion);

	rbd_aio_release(completion);
	wake_up_remote(arg, rc < 0 ? rc : 0);
}

/* A completion that ends the wait; NULL: the waiter is told that there is none. */
static rbd_completion_t
completion_for(struct wake *waiter)
{
	rbd_completion_t c = NULL;
	int rc = rbd_aio_create_completion(waiter, on_op, &c);

	if (rc < 0)
		wake_up(waiter, rc);
	return rc < 0 ? NULL : c;
}

/* A call that was not accepted has no callback. */
static void
accepted(rbd_completion_t c, int rc, struct wake *waiter)
{
	if (rc >= 0)
		return;
	rbd_aio_release(c);
	wake_up(waiter, rc);
}

void
image_io_open_start(struct image_io *io, const char *image,
    const char *image_id, bool read_only, struct wake *waiter)
{
	rbd_completion_t c = completion_for(waiter);
	bool by_id = !str_is_empty(image_id);
	int rc;

	io->rbd = NULL;
	if (c == NULL)
		return;
	if (by_id && read_only)
		rc = rbd_aio_open_by_id_read_only(
		    io->ioctx, image_id, &io->rbd, NULL, c);
	else if (by_id)
		rc = rbd_aio_open_by_id(io->ioctx, image_id, &io->rbd, NULL, c);
	else if (read_only)
		rc = rbd_aio_open_read_only(
		    io->ioctx, image, &io->rbd, NULL, c);
	else
		rc = rbd_aio_open(io->ioctx, image, &io->rbd, NULL, c);
	accepted(c, rc, waiter);
}

void
image_io_close_start(struct image_io *io, struct wake *waiter)
{
	rbd_completion_t c = completion_for(waiter);
	rbd_image_t rbd = io->rbd;

	if (io->watched)
		(void)rbd_update_unwatch(rbd, io->watch);
	io->watched = false;
	io->ready = false;
	io->rbd = NULL;
	if (c != NULL)
		accepted(c, rbd_aio_close(rbd, c), waiter);
}

void
image_io_flush_start(struct image_io *io, struct wake *waiter)
{
	rbd_completion_t c = completion_for(waiter);

	if (c != NULL)
		accepted(c, rbd_aio_flush(io->rbd, c), waiter);
}

void
image_io_read_start(struct image_io *io, uint64_t offset, char *data,
    size_t len, struct wake *waiter)
{
	rbd_completion_t c = completion_for(waiter);

	if (c != NULL)
		accepted(
		    c, rbd_aio_read(io->rbd, offset, len, data, c), waiter);
}

int
image_io_info(struct image_io *io, char *image_id, size_t id_size,
    uint64_t *size_bytes, bool *exclusive_lock)
{
	uint64_t features;
	int rc;

	if ((rc = rbd_get_id(io->rbd, image_id, id_size)) < 0 ||
	    (rc = rbd_get_size(io->rbd, size_bytes)) < 0 ||
	    (rc = rbd_get_features(io->rbd, &features)) < 0)
		return rc;
	*exclusive_lock = (features & RBD_FEATURE_EXCLUSIVE_LOCK) != 0;
	return 0;
}

int
image_io_keep_lock(struct image_io *io)
{
	return rbd_lock_acquire(io->rbd, RBD_LOCK_MODE_EXCLUSIVE);
}

/* ---- header watch ------------------------------------------------------ */

static void
on_changed_job(struct job *job)
{
	struct image_io *io = container_of(job, struct image_io, changed_job);

	atomic_store(&io->changed, false);
	if (io->rbd != NULL)
		io->on_change(io);
}

/* librbd's thread: one job at a time is under way, however many changes. */
static void
on_header(void *arg)
{
	struct image_io *io = arg;

	if (!atomic_exchange(&io->changed, true))
		loop_post_remote(&io->changed_job);
}

int
image_io_watch(struct image_io *io, void (*on_change)(struct image_io *io))
{
	int rc;

	io->on_change = on_change;
	io->changed_job.run = on_changed_job;
	rc = rbd_update_watch(io->rbd, &io->watch, on_header, io);
	io->watched = rc == 0;
	return rc;
}
