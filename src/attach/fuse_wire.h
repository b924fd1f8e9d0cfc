/*
 * fuse_wire.h - one request of the kernel as it comes from /dev/fuse: checked
 * lengths, and pointers into the buffer. Pure: no I/O, no memory.
 *
 * Raw <linux/fuse.h> instead of libfuse: a successor must go on in a session
 * that is set up already, answer requests that are sent again under another
 * number, and set open flags that libfuse 3.14 does not know.
 */
#ifndef ATTACH_FUSE_WIRE_H
#define ATTACH_FUSE_WIRE_H

#include "base/str.h"

#include <linux/fuse.h>

#ifndef FUSE_NOTIFY_RESEND_CODE
#define FUSE_NOTIFY_RESEND_CODE 7 /* <linux/fuse.h> of 6.9 and later */
#endif

/* What our answer to FUSE_INIT says; the header we build against has more. */
#define FUSE_WIRE_MINOR 38

/* Largest read or write; the pages of a request follow from it. */
#define FUSE_WIRE_IO_MAX (1U << 20)

/* In front of the data of a write. */
#define FUSE_WIRE_WRITE_HEAD                                                   \
	(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

/* The kernel refuses to read into less than this. */
#define FUSE_WIRE_REQUEST_MAX (FUSE_WIRE_WRITE_HEAD + FUSE_WIRE_IO_MAX)

struct fuse_call {
	uint32_t opcode;
	uint64_t unique; /* echoed in the answer, bit 63 and all */
	uint64_t nodeid;
	union {
		const void *arg; /* at least as long as its opcode's */
		const struct fuse_init_in *init;
		const struct fuse_getattr_in *getattr;
		const struct fuse_setattr_in *setattr;
		const struct fuse_open_in *open;
		const struct fuse_read_in *read; /* READ, READDIR */
		const struct fuse_write_in *write;
		const struct fuse_fallocate_in *fallocate;
	};
	const char *name; /* LOOKUP: NUL terminated inside the buffer */
	const void *data; /* WRITE: write->size bytes */
};

/*
 * Takes a request apart. Returns 0, or -EINVAL when its lengths do not fit
 * (call->unique is set if there was a whole header, else 0).
 */
int fuse_call_parse(
    struct fuse_call *call, const void *bytes, size_t len) must_check;

/* Requests that the kernel waits for no answer to. */
bool fuse_call_is_silent(const struct fuse_call *call);

/* Our answer to FUSE_INIT. */
void fuse_init_answer(const struct fuse_init_in *in, struct fuse_init_out *out);

/*
 * Appends a directory entry to buf[room] at *used. Returns false when it does
 * not fit.
 */
bool fuse_dirent_put(char *buf, size_t room, size_t *used, uint64_t ino,
    uint64_t next_offset, uint32_t type, const char *name);

#endif
