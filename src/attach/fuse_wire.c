/*
 * fuse_wire.c - see fuse_wire.h.
 */
#include "attach/fuse_wire.h"

#include <errno.h>
#include <string.h>

/* Oldest FUSE_INIT request: without the second word of flags. */
#define INIT_IN_MIN 16

static size_t
arg_bytes(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_INIT:
		return INIT_IN_MIN;
	case FUSE_GETATTR:
		return sizeof(struct fuse_getattr_in);
	case FUSE_SETATTR:
		return sizeof(struct fuse_setattr_in);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return sizeof(struct fuse_open_in);
	case FUSE_READ:
	case FUSE_READDIR:
		return sizeof(struct fuse_read_in);
	case FUSE_WRITE:
		return sizeof(struct fuse_write_in);
	case FUSE_FALLOCATE:
		return sizeof(struct fuse_fallocate_in);
	default:
		return 0; /* its argument is not looked at */
	}
}

int
fuse_call_parse(struct fuse_call *call, const void *bytes, size_t len)
{
	const struct fuse_in_header *head = bytes;
	size_t body;

	memset(call, 0, sizeof(*call));
	if (len < sizeof(*head))
		return -EINVAL;
	call->opcode = head->opcode;
	call->unique = head->unique;
	call->nodeid = head->nodeid;
	body = len - sizeof(*head);
	if (head->len != len || body < arg_bytes(head->opcode))
		return -EINVAL;
	call->arg = head + 1;
	switch (head->opcode) {
	case FUSE_LOOKUP:
		if (body == 0 || memchr(head + 1, '\0', body) == NULL)
			return -EINVAL;
		call->name = (const char *)(head + 1);
		return 0;
	case FUSE_WRITE:
		if (body - sizeof(*call->write) != call->write->size ||
		    call->write->size > FUSE_WIRE_IO_MAX)
			return -EINVAL;
		call->data = call->write + 1;
		return 0;
	case FUSE_READ:
	case FUSE_READDIR:
		return call->read->size > FUSE_WIRE_IO_MAX ? -EINVAL : 0;
	default:
		return 0;
	}
}

bool
fuse_call_is_silent(const struct fuse_call *call)
{
	return call->opcode == FUSE_FORGET || call->opcode == FUSE_BATCH_FORGET;
}

void
fuse_init_answer(const struct fuse_init_in *in, struct fuse_init_out *out)
{
	memset(out, 0, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = in->minor < FUSE_WIRE_MINOR ? in->minor : FUSE_WIRE_MINOR;
	out->max_readahead = in->max_readahead;
	out->flags = in->flags &
	    (FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES |
		FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES);
	/*
	 * All that a loop device may have in flight must fit for every image,
	 * or one that is stuck stops the others.
	 */
	out->max_background = UINT16_MAX;
	out->congestion_threshold = UINT16_MAX;
	out->max_write = FUSE_WIRE_IO_MAX;
	out->max_pages = FUSE_WIRE_IO_MAX / 4096;
	out->time_gran = 1;
}

bool
fuse_dirent_put(char *buf, size_t room, size_t *used, uint64_t ino,
    uint64_t next_offset, uint32_t type, const char *name)
{
	size_t len = strlen(name);
	size_t need = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + len);
	struct fuse_dirent entry = { .ino = ino,
		.off = next_offset,
		.namelen = (uint32_t)len,
		.type = type };

	if (room - *used < need)
		return false;
	memset(buf + *used, 0, need);
	memcpy(buf + *used, &entry, FUSE_NAME_OFFSET);
	memcpy(buf + *used + FUSE_NAME_OFFSET, name, len);
	*used += need;
	return true;
}
