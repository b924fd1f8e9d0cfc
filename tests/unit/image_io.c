/*
 * Limits, order and abort of one image's requests, against fakes of librbd.
 */
#include "attach/image_io.h"
#include "tests/tap.h"

#include <errno.h>
#include <rbd/librbd.h>
#include <sys/uio.h>

/* ---- librbd, as far as image_io.c calls it ------------------------------ */

struct fake {
	rbd_callback_t callback;
	void *arg;
	ssize_t rc;
};

static struct fake *flying[1024];
static unsigned nflying;
static int refuse; /* what the next submission returns */

int
rbd_aio_create_completion(
    void *arg, rbd_callback_t callback, rbd_completion_t *c)
{
	struct fake *fake = mem_new(sizeof(*fake));

	fake->callback = callback;
	fake->arg = arg;
	*c = fake;
	return 0;
}

void
rbd_aio_release(rbd_completion_t c)
{
	free(c);
}

ssize_t
rbd_aio_get_return_value(rbd_completion_t c)
{
	return ((struct fake *)c)->rc;
}

static int
submit(rbd_completion_t c)
{
	if (refuse == 0)
		flying[nflying++] = c;
	return refuse;
}

/* The oldest request comes back, as if from librbd's thread. */
static void
come_back(ssize_t rc)
{
	struct fake *fake = flying[0];

	memmove(flying, flying + 1, --nflying * sizeof(flying[0]));
	fake->rc = rc;
	fake->callback(fake, fake->arg);
}

static void
land(ssize_t rc)
{
	come_back(rc);
	loop_turn(false);
}

int
rbd_aio_read(
    rbd_image_t image, uint64_t off, size_t len, char *buf, rbd_completion_t c)
{
	(void)image;
	(void)off;
	memset(buf, 'r', len);
	return submit(c);
}

int
rbd_aio_write(rbd_image_t image, uint64_t off, size_t len, const char *buf,
    rbd_completion_t c)
{
	(void)image;
	(void)off;
	(void)len;
	(void)buf;
	return submit(c);
}

static int pieces; /* of the last rbd_aio_writev() or rbd_aio_readv() */
static uint64_t pieces_at, pieces_len;

int
rbd_aio_writev(rbd_image_t image, const struct iovec *iov, int n, uint64_t off,
    rbd_completion_t c)
{
	(void)image;
	pieces = n;
	pieces_at = off;
	pieces_len = 0;
	for (int i = 0; i < n; i++)
		pieces_len += iov[i].iov_len;
	return submit(c);
}

static const struct iovec *reads; /* looked at again by come_back() */

int
rbd_aio_readv(rbd_image_t image, const struct iovec *iov, int n, uint64_t off,
    rbd_completion_t c)
{
	reads = iov;
	return rbd_aio_writev(image, iov, n, off, c);
}

int
rbd_aio_flush(rbd_image_t image, rbd_completion_t c)
{
	(void)image;
	return submit(c);
}

int
rbd_aio_write_zeroes(rbd_image_t image, uint64_t off, size_t len,
    rbd_completion_t c, int flags, int op_flags)
{
	(void)image;
	(void)off;
	(void)len;
	(void)flags;
	(void)op_flags;
	return submit(c);
}

int
rbd_aio_open(rados_ioctx_t io, const char *name, rbd_image_t *image,
    const char *snap, rbd_completion_t c)
{
	(void)io;
	(void)name;
	(void)snap;
	*image = (rbd_image_t)&refuse;
	return submit(c);
}

int
rbd_aio_open_by_id(rados_ioctx_t io, const char *id, rbd_image_t *image,
    const char *snap, rbd_completion_t c)
{
	return rbd_aio_open(io, id, image, snap, c);
}

int
rbd_aio_open_read_only(rados_ioctx_t io, const char *name, rbd_image_t *image,
    const char *snap, rbd_completion_t c)
{
	return rbd_aio_open(io, name, image, snap, c);
}

int
rbd_aio_open_by_id_read_only(rados_ioctx_t io, const char *id,
    rbd_image_t *image, const char *snap, rbd_completion_t c)
{
	return rbd_aio_open(io, id, image, snap, c);
}

int
rbd_aio_close(rbd_image_t image, rbd_completion_t c)
{
	(void)image;
	return submit(c);
}

int
rbd_get_id(rbd_image_t image, char *id, size_t size)
{
	(void)image;
	snprintf(id, size, "10ab");
	return 0;
}

int
rbd_get_size(rbd_image_t image, uint64_t *size)
{
	(void)image;
	*size = 1 << 30;
	return 0;
}

int
rbd_get_features(rbd_image_t image, uint64_t *features)
{
	(void)image;
	*features = RBD_FEATURE_EXCLUSIVE_LOCK;
	return 0;
}

int64_t
rbd_get_data_pool_id(rbd_image_t image)
{
	(void)image;
	return 0;
}

int
rbd_lock_acquire(rbd_image_t image, rbd_lock_mode_t mode)
{
	(void)image;
	return mode == RBD_LOCK_MODE_EXCLUSIVE ? 0 : -EINVAL;
}

int
rbd_update_watch(rbd_image_t image, uint64_t *handle,
    rbd_update_callback_t callback, void *arg)
{
	(void)image;
	(void)callback;
	(void)arg;
	*handle = 1;
	return 0;
}

int
rbd_update_unwatch(rbd_image_t image, uint64_t handle)
{
	(void)image;
	return handle == 1 ? 0 : -EINVAL;
}

/* ---- requests ----------------------------------------------------------- */

struct test_req {
	struct image_req req;
	int answers, dones, rc;
};

static void
on_answer(struct image_req *req, int rc)
{
	struct test_req *t = container_of(req, struct test_req, req);

	t->answers++;
	t->rc = rc;
}

static void
on_done(struct image_req *req)
{
	container_of(req, struct test_req, req)->dones++;
}

static char data[8];

static void
put_at(struct image_io *io, struct test_req *t, enum image_req_kind kind,
    uint64_t offset, uint64_t len)
{
	*t = (struct test_req){ .req = { .kind = kind,
				    .offset = offset,
				    .len = len,
				    .data = kind <= IMAGE_WRITE ? data : NULL,
				    .answer = on_answer,
				    .done = on_done } };
	image_io_submit(io, &t->req);
}

static void
put(struct image_io *io, struct test_req *t, enum image_req_kind kind,
    uint64_t len)
{
	put_at(io, t, kind, 0, len);
}

#define KB 1024U

static void
test_joining(void)
{
	static struct test_req t[40];
	struct image_io io = { 0 }, other = { 0 };

	image_io_init(&io);
	image_io_init(&other);
	image_io_resume(&io);
	image_io_resume(&other);
	image_io_batch_begin();
	put_at(&io, &t[0], IMAGE_WRITE, 0, 300 * KB);
	put_at(&other, &t[1], IMAGE_WRITE, 300 * KB, 200 * KB);
	put_at(&io, &t[2], IMAGE_WRITE, 300 * KB, 200 * KB);
	is_int(nflying, 0, "pieces are held while a batch is read");
	put_at(&io, &t[3], IMAGE_WRITE, 900 * KB, 524 * KB);
	is_int(nflying, 2, "until there is enough of them");
	ok(pieces == 2 && pieces_at == 0 && pieces_len == 500 * KB,
	    "those side by side go as one write");
	put_at(&io, &t[4], IMAGE_WRITE, 0, 4 * KB);
	is_int(nflying, 3, "small ones are not held");
	put_at(&io, &t[5], IMAGE_ZERO, 0, 128 * KB);
	is_int(nflying, 4, "nor is what is no write");
	put_at(&io, &t[6], IMAGE_WRITE, 0, KB * KB);
	is_int(nflying, 5, "nor what is as large as it can be");
	image_io_batch_end();
	is_int(nflying, 6, "at the batch's end all go");
	land(0);
	ok(t[0].answers == 1 && t[0].dones == 1 && t[2].answers == 1 &&
		t[2].dones == 1 && t[3].answers == 0,
	    "each piece is answered for itself");
	while (nflying > 0)
		land(0);
	ok(io.ops == 0 && io.bytes == 0 && other.ops == 0 &&
		image_io_total() == 0,
	    "nothing is left");

	image_io_batch_begin();
	put_at(&io, &t[0], IMAGE_WRITE, 0, 500 * KB);
	put_at(&io, &t[1], IMAGE_WRITE, 500 * KB, 500 * KB);
	put_at(&io, &t[2], IMAGE_WRITE, 1000 * KB, 500 * KB);
	image_io_batch_end();
	is_int(nflying, 2, "a joined write has a limit");
	image_io_abort(&io);
	ok(t[0].answers == 1 && t[1].answers == 1 && t[1].rc == -EIO,
	    "an abort answers all pieces");
	land(0);
	ok(t[0].answers == 1 && t[0].dones == 1 && t[1].dones == 1,
	    "which are freed when they come back");
	while (nflying > 0)
		land(0);

	image_io_init(&io);
	image_io_resume(&io);
	refuse = -EINVAL;
	image_io_batch_begin();
	put_at(&io, &t[0], IMAGE_WRITE, 0, 100 * KB);
	put_at(&io, &t[1], IMAGE_WRITE, 100 * KB, 100 * KB);
	image_io_batch_end();
	refuse = 0;
	loop_turn(false);
	ok(t[0].rc == -EINVAL && t[1].rc == -EINVAL && t[1].dones == 1,
	    "a joined write that librbd does not take fails as a whole");
	for (int i = 0; i < 20; i++)
		put_at(&other, &t[i], IMAGE_WRITE, 0, 4 * KB);
	while (nflying > 0)
		land(0);
}

static void
put_read(struct image_io *io, struct test_req *t, char *to, uint64_t offset,
    uint64_t len)
{
	*t = (struct test_req){ .req = { .kind = IMAGE_READ,
				    .offset = offset,
				    .len = len,
				    .data = to,
				    .answer = on_answer,
				    .done = on_done } };
	image_io_submit(io, &t->req);
}

static void
test_joined_reads(void)
{
	static char buffer[1024 * KB + 1];
	static struct test_req t[4];
	struct image_io io = { 0 };

	memset(buffer, 'x', sizeof(buffer));
	image_io_init(&io);
	image_io_resume(&io);
	image_io_batch_begin();
	put_read(&io, &t[0], buffer, 0, 512 * KB);
	is_int(nflying, 0, "a piece of a read is held");
	put_read(&io, &t[1], buffer + 512 * KB, 512 * KB, 512 * KB);
	is_int(nflying, 1, "until all are there, which go as one read");
	ok(pieces == 2 && pieces_at == 0 && pieces_len == 1024 * KB,
	    "of both pieces");
	put_at(&io, &t[2], IMAGE_WRITE, 0, 100 * KB);
	put_read(&io, &t[3], buffer, 100 * KB, 100 * KB);
	image_io_batch_end();
	is_int(nflying, 3, "a read does not continue a write");
	for (int i = 0; i < 2; i++)
		memset(reads[i].iov_base, 'r', reads[i].iov_len);
	land(600 * KB);
	ok(t[0].answers == 1 && t[0].dones == 1 && t[0].rc == 0 &&
		t[1].answers == 1 && t[1].dones == 1 && t[1].rc == 0,
	    "each piece is answered for itself");
	ok(buffer[0] == 'r' && buffer[600 * KB - 1] == 'r' &&
		buffer[600 * KB] == 0 && buffer[1024 * KB - 1] == 0 &&
		buffer[1024 * KB] == 'x',
	    "what a short read lacks reads as zeros, in all pieces");
	while (nflying > 0)
		land(0);

	image_io_batch_begin();
	put_read(&io, &t[0], buffer, 0, 512 * KB);
	put_read(&io, &t[1], buffer + 512 * KB, 512 * KB, 512 * KB);
	image_io_batch_end();
	memset(buffer, 'x', sizeof(buffer));
	land(100 * KB);
	ok(buffer[100 * KB - 1] == 'x' && buffer[100 * KB] == 0 &&
		buffer[1024 * KB - 1] == 0,
	    "also where it ends in the first one");
	image_io_batch_begin();
	put_read(&io, &t[0], buffer, 0, 512 * KB);
	put_read(&io, &t[1], buffer + 512 * KB, 512 * KB, 512 * KB);
	image_io_batch_end();
	land(-ENOENT);
	ok(t[0].rc == -ENOENT && t[1].rc == -ENOENT && t[1].dones == 1,
	    "a failure is all pieces'");
	ok(io.ops == 0 && io.bytes == 0 && image_io_total() == 0,
	    "nothing is left");
}

static void
test_limits(void)
{
	static struct test_req t[300];
	struct image_io io = { 0 };
	unsigned done = 0;

	image_io_init(&io);
	for (int i = 0; i < 300; i++)
		put(&io, &t[i], IMAGE_WRITE, 4096);
	is_int(nflying, 0, "requests wait until the image is open");
	is_int(image_io_total(), 300, "and are counted");
	image_io_resume(&io);
	is_int(nflying, IMAGE_OPS_MAX, "then as many go as an image may have");
	land(0);
	is_int(nflying, IMAGE_OPS_MAX, "one that comes back lets the next go");
	ok(t[0].answers == 1 && t[0].dones == 1 && t[1].answers == 0,
	    "in order");
	while (nflying > 0)
		land(0);
	for (int i = 0; i < 300; i++)
		done += t[i].answers == 1 && t[i].dones == 1 && t[i].rc == 0;
	is_int(done, 300, "each is answered once");
	ok(io.ops == 0 && io.waiting == 0 && image_io_total() == 0 &&
		image_io_total_bytes() == 0,
	    "nothing is left");
	for (int i = 0; i < 40; i++)
		put(&io, &t[i], IMAGE_WRITE, 1 << 20);
	is_int(nflying, 32, "bytes in flight are limited too");
	while (nflying > 0)
		land(0);
	put(&io, &t[0], IMAGE_ZERO, 1ULL << 40);
	put(&io, &t[1], IMAGE_WRITE, 4096);
	is_int(nflying, 1, "what is larger than the limit goes alone");
	while (nflying > 0)
		land(0);
}

static void
test_failures(void)
{
	struct test_req a, b;
	struct image_io io = { 0 };

	image_io_init(&io);
	image_io_resume(&io);
	put(&io, &a, IMAGE_FLUSH, 0);
	land(-ESHUTDOWN);
	is_int(a.rc, -ESHUTDOWN, "an error of librbd is the answer");
	refuse = -EINVAL;
	put(&io, &b, IMAGE_WRITE, 512);
	is_int(b.answers, 0, "no answer comes inside the call");
	refuse = 0;
	loop_turn(false);
	ok(b.answers == 1 && b.dones == 1 && b.rc == -EINVAL,
	    "a request that librbd does not take fails");
}

static int failures, failed_rc;
static const struct image_req *failed_req;

static void
on_failed(struct image_io *io, const struct image_req *req, int rc)
{
	(void)io;
	failures++;
	failed_req = req;
	failed_rc = rc;
}

static void
test_told_failures(void)
{
	static const int rcs[] = { -EIO, -ESHUTDOWN, -EPERM, -EACCES };
	struct image_io io = { 0 };
	struct test_req t;

	image_io_setup(NULL, on_failed);
	image_io_init(&io);
	image_io_resume(&io);
	put(&io, &t, IMAGE_WRITE, 512);
	land(0);
	is_int(failures, 0, "nobody is told of a success");
	for (size_t i = 0; i < countof(rcs); i++) {
		put(&io, &t, IMAGE_WRITE, 512);
		land(rcs[i]);
		ok(failures == (int)i + 1 && failed_req == &t.req &&
			failed_rc == rcs[i] && t.rc == rcs[i],
		    "but of a failure: %s", strerror(-rcs[i]));
		ok(image_io_is_refusal(rcs[i]) == (i > 0), "which is %s",
		    i > 0 ? "the cluster's refusal" : "not a refusal");
	}
	image_io_setup(NULL, NULL);
}

static void
test_short_read(void)
{
	char buf[8] = "xxxxxxxx";
	struct image_io io = { 0 };
	struct test_req a = { .req = { .kind = IMAGE_READ,
				  .len = 8,
				  .data = buf,
				  .answer = on_answer,
				  .done = on_done } };

	image_io_init(&io);
	image_io_resume(&io);
	image_io_submit(&io, &a.req);
	land(5);
	ok(a.rc == 0 && memcmp(buf, "rrrrr\0\0\0", 8) == 0,
	    "what a short read lacks is zeros");
}

/* What librbd's thread does and what is left to the loop. */
static void
test_answers(void)
{
	struct image_io io = { 0 };
	struct test_req t[3];

	image_io_init(&io);
	image_io_resume(&io);
	put(&io, &t[0], IMAGE_READ, sizeof(data));
	come_back(0);
	ok(t[0].answers == 1 && t[0].rc == 0 && t[0].dones == 0,
	    "a success is answered before the loop knows of it");
	loop_turn(false);
	ok(t[0].answers == 1 && t[0].dones == 1, "... which frees it");
	put(&io, &t[1], IMAGE_WRITE, 512);
	come_back(-ENOSPC);
	is_int(t[1].answers, 0, "a failure waits for the loop");
	loop_turn(false);
	ok(t[1].answers == 1 && t[1].rc == -ENOSPC && t[1].dones == 1,
	    "... which answers it");
	put(&io, &t[2], IMAGE_WRITE, 512);
	come_back(0);
	is_int(image_io_abort(&io), 0,
	    "an abort does not answer what has been answered");
	loop_turn(false);
	ok(t[2].answers == 1 && t[2].rc == 0 && t[2].dones == 1,
	    "... which is freed as always");
}

static void
test_abort(void)
{
	static struct test_req t[200];
	struct image_io io = { 0 };
	struct test_req late;
	unsigned eio = 0, freed = 0;

	image_io_init(&io);
	image_io_resume(&io);
	for (int i = 0; i < 200; i++)
		put(&io, &t[i], IMAGE_WRITE, 512);
	is_int(image_io_abort(&io), 200, "an abort answers all requests");
	for (int i = 0; i < 200; i++) {
		eio += t[i].rc == -EIO && t[i].answers == 1;
		freed += t[i].dones == 1;
	}
	is_int(eio, 200, "with EIO");
	is_int(freed, 200 - IMAGE_OPS_MAX,
	    "but librbd keeps the buffers of those in flight");
	put(&io, &late, IMAGE_WRITE, 512);
	loop_turn(false);
	is_int(late.rc, -EIO, "and those to come");
	is_int(nflying, IMAGE_OPS_MAX, "nothing more goes to librbd");
	while (nflying > 0)
		land(0);
	freed = eio = 0;
	for (int i = 0; i < 200; i++) {
		freed += t[i].dones == 1;
		eio += t[i].answers == 1;
	}
	ok(freed == 200 && eio == 200,
	    "when they come back they are freed and not answered again");
	ok(io.ops == 0 && io.waiting == 0, "nothing is left");
}

/* What rbd-csid reads while we serve, and after us. */
static void
test_counters(void)
{
	const struct table_identity who = {
		.cluster_id = "c", .monitors = "m", .user = "u", .key = "k"
	};
	struct err err = ERR_INIT;
	int fd = table_create(&who, &err);
	struct table *table = table_map(fd, &err), *other;
	struct image_io io = { 0 };
	struct test_req w, r;

	image_io_init(&io);
	image_io_resume(&io);
	image_io_setup(table, NULL);
	put(&io, &w, IMAGE_WRITE, 4096);
	put(&io, &r, IMAGE_READ, sizeof(data));
	other = table_map(fd, &err);
	is_int(atomic_load(&other->in_flight), 2,
	    "requests in flight are seen by others");
	land(0);
	land(-EIO);
	is_int(atomic_load(&other->in_flight), 0, "and that they have ended");
	is_int(atomic_load(&other->io[TABLE_IO_WRITE].bytes), 4096,
	    "with their bytes");
	is_int(atomic_load(&other->io[TABLE_IO_READ].failures) -
		atomic_load(&other->io[TABLE_IO_WRITE].failures),
	    1, "and failures");
	table_io_note(table, TABLE_IO_FLUSH, 0, 0, 2500);
	table_io_note(table, TABLE_IO_FLUSH, 0, 0, 60000001);
	ok(atomic_load(&other->io[TABLE_IO_FLUSH].in_bucket[2]) == 1 &&
		atomic_load(
		    &other->io[TABLE_IO_FLUSH].in_bucket[TABLE_IO_BOUNDS]) ==
		    1 &&
		atomic_load(&other->io[TABLE_IO_FLUSH].us) == 60002501,
	    "a time is counted in its bucket");
	image_io_setup(NULL, NULL);
	table_unmap(other);
	table_unmap(table);
	(void)close(fd);
}

int
main(void)
{
	if (loop_init() < 0)
		return 1;
	test_counters();
	test_limits();
	test_joining();
	test_joined_reads();
	test_failures();
	test_told_failures();
	test_short_read();
	test_answers();
	test_abort();
	loop_fini();
	return tap_end();
}
