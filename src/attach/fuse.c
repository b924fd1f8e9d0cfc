/*
 * fuse.c - see fuse.h.
 */
#include "attach/fuse.h"

#include "attach/fuse_wire.h"
#include "attach/image.h"
#include "attach/memory.h"
#include "base/log.h"
#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

/*
 * A request buffer: the head of a write ends where a page ends, so that its
 * data is aligned. Also used for the data of large reads.
 */
#define PAGE 4096
#define BUFFER_BYTES (PAGE + FUSE_WIRE_IO_MAX)
#define READ_AT (PAGE - FUSE_WIRE_WRITE_HEAD)
#define SPARE_MAX 32 /* buffers kept for the next requests */
#define SPARE_MIN 1  /* also when there were none for a while */

/* A write larger than this keeps its buffer; a smaller one is copied. */
#define KEEP_BYTES (128U << 10)

/* Requests read in one go, before completions get their turn. */
#define BATCH 64

static struct {
	int fd;
	struct io io;
	struct table *table;
	void (*ended)(void);
	bool paused, full;
	char *spare[SPARE_MAX];
	unsigned spares, unused; /* the fewest spares since the last look */
	char *next;              /* the buffer that is read into */
} fs;

/* A request that waits for librbd; small data follows the struct. */
struct fuse_io {
	struct image_req req;
	uint64_t unique;
	char *buffer; /* a large one, or NULL */
	int failed;   /* errno of the answer */
};

/* ---- buffers ----------------------------------------------------------- */

static char *
buffer_get(void)
{
	char *p;

	if (fs.spares > 0) {
		p = fs.spare[--fs.spares];
		if (fs.unused > fs.spares)
			fs.unused = fs.spares;
		return p;
	}
	/* Not the heap: what is free between librbd's memory stays resident. */
	p = memory_map(BUFFER_BYTES);
	if (p == MAP_FAILED) {
		log_error("fuse.memory", "bytes=%d", BUFFER_BYTES);
		abort(); /* a successor goes on */
	}
	return p;
}

void
fuse_trim(void)
{
	for (; fs.unused > 0 && fs.spares > SPARE_MIN; fs.unused--)
		(void)munmap(fs.spare[--fs.spares], BUFFER_BYTES);
	fs.unused = fs.spares;
}

/* ---- answers ----------------------------------------------------------- */

/* Returns 0 or the errno with which the kernel has not taken the answer. */
static int
fuse_answer_try(uint64_t unique, int rc, const void *data, size_t len)
{
	struct fuse_out_header head = { .unique = unique,
		.error = rc,
		.len = (uint32_t)(sizeof(head) + len) };
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};

	/*
	 * ENOENT: the request was interrupted, or sent again under another
	 * number. ENODEV: unmounted. Neither needs an answer.
	 */
	if (writev(fs.fd, iov, len > 0 ? 2 : 1) >= 0 || errno == ENOENT ||
	    errno == ENODEV)
		return 0;
	return errno;
}

static void
answer_failed(int failed, size_t len)
{
	if (failed != 0)
		log_error("fuse.answer", "errno=%d bytes=%zu", failed, len);
}

static void
fuse_answer(uint64_t unique, int rc, const void *data, size_t len)
{
	answer_failed(fuse_answer_try(unique, rc, data, len), len);
}

static void
fuse_answer_rc(const struct fuse_call *call, int rc)
{
	fuse_answer(call->unique, rc, NULL, 0);
}

/* ---- the directory, from memory ---------------------------------------- */

/*
 * Names are never cached, so whoever asks by a path gets the size of now. Who
 * has just asked so lets a loop device be bound or grow then: the kernel does
 * not ask once more for that. It takes a question that is cut off, since the
 * process was killed, for a size of 0, which fails all I/O of who has the
 * device mounted.
 */
#define SIZE_VALID_S 5

static void
attr_of_slot(struct table_slot *slot, struct fuse_attr *attr)
{
	uint64_t size = atomic_load(&slot->size_bytes);

	*attr = (struct fuse_attr){ .ino = slot->ino,
		.nlink = 1,
		.size = size,
		.blocks = size / 512,
		.blksize = PAGE,
		.mode = S_IFREG |
		    (slot->flags & TABLE_SLOT_READ_ONLY ? 0400 : 0600) };
}

static void
do_init(const struct fuse_call *call)
{
	struct fuse_init_out out;

	if (call->init->major != FUSE_KERNEL_VERSION) {
		fuse_answer_rc(call, -EPROTO);
		return;
	}
	fuse_init_answer(call->init, &out);
	log_info(
	    "fuse.init", "kernel=%u.%u", call->init->major, call->init->minor);
	fuse_answer(call->unique, 0, &out, sizeof(out));
}

static void
do_lookup(const struct fuse_call *call)
{
	struct fuse_entry_out out = { .attr_valid = SIZE_VALID_S };
	struct image *image = call->nodeid == FUSE_ROOT_ID
	    ? image_by_file(call->name)
	    : NULL;

	if (image == NULL) {
		fuse_answer_rc(call, -ENOENT);
		return;
	}
	out.nodeid = image->slot->ino;
	attr_of_slot(image->slot, &out.attr);
	fuse_answer(call->unique, 0, &out, sizeof(out));
}

static void
do_getattr(const struct fuse_call *call)
{
	struct fuse_attr_out out = { .attr_valid = SIZE_VALID_S };
	struct image *image = image_by_ino(call->nodeid);

	if (image != NULL) {
		attr_of_slot(image->slot, &out.attr);
	} else if (call->nodeid == FUSE_ROOT_ID) {
		out.attr = (struct fuse_attr){ .ino = FUSE_ROOT_ID,
			.nlink = 2,
			.mode = S_IFDIR | 0700,
			.blksize = PAGE };
	} else {
		fuse_answer_rc(call, -ENOENT);
		return;
	}
	fuse_answer(call->unique, 0, &out, sizeof(out));
}

static void
do_open(const struct fuse_call *call)
{
	struct fuse_open_out out = { .fh = call->nodeid,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES |
		    FOPEN_NOFLUSH };
	struct image *image = image_by_ino(call->nodeid);

	if (image == NULL)
		fuse_answer_rc(call, -ENOENT);
	else if (image->state == IMAGE_CLOSING)
		fuse_answer_rc(call, -ENXIO);
	else if ((image->slot->flags & TABLE_SLOT_READ_ONLY) &&
	    (call->open->flags & O_ACCMODE) != O_RDONLY)
		fuse_answer_rc(call, -EROFS);
	else
		fuse_answer(call->unique, 0, &out, sizeof(out));
}

static void
do_readdir(const struct fuse_call *call)
{
	char buf[16 * 1024], name[TABLE_FILE_MAX];
	size_t used = 0, room = call->read->size;
	struct image *image;

	if (room > sizeof(buf))
		room = sizeof(buf);
	/* The offset of an entry is the index of the slot to look at next. */
	for (uint64_t i = call->read->offset;
	     i < TABLE_SLOTS && (image = image_at((unsigned)i)) != NULL; i++) {
		if (image_by_ino(image->slot->ino) != image)
			continue;
		table_slot_name(fs.table, image->slot, name);
		if (!fuse_dirent_put(buf, room, &used, image->slot->ino, i + 1,
			S_IFREG >> 12, name))
			break;
	}
	fuse_answer(call->unique, 0, buf, used);
}

/* ---- what goes to librbd ----------------------------------------------- */

static void reading(void);

/* On any thread. */
static void
on_answer(struct image_req *req, int rc)
{
	struct fuse_io *io = container_of(req, struct fuse_io, req);
	struct fuse_write_out written = { .size = (uint32_t)req->len };
	const void *data = NULL;
	size_t len = 0;

	if (rc == 0 && req->kind == IMAGE_READ) {
		data = req->data;
		len = req->len;
	} else if (rc == 0 && req->kind == IMAGE_WRITE) {
		data = &written;
		len = sizeof(written);
	}
	io->failed = fuse_answer_try(io->unique, rc, data, len);
}

static void
on_done(struct image_req *req)
{
	struct fuse_io *io = container_of(req, struct fuse_io, req);

	answer_failed(io->failed, req->len);
	if (io->buffer != NULL && fs.spares < SPARE_MAX)
		fs.spare[fs.spares++] = io->buffer;
	else if (io->buffer != NULL)
		(void)munmap(io->buffer, BUFFER_BYTES);
	free(io);
	reading();
}

static struct fuse_io *
io_new(const struct fuse_call *call, enum image_req_kind kind, uint64_t offset,
    uint64_t len, size_t extra)
{
	struct fuse_io *io = malloc(sizeof(*io) + extra);

	if (io == NULL) {
		log_error("fuse.memory", "bytes=%zu", sizeof(*io) + extra);
		abort(); /* a successor goes on */
	}
	memset(io, 0, sizeof(*io));
	io->unique = call->unique;
	io->req.kind = kind;
	io->req.offset = offset;
	io->req.len = len;
	io->req.answer = on_answer;
	io->req.done = on_done;
	return io;
}

/* The image, or NULL when the call has been answered with an error. */
static struct image *
image_for(const struct fuse_call *call, bool write)
{
	struct image *image = image_by_ino(call->nodeid);

	if (image == NULL || image->state == IMAGE_CLOSING) {
		fuse_answer_rc(call, -EIO);
		return NULL;
	}
	if (write && (image->slot->flags & TABLE_SLOT_READ_ONLY)) {
		fuse_answer_rc(call, -EROFS);
		return NULL;
	}
	return image;
}

static void
do_read(const struct fuse_call *call)
{
	struct image *image = image_for(call, false);
	uint64_t size, offset = call->read->offset, len = call->read->size;
	struct fuse_io *io;

	if (image == NULL)
		return;
	size = atomic_load(&image->slot->size_bytes);
	if (offset >= size || len == 0) {
		fuse_answer_rc(call, 0);
		return;
	}
	if (len > size - offset)
		len = size - offset;
	io = io_new(call, IMAGE_READ, offset, len, len > KEEP_BYTES ? 0 : len);
	if (len > KEEP_BYTES) {
		io->buffer = buffer_get();
		io->req.data = io->buffer;
	} else {
		io->req.data = io + 1;
	}
	image_io_submit(&image->io, &io->req);
}

static void
do_write(const struct fuse_call *call)
{
	struct image *image = image_for(call, true);
	uint64_t size, offset = call->write->offset, len = call->write->size;
	struct fuse_write_out none = { 0 };
	struct fuse_io *io;

	if (image == NULL)
		return;
	size = atomic_load(&image->slot->size_bytes);
	if (len == 0) {
		fuse_answer(call->unique, 0, &none, sizeof(none));
		return;
	}
	if (offset > size || len > size - offset) {
		fuse_answer_rc(call, -ENOSPC);
		return;
	}
	io = io_new(call, IMAGE_WRITE, offset, len, len > KEEP_BYTES ? 0 : len);
	if (len > KEEP_BYTES) {
		io->buffer = fs.next; /* no copy: librbd sends from here */
		io->req.data = fs.next + PAGE;
		fs.next = NULL;
	} else {
		io->req.data = io + 1;
		memcpy(io->req.data, call->data, len);
	}
	image_io_submit(&image->io, &io->req);
}

static void
do_fallocate(const struct fuse_call *call)
{
	struct image *image;
	uint64_t size, offset = call->fallocate->offset;
	uint64_t len = call->fallocate->length;

	/*
	 * A loop device sends PUNCH_HOLE for discards and for writes of
	 * zeros, ZERO_RANGE for those that must not be unmapped.
	 */
	if (!(call->fallocate->mode &
		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) {
		fuse_answer_rc(call, -EOPNOTSUPP);
		return;
	}
	if ((image = image_for(call, true)) == NULL)
		return;
	size = atomic_load(&image->slot->size_bytes);
	if (offset >= size || len == 0) {
		fuse_answer_rc(call, 0);
		return;
	}
	if (len > size - offset)
		len = size - offset;
	image_io_submit(
	    &image->io, &io_new(call, IMAGE_ZERO, offset, len, 0)->req);
}

/* ---- the kernel's requests --------------------------------------------- */

static void
dispatch(const struct fuse_call *call)
{
	const struct fuse_open_out directory = { 0 };
	const struct fuse_statfs_out stat = { .st = { .bsize = PAGE,
						  .frsize = PAGE,
						  .namelen = TABLE_FILE_MAX -
						      1 } };
	struct image *image;

	switch (call->opcode) {
	case FUSE_INIT:
		do_init(call);
		break;
	case FUSE_LOOKUP:
		do_lookup(call);
		break;
	case FUSE_GETATTR:
		do_getattr(call);
		break;
	case FUSE_SETATTR:
		if (call->setattr->valid &
		    (FATTR_SIZE | FATTR_MODE | FATTR_UID | FATTR_GID))
			fuse_answer_rc(call, -EPERM);
		else
			do_getattr(call); /* times: nobody keeps them */
		break;
	case FUSE_OPEN:
		do_open(call);
		break;
	case FUSE_READ:
		do_read(call);
		break;
	case FUSE_WRITE:
		do_write(call);
		break;
	case FUSE_FSYNC:
		if ((image = image_for(call, false)) != NULL)
			image_io_submit(&image->io,
			    &io_new(call, IMAGE_FLUSH, 0, 0, 0)->req);
		break;
	case FUSE_FALLOCATE:
		do_fallocate(call);
		break;
	case FUSE_OPENDIR:
		fuse_answer(call->unique, 0, &directory, sizeof(directory));
		break;
	case FUSE_READDIR:
		do_readdir(call);
		break;
	case FUSE_STATFS:
		fuse_answer(call->unique, 0, &stat, sizeof(stat));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_DESTROY:
		fuse_answer_rc(call, 0);
		break;
	default:
		/* INTERRUPT too: the kernel then sends no more of them. */
		fuse_answer_rc(call, -ENOSYS);
		break;
	}
}

static void
read_batch(struct io *io)
{
	struct fuse_call call;
	ssize_t n;

	for (int i = 0; i < BATCH && !fs.paused && !fs.full; i++) {
		if (fs.next == NULL)
			fs.next = buffer_get();
		n = read(io->fd, fs.next + READ_AT, FUSE_WIRE_REQUEST_MAX);
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			if (n < 0 && errno != ENODEV)
				log_error("fuse.read", "errno=%d", errno);
			io_unwatch(io);
			fs.ended();
			return;
		}
		if (fuse_call_parse(&call, fs.next + READ_AT, (size_t)n) < 0) {
			log_error("fuse.request", "opcode=%u bytes=%zd",
			    call.opcode, n);
			if (call.unique != 0)
				fuse_answer_rc(&call, -EINVAL);
		} else if (!fuse_call_is_silent(&call)) {
			dispatch(&call);
		}
		reading();
	}
}

static void
on_readable(struct io *io, int what)
{
	(void)what;
	image_io_batch_begin();
	read_batch(io);
	image_io_batch_end();
}

/* Reads on or stops, by what is held. */
static void
reading(void)
{
	uint64_t held = image_io_total_bytes();

	if (!fs.full && held >= FUSE_HELD_BYTES_MAX) {
		log_warn(
		    "fuse.full", "held_bytes=%llu", (unsigned long long)held);
		fs.full = true;
	} else if (fs.full && held < FUSE_HELD_BYTES_MAX / 4 * 3) {
		fs.full = false;
	} else {
		return;
	}
	if (fs.io.ev != NULL)
		io_want(&fs.io, fs.full || fs.paused ? 0 : IO_READ);
}

void
fuse_serve(int fd, struct table *table, void (*ended)(void))
{
	fs.fd = fd;
	fs.table = table;
	fs.ended = ended;
	io_watch(&fs.io, fd, IO_READ, on_readable);
}

int
fuse_resend(int fd)
{
	struct fuse_out_header head = { .len = sizeof(head),
		.error = FUSE_NOTIFY_RESEND_CODE };

	return write(fd, &head, sizeof(head)) < 0 ? -errno : 0;
}

void
fuse_pause(void)
{
	fs.paused = true;
	if (fs.io.ev != NULL)
		io_want(&fs.io, 0);
}
