/*
 * image_io.h - one attached image's I/O: librbd, and the limits that keep it
 * from harming the others. With image_io.c the only place in rbd-attachd that
 * knows librbd.
 *
 * The rule that holds it together: requests of an image are in exactly one of
 * two lists. What is in flight at librbd is bounded by IMAGE_OPS_MAX and
 * IMAGE_BYTES_MAX; the rest waits here, in order, also while the image is not
 * open yet (takeover) - so a stuck image takes nothing from another one.
 */
#ifndef ATTACH_IMAGE_IO_H
#define ATTACH_IMAGE_IO_H

#include "attach/table.h"
#include "base/err.h"
#include "core/op.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdatomic.h>

#define IMAGE_OPS_MAX 128           /* in flight at librbd, one image */
#define IMAGE_BYTES_MAX (32U << 20) /* unless it is a single request */

/*
 * The kernel cuts a large request of scattered pages into pieces. Those of one
 * batch that lie side by side go to librbd as one of up to so many bytes.
 */
#define IMAGE_JOINED_BYTES (1U << 20)
#define IMAGE_JOINED_MAX 16         /* pieces */
#define IMAGE_PIECE_MIN (64U << 10) /* less is no piece of anything */

enum image_req_kind {
	IMAGE_READ = TABLE_IO_READ,
	IMAGE_WRITE = TABLE_IO_WRITE,
	IMAGE_FLUSH = TABLE_IO_FLUSH,
	IMAGE_ZERO = TABLE_IO_ZERO, /* reads as zeros then; frees space */
	IMAGE_REQ_KINDS = TABLE_IO_KINDS,
};

struct image_io;

/*
 * A request; embed it. `data` stays untouched by the owner until done().
 * answer() is called exactly once and tells the kernel. After a success that
 * is on librbd's thread, which saves the request a wake-up: it may touch
 * nothing but the request, nor log. done() is called from the loop exactly
 * once, after answer() and after librbd has let go of the request: it frees.
 */
struct image_req {
	enum image_req_kind kind;
	uint64_t offset, len; /* inside the image; len 0 only for FLUSH */
	void *data;
	void (*answer)(struct image_req *req, int rc); /* 0 or negative errno */
	void (*done)(struct image_req *req);

	/* private */
	struct image_io *io;
	struct job job;
	int rc; /* librbd's */
	_Atomic bool answered;
	bool noted; /* in the table's counts */
	int64_t began_us;
	struct image_req *joined; /* the next piece of one request at librbd */
	struct iovec *pieces;     /* of a joined read, while librbd has it */
	TAILQ_ENTRY(image_req) link;
};

TAILQ_HEAD(image_req_list, image_req);

struct image_io {
	void *rbd; /* rbd_image_t, NULL: not open */
	rados_ioctx_t ioctx;
	bool ready;     /* requests may go to librbd */
	bool dead;      /* requests are answered with EIO */
	unsigned ops;   /* in flight at librbd */
	uint64_t bytes; /* of them */
	unsigned waiting;
	struct image_req_list flying, queued;
	bool held; /* in the list of those that wait for the batch's end */
	uint64_t held_bytes;
	TAILQ_ENTRY(image_io) held_link;

	/* private: the header watch */
	uint64_t watch;
	bool watched;
	_Atomic bool changed; /* the job below is posted or runs */
	struct job changed_job;
	void (*on_change)(struct image_io *io);
};

void image_io_init(struct image_io *io);

/* Whether a result says that the cluster does not take our client's I/O. */
static inline bool
image_io_is_refusal(int rc)
{
	return rc == -ESHUTDOWN || rc == -EPERM || rc == -EACCES;
}

/*
 * Requests are counted in this table from now on (NULL: nowhere). `failed` is
 * called from the loop for a request that librbd has failed with `rc`.
 */
void image_io_setup(struct table *table,
    void (*failed)(struct image_io *io, const struct image_req *req, int rc));

/* Takes a request; answer() and done() follow later, never inside. */
void image_io_submit(struct image_io *io, struct image_req *req);

/*
 * Around the requests that are read in one go: pieces of large writes are held
 * until the end, so that they can be joined.
 */
void image_io_batch_begin(void);
void image_io_batch_end(void);

/* Requests may go to librbd from now on. */
void image_io_resume(struct image_io *io);

/*
 * Answers every request with EIO, also all to come. Returns how many were
 * answered. Those at librbd keep their memory until librbd is done with them:
 * their writes may still land.
 */
unsigned image_io_abort(struct image_io *io);

/* Requests held or in flight, of all images: what a drain waits for. */
unsigned image_io_total(void);
uint64_t image_io_total_bytes(void);

/*
 * Asynchronous calls of librbd; each wakes `waiter` once with 0 or a negative
 * errno. open: by id when given, else by name. After an open that failed, and
 * after a close (whatever it returned), io->rbd is NULL.
 */
void image_io_open_start(struct image_io *io, const char *image,
    const char *image_id, bool read_only, struct wake *waiter);
void image_io_close_start(struct image_io *io, struct wake *waiter);
void image_io_flush_start(struct image_io *io, struct wake *waiter);

/* Past all limits and lists, for the server itself; -EINVAL: beyond its end. */
void image_io_read_start(struct image_io *io, uint64_t offset, char *data,
    size_t len, struct wake *waiter);

/* What an open image knows of itself, without asking the cluster. */
int image_io_info(struct image_io *io, char *image_id, size_t id_size,
    uint64_t *size_bytes, bool *exclusive_lock);

/*
 * The exclusive lock that a flush has just taken is ours until we close: no
 * other client gets it by asking. Does not block when we own the lock.
 */
int image_io_keep_lock(struct image_io *io);

/* on_change(io) is called from the loop after the header has changed. */
int image_io_watch(struct image_io *io, void (*on_change)(struct image_io *io));

#endif
