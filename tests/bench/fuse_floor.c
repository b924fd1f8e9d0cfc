/*
 * fuse_floor.c - what FUSE and a loop device cost by themselves: a file whose
 * reads and writes are answered at once, from memory, by one thread that does
 * nothing else. No server of such a file can be faster than this one plus what
 * it waits for.
 *
 *	fuse_floor DIRECTORY BYTES
 *
 * Mounts itself at DIRECTORY, where the file is called "image", with the open
 * flags of rbd-attachd and its answer to FUSE_INIT, and serves until that is
 * unmounted. Nothing is kept.
 *
 * Data lies in as many buffers as a deep queue needs, used in turn: that of a
 * request that is under way is not the next one's.
 */
#include "attach/fuse_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define INO 2
#define BUFFERS 16

static int fd;
static uint64_t size;
static char buffers[BUFFERS][FUSE_WIRE_REQUEST_MAX];

static void
answer(const struct fuse_call *call, int rc, const void *data, size_t len)
{
	struct fuse_out_header head = { .unique = call->unique,
		.error = rc,
		.len = (uint32_t)(sizeof(head) + len) };
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};

	(void)!writev(fd, iov, len > 0 ? 2 : 1);
}

static struct fuse_attr
attr_of(uint64_t ino)
{
	if (ino == INO)
		return (struct fuse_attr){ .ino = INO,
			.nlink = 1,
			.size = size,
			.blksize = 4096,
			.mode = S_IFREG | 0600 };
	return (struct fuse_attr){
		.ino = FUSE_ROOT_ID, .nlink = 2, .mode = S_IFDIR | 0700
	};
}

static void
serve(const struct fuse_call *call, const char *data)
{
	struct fuse_open_out opened = { .open_flags = FOPEN_DIRECT_IO |
		    FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_NOFLUSH };
	struct fuse_entry_out entry = { .nodeid = INO, .attr = attr_of(INO) };
	struct fuse_attr_out attr = { .attr = attr_of(call->nodeid) };
	struct fuse_write_out written;
	struct fuse_init_out init;

	switch (call->opcode) {
	case FUSE_READ:
		answer(call, 0, data, call->read->size);
		break;
	case FUSE_WRITE:
		written = (struct fuse_write_out){ .size = call->write->size };
		answer(call, 0, &written, sizeof(written));
		break;
	case FUSE_INIT:
		fuse_init_answer(call->init, &init);
		answer(call, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		if (strcmp(call->name, "image") == 0)
			answer(call, 0, &entry, sizeof(entry));
		else
			answer(call, -ENOENT, NULL, 0);
		break;
	case FUSE_GETATTR:
		answer(call, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		answer(call, 0, &opened, sizeof(opened));
		break;
	case FUSE_RELEASE:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_FALLOCATE:
		answer(call, 0, NULL, 0);
		break;
	default:
		answer(call, -ENOSYS, NULL, 0);
		break;
	}
}

int
main(int argc, char **argv)
{
	struct fuse_call call;
	char options[128];
	unsigned turn = 0;
	ssize_t n;

	if (argc != 3 || str_to_u64(argv[2], &size) < 0) {
		fprintf(stderr, "usage: fuse_floor DIRECTORY BYTES\n");
		return 2;
	}
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	(void)snprintf(options, sizeof(options),
	    "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 ||
	    mount("fuse_floor", argv[1], "fuse.fuse_floor",
		MS_NOSUID | MS_NODEV, options) < 0) {
		perror(argv[1]);
		return 1;
	}
	memset(buffers, 'x', sizeof(buffers)); /* not the page of zeros */
	while ((n = read(fd, buffers[turn], sizeof(buffers[turn]))) > 0 ||
	    (n < 0 && (errno == EINTR || errno == ENOENT))) {
		char *request = buffers[turn];

		turn = (turn + 1) % BUFFERS;
		if (n > 0 && fuse_call_parse(&call, request, (size_t)n) == 0 &&
		    !fuse_call_is_silent(&call))
			serve(&call, buffers[turn]);
	}
	return n < 0 && errno != ENODEV;
}
