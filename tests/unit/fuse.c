/*
 * The server of /dev/fuse, over a socket that plays the kernel: each request
 * has its one answer, whatever the image or librbd says.
 */
#include "attach/fuse.h"

#include "attach/fuse_wire.h"
#include "attach/image.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGE (132 * 1024) /* keeps its buffer */
#define SIZE (UINT64_C(64) << 20)

static int kernel = -1;
static unsigned ended;

/* ---- two images, one of them read-only, and their I/O -------------------- */

static struct table table;
static struct table_slot slots[2];
static struct image images[2];
static struct image_req *submitted;
static uint64_t held;

struct image *
image_at(unsigned index)
{
	return index < countof(images) ? &images[index] : NULL;
}

struct image *
image_by_ino(uint64_t ino)
{
	for (size_t i = 0; i < countof(images); i++)
		if (images[i].state != IMAGE_NONE && slots[i].ino == ino)
			return &images[i];
	return NULL;
}

struct image *
image_by_file(const char *name)
{
	char file[TABLE_FILE_MAX];

	table_slot_name(&table, &slots[0], file);
	return strcmp(name, file) == 0 ? &images[0] : NULL;
}

void
image_io_batch_begin(void)
{
}

void
image_io_batch_end(void)
{
}

void
image_io_submit(struct image_io *io, struct image_req *req)
{
	(void)io;
	submitted = req;
}

uint64_t
image_io_total_bytes(void)
{
	return held;
}

/* The request that was submitted comes back. */
static void
finish(int rc)
{
	struct image_req *req = submitted;

	submitted = NULL;
	req->answer(req, rc);
	req->done(req);
}

/* ---- the kernel ----------------------------------------------------------- */

static union {
	struct fuse_in_header head;
	char bytes[FUSE_WIRE_REQUEST_MAX];
} request;
static struct {
	struct fuse_out_header head;
	union {
		struct fuse_init_out init;
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct fuse_open_out open;
		struct fuse_write_out write;
		struct fuse_statfs_out statfs;
		char data[LARGE];
	};
} answer;

static void
on_ended(void)
{
	ended++;
}

static void
send_request(
    uint32_t opcode, uint64_t ino, const void *arg, size_t arg_len, size_t data)
{
	size_t len = sizeof(request.head) + arg_len + data;

	request.head = (struct fuse_in_header){ .len = (uint32_t)len,
		.opcode = opcode,
		.unique = 7,
		.nodeid = ino };
	if (arg_len > 0)
		memcpy(request.bytes + sizeof(request.head), arg, arg_len);
	if (write(kernel, request.bytes, len) != (ssize_t)len)
		diag("request %u: %s", opcode, strerror(errno));
	loop_turn(false);
}

/* Bytes behind the header, or -1: there is no answer. */
static ssize_t
take_answer(void)
{
	ssize_t n = recv(kernel, &answer, sizeof(answer), MSG_DONTWAIT);

	return n < 0 || answer.head.unique != 7
	    ? -1
	    : n - (ssize_t)sizeof(answer.head);
}

static ssize_t
call(uint32_t opcode, uint64_t ino, const void *arg, size_t arg_len)
{
	send_request(opcode, ino, arg, arg_len, 0);
	return take_answer();
}

static void
is_refused(int rc, const char *what)
{
	ok(take_answer() == 0 && answer.head.error == rc && submitted == NULL,
	    "%s: %s", what, strerror(-rc));
}

static void
begin(void)
{
	int pair[2], bytes = 4 * LARGE;

	if (kernel >= 0)
		(void)close(kernel);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	for (int i = 0; i < 2; i++)
		(void)setsockopt(
		    pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
	kernel = pair[1];
	for (size_t i = 0; i < countof(images); i++) {
		slots[i].ino = 1025 + i;
		atomic_store(&slots[i].size_bytes, SIZE);
		(void)snprintf(
		    slots[i].image, sizeof(slots[i].image), "image-%zu", i);
		images[i].slot = &slots[i];
		images[i].state = IMAGE_SERVED;
	}
	slots[1].flags = TABLE_SLOT_READ_ONLY;
	fuse_serve(pair[0], &table, on_ended);
}

/* ---- what is answered from memory ------------------------------------------ */

static void
test_directory(void)
{
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION + 1 };
	struct fuse_getattr_in getattr = { 0 };
	struct fuse_setattr_in setattr = { .valid = FATTR_SIZE };
	struct fuse_open_in open_in = { .flags = O_RDWR };
	struct fuse_read_in readdir = { .size = 4096 };
	char name[TABLE_FILE_MAX];
	ssize_t whole, first;

	(void)call(FUSE_INIT, 0, &init, sizeof(init));
	is_int(answer.head.error, -EPROTO, "another protocol is refused");
	init.major = FUSE_KERNEL_VERSION;
	init.minor = FUSE_WIRE_MINOR;
	ok(call(FUSE_INIT, 0, &init, sizeof(init)) == sizeof(answer.init) &&
		answer.init.max_write == FUSE_WIRE_IO_MAX,
	    "FUSE_INIT");

	table_slot_name(&table, &slots[0], name);
	ok(call(FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1) ==
		    sizeof(answer.entry) &&
		answer.entry.nodeid == 1025 && answer.entry.attr.size == SIZE &&
		answer.entry.attr.mode == (S_IFREG | 0600),
	    "a file is found, with the size of its image");
	(void)call(FUSE_LOOKUP, FUSE_ROOT_ID, "none", 5);
	is_int(answer.head.error, -ENOENT, "no such file");
	(void)call(FUSE_LOOKUP, 1025, name, strlen(name) + 1);
	is_int(answer.head.error, -ENOENT, "a file is no directory");

	(void)call(FUSE_GETATTR, FUSE_ROOT_ID, &getattr, sizeof(getattr));
	is_int(answer.attr.attr.mode, S_IFDIR | 0700, "the directory");
	(void)call(FUSE_GETATTR, 1026, &getattr, sizeof(getattr));
	is_int(answer.attr.attr.mode, S_IFREG | 0400, "a read-only image");
	(void)call(FUSE_GETATTR, 99, &getattr, sizeof(getattr));
	is_int(answer.head.error, -ENOENT, "attributes of nothing");
	(void)call(FUSE_SETATTR, 1025, &setattr, sizeof(setattr));
	is_int(answer.head.error, -EPERM, "nobody cuts an image");
	setattr.valid = FATTR_MTIME;
	ok(call(FUSE_SETATTR, 1025, &setattr, sizeof(setattr)) ==
		sizeof(answer.attr),
	    "times are taken, and kept by nobody");

	ok(call(FUSE_OPEN, 1025, &open_in, sizeof(open_in)) ==
		    sizeof(answer.open) &&
		(answer.open.open_flags & FOPEN_DIRECT_IO) != 0,
	    "an open is direct");
	(void)call(FUSE_OPEN, 99, &open_in, sizeof(open_in));
	is_int(answer.head.error, -ENOENT, "an open of nothing");
	(void)call(FUSE_OPEN, 1026, &open_in, sizeof(open_in));
	is_int(answer.head.error, -EROFS, "an open of a read-only image");
	images[0].state = IMAGE_CLOSING;
	(void)call(FUSE_OPEN, 1025, &open_in, sizeof(open_in));
	is_int(answer.head.error, -ENXIO, "an open of one that is closing");
	images[0].state = IMAGE_SERVED;

	ok(call(FUSE_OPENDIR, FUSE_ROOT_ID, &open_in, sizeof(open_in)) > 0,
	    "the directory is opened");
	whole = call(FUSE_READDIR, FUSE_ROOT_ID, &readdir, sizeof(readdir));
	readdir.size = (uint32_t)whole - 1;
	first = call(FUSE_READDIR, FUSE_ROOT_ID, &readdir, sizeof(readdir));
	ok(first > 0 && first < whole, "as many entries as there is room for");
	readdir.offset = 1;
	readdir.size = 1 << 20;
	is_int(call(FUSE_READDIR, FUSE_ROOT_ID, &readdir, sizeof(readdir)),
	    whole - first, "and then the rest");
	ok(call(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0) == sizeof(answer.statfs),
	    "STATFS");
	(void)call(FUSE_MKDIR, FUSE_ROOT_ID, name, sizeof(name));
	is_int(answer.head.error, -ENOSYS, "what nobody needs is unknown");
	send_request(FUSE_READ, 1025, name, 3, 0);
	is_refused(-EINVAL, "a request that is cut off");
}

/* ---- what goes to librbd ---------------------------------------------------- */

static void
test_reads(void)
{
	struct fuse_read_in in = { .offset = SIZE - 4096, .size = 8192 };

	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	ok(submitted != NULL && submitted->len == 4096 && take_answer() < 0,
	    "a read ends where the image ends, and waits");
	memset(submitted->data, 'x', 4096);
	finish(0);
	ok(take_answer() == 4096 && answer.data[4095] == 'x',
	    "its answer are the data");
	in.offset = 0;
	in.size = LARGE;
	for (int i = 0; i < 2; i++) { /* the second in the first's buffer */
		send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
		memset(submitted->data, 'a' + i, LARGE);
		finish(0);
		ok(take_answer() == LARGE && answer.data[LARGE - 1] == 'a' + i,
		    "a large read");
	}
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	finish(-EIO);
	is_refused(-EIO, "a read that fails");
	in.offset = SIZE;
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	is_refused(0, "a read behind the end has nothing");
	send_request(FUSE_READ, 99, &in, sizeof(in), 0);
	is_refused(-EIO, "a read of nothing");
	images[0].state = IMAGE_CLOSING;
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	is_refused(-EIO, "a read of an image that is closing");
	images[0].state = IMAGE_SERVED;
}

static void
test_writes(void)
{
	struct fuse_write_in in = { .offset = 512, .size = 512 };
	struct fuse_fsync_in fsync_in = { 0 };
	struct fuse_fallocate_in zero = { .offset = SIZE - 512,
		.length = 4096,
		.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
	struct image_req *large;

	memset(request.bytes, 'w', sizeof(request.bytes));
	send_request(FUSE_WRITE, 1025, &in, sizeof(in), 512);
	ok(submitted != NULL && submitted->kind == IMAGE_WRITE &&
		submitted->offset == 512 &&
		memcmp(submitted->data, "www", 3) == 0,
	    "a write");
	finish(0);
	ok(take_answer() == sizeof(answer.write) && answer.write.size == 512,
	    "which is whole");
	in.size = LARGE;
	send_request(FUSE_WRITE, 1025, &in, sizeof(in), LARGE);
	ok(submitted != NULL && ((char *)submitted->data)[LARGE - 1] == 'w' &&
		(uintptr_t)submitted->data % 4096 == 0,
	    "a large write is not copied, and its data are aligned");
	large = submitted;
	send_request(FUSE_FSYNC, 1026, &fsync_in, sizeof(fsync_in), 0);
	ok(submitted->kind == IMAGE_FLUSH, "a flush goes beside it");
	finish(0);
	is_refused(0, "and is done");
	submitted = large;
	finish(0);
	ok(take_answer() == sizeof(answer.write) && answer.write.size == LARGE,
	    "and so is the write");
	in.size = 512;
	in.offset = SIZE - 256;
	send_request(FUSE_WRITE, 1025, &in, sizeof(in), 512);
	is_refused(-ENOSPC, "a write over the end");
	send_request(FUSE_WRITE, 1026, &in, sizeof(in), 512);
	is_refused(-EROFS, "a write to a read-only image");
	in.size = 0;
	ok(call(FUSE_WRITE, 1025, &in, sizeof(in)) == sizeof(answer.write) &&
		answer.write.size == 0,
	    "a write of nothing");

	send_request(FUSE_FALLOCATE, 1025, &zero, sizeof(zero), 0);
	ok(submitted != NULL && submitted->kind == IMAGE_ZERO &&
		submitted->len == 512,
	    "zeros end where the image ends");
	finish(0);
	is_refused(0, "and are there");
	zero.offset = SIZE;
	send_request(FUSE_FALLOCATE, 1025, &zero, sizeof(zero), 0);
	is_refused(0, "zeros behind the end are nothing");
	zero.offset = 0;
	send_request(FUSE_FALLOCATE, 99, &zero, sizeof(zero), 0);
	is_refused(-EIO, "zeros in nothing");
	zero.mode = FALLOC_FL_KEEP_SIZE;
	send_request(FUSE_FALLOCATE, 1025, &zero, sizeof(zero), 0);
	is_refused(-EOPNOTSUPP, "space is not kept in advance");
}

/* ---- how much is held, and the end ------------------------------------------- */

static void
test_full(void)
{
	struct fuse_read_in in = { .size = 512 };
	struct image_req *first;

	held = FUSE_HELD_BYTES_MAX;
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	first = submitted;
	submitted = NULL;
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	ok(first != NULL && submitted == NULL,
	    "when too much is held nothing more is read");
	held = 0;
	submitted = first;
	finish(0);
	ok(take_answer() == 512, "what is held is answered");
	loop_turn(false);
	ok(submitted != NULL, "and then the next request is read");
	finish(0);
	(void)take_answer();

	fuse_pause();
	send_request(FUSE_READ, 1025, &in, sizeof(in), 0);
	ok(submitted == NULL && take_answer() < 0,
	    "a server that hands over leaves requests to its successor");
}

static void
test_resend_and_end(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	ok(fuse_resend(pair[0]) == 0 &&
		read(pair[1], &answer, sizeof(answer)) == sizeof(answer.head) &&
		answer.head.unique == 0 &&
		answer.head.error == FUSE_NOTIFY_RESEND_CODE,
	    "requests are asked for again");
	(void)close(pair[0]);
	is_int(fuse_resend(pair[0]), -EBADF, "or that fails");
	(void)close(pair[1]);
}

static void
test_unmounted(void)
{
	(void)close(kernel);
	kernel = -1;
	loop_turn(false);
	is_int(ended, 1, "an unmount ends it");
}

int
main(void)
{
	if (loop_init() < 0)
		return 1;
	begin();
	test_directory();
	test_reads();
	test_writes();
	test_unmounted();
	begin();
	test_full();
	test_resend_and_end();
	return tap_end();
}
