/*
 * Requests of the kernel: lengths that lie, and what the answers hold.
 */
#include "attach/fuse_wire.h"
#include "tests/tap.h"

#include <errno.h>

static union {
	struct fuse_in_header head;
	char bytes[FUSE_WIRE_REQUEST_MAX];
} request;

static size_t
make(uint32_t opcode, const void *arg, size_t arg_len, size_t data_len)
{
	size_t len = sizeof(request.head) + arg_len + data_len;

	memset(&request, 0, 256);
	request.head = (struct fuse_in_header){ .len = (uint32_t)len,
		.opcode = opcode,
		.unique = 42 | 1ULL << 63,
		.nodeid = 1025 };
	if (arg_len > 0)
		memcpy(request.bytes + sizeof(request.head), arg, arg_len);
	return len;
}

/* Every length but the right one is refused. */
static void
only_whole(const char *what, uint32_t opcode, const void *arg, size_t arg_len)
{
	struct fuse_call call;
	size_t len = make(opcode, arg, arg_len, 0);
	bool refused = true;

	ok(fuse_call_parse(&call, request.bytes, len) == 0 &&
		call.opcode == opcode && call.nodeid == 1025 &&
		call.unique == (42 | 1ULL << 63),
	    "%s is taken apart", what);
	for (size_t cut = 0; cut < len; cut++) {
		request.head.len = (uint32_t)cut;
		refused &= fuse_call_parse(&call, request.bytes, cut) < 0;
	}
	ok(refused, "%s that is cut anywhere is refused", what);
}

static void
test_calls(void)
{
	struct fuse_read_in read = { .offset = 4096, .size = 512 };
	struct fuse_fallocate_in fallocate = { .length = 1 };
	struct fuse_getattr_in getattr = { 0 };
	struct fuse_setattr_in setattr = { 0 };
	struct fuse_open_in open_in = { 0 };
	struct fuse_write_in write = { .size = 512 };
	struct fuse_call call;
	size_t len;

	only_whole("a read", FUSE_READ, &read, sizeof(read));
	only_whole(
	    "a fallocate", FUSE_FALLOCATE, &fallocate, sizeof(fallocate));
	only_whole("a getattr", FUSE_GETATTR, &getattr, sizeof(getattr));
	only_whole("a setattr", FUSE_SETATTR, &setattr, sizeof(setattr));
	only_whole("an open", FUSE_OPEN, &open_in, sizeof(open_in));
	only_whole("a look-up", FUSE_LOOKUP, "x", 2);
	len = make(FUSE_LOOKUP, "name", 4, 0);
	is_int(fuse_call_parse(&call, request.bytes, len), -EINVAL,
	    "a name without its end is refused");
	len = make(FUSE_WRITE, &write, sizeof(write), 512);
	ok(fuse_call_parse(&call, request.bytes, len) == 0 &&
		call.data == request.bytes + FUSE_WIRE_WRITE_HEAD,
	    "a write points to its data");
	len = make(FUSE_WRITE, &write, sizeof(write), 511);
	is_int(fuse_call_parse(&call, request.bytes, len), -EINVAL,
	    "a write with less data than it says is refused");
	read.size = FUSE_WIRE_IO_MAX + 1;
	len = make(FUSE_READ, &read, sizeof(read), 0);
	is_int(fuse_call_parse(&call, request.bytes, len), -EINVAL,
	    "a read larger than agreed is refused");
	len = make(FUSE_FORGET, NULL, 0, 8);
	ok(fuse_call_parse(&call, request.bytes, len) == 0 &&
		fuse_call_is_silent(&call),
	    "nobody waits for a forget");
	is_int(fuse_call_parse(&call, request.bytes, 12), -EINVAL,
	    "half a header is refused");
	is_int(call.unique, 0, "and has no number to be answered");
}

static void
test_init(void)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .max_readahead = 1 << 17, .flags = ~0U
	};
	struct fuse_init_out out;

	fuse_init_answer(&in, &out);
	is_int(out.minor, FUSE_WIRE_MINOR,
	    "we speak our version with a newer "
	    "kernel");
	is_int(out.max_background, 65535, "nothing limits what is in flight");
	is_int(out.max_write, 1 << 20, "writes of 1 MiB come in one piece");
	is_int(out.flags & FUSE_AUTO_INVAL_DATA, 0, "nothing is invalidated");
	is_int(
	    out.flags & FUSE_WRITEBACK_CACHE, 0, "the kernel caches nothing");
	in.minor = 31;
	in.flags = FUSE_ASYNC_DIO;
	fuse_init_answer(&in, &out);
	is_int(out.minor, 31, "and an older kernel's with that");
	is_int(out.flags, FUSE_ASYNC_DIO, "only what it offers is asked for");
}

static void
test_dirents(void)
{
	char buf[64];
	size_t used = 0;

	ok(fuse_dirent_put(buf, sizeof(buf), &used, 1025, 1, 8, "1-tag-image"),
	    "an entry fits");
	is_int(used % 8, 0, "and is aligned");
	ok(!fuse_dirent_put(buf, sizeof(buf), &used, 1026, 2, 8,
	       "another-name-that-is-longer"),
	    "one that does not fit is left out");
	is_int(used, 40, "and takes no room");
}

int
main(void)
{
	test_calls();
	test_init();
	test_dirents();
	return tap_end();
}
