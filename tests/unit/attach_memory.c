/*
 * attach_memory.c - what rbd-attachd makes of a memory limit, and when it is
 * taken to wait for itself.
 */
#include "attach/memory.h"
#include "node/userspace_watch.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define PAGES 16

static char root[] = "/tmp/attach_memory.XXXXXX";

static void
put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL;
	     p++) {
		*p = '\0';
		(void)mkdir(full, 0700);
		*p = '/';
	}
	f = fopen(full, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		diag("cannot write %s", full);
}

static void
test_look(void)
{
	struct memory_limit limit;

	memory_look(root, &limit);
	ok(limit.bytes == UINT64_MAX, "no cgroup: no limit");
	put("proc/self/cgroup", "0::/kubepods/pod1/ctr\n");
	put("sys/fs/cgroup/kubepods/pod1/ctr/memory.max", "max\n");
	put("sys/fs/cgroup/kubepods/pod1/ctr/memory.stat",
	    "anon 4096\nfile 8192\n");
	put("sys/fs/cgroup/kubepods/pod1/memory.max", "67108864\n");
	put("sys/fs/cgroup/kubepods/memory.max", "max\n");
	memory_look(root, &limit);
	is_int((long long)limit.bytes, 67108864,
	    "v2: the tightest limit above us");
	is_int((long long)limit.used, 4096, "v2: what processes use");
	put("proc/self/cgroup", "0::/\n");
	put("sys/fs/cgroup/memory.max", "33554432\n");
	put("sys/fs/cgroup/memory.stat", "anon 100\n");
	memory_look(root, &limit);
	is_int(
	    (long long)limit.bytes, 33554432, "v2: in a namespace of its own");
	put("proc/self/cgroup",
	    "5:cpu:/\n4:memory:/kubepods/pod1\n0::/kubepods/pod1\n");
	put("sys/fs/cgroup/memory/kubepods/pod1/memory.stat",
	    "cache 1\nhierarchical_memory_limit 41943040\ntotal_cache 2\n"
	    "total_rss 8192\n");
	memory_look(root, &limit);
	is_int((long long)limit.bytes, 41943040, "v1: the limit");
	is_int((long long)limit.used, 8192, "v1: what processes use");
	put("proc/meminfo", "MemTotal:       81921 kB\nMemFree: 1 kB\n");
	memory_look(root, &limit);
	is_int((long long)limit.bytes, 41943040, "less than half of all");
	put("proc/meminfo", "MemTotal:       81920 kB\nMemFree: 1 kB\n");
	memory_look(root, &limit);
	ok(limit.bytes == UINT64_MAX, "half of all is no limit");
	put("sys/fs/cgroup/memory/kubepods/pod1/memory.stat",
	    "hierarchical_memory_limit 9223372036854771712\ntotal_rss 1\n");
	memory_look(root, &limit);
	ok(limit.bytes == UINT64_MAX, "v1: its number for no limit");
}

static void
test_check(void)
{
	struct memory_limit limit = { .bytes = 40 * MIB, .version_1 = true };
	struct err err = ERR_INIT;

	ok(memory_check(&limit, true, &err) == 0,
	    "an I/O flusher may be limited");
	ok(memory_check(&limit, false, &err) < 0 &&
		err.code == ERR_FAILED_PRECONDITION,
	    "v1: refused: %s", err.text);
	limit.bytes = 4096 * MIB;
	ok(memory_check(&limit, false, &err) < 0,
	    "v1: any limit, for the page cache comes up to each");
	limit.bytes = UINT64_MAX;
	err = (struct err)ERR_INIT;
	ok(memory_check(&limit, false, &err) == 0, "v1: no limit");
	ok(!memory_is_short(&limit), "no limit is enough");
	limit = (struct memory_limit){ .bytes = 40 * MIB };
	ok(memory_check(&limit, false, &err) == 0,
	    "v2: nobody waits for a page that he reclaims");
	ok(memory_is_short(&limit), "but 40 MiB are told to be little");
	limit.bytes = 256 * MIB;
	ok(!memory_is_short(&limit), "256 MiB are enough");
	limit.used = 129 * MIB;
	ok(memory_is_short(&limit), "unless others use them");
}

/* A thread of process 42, with a wait as Linux 6.18 shows it. */
static void
thread_is(unsigned thread, char state, unsigned switches, const char *function)
{
	char path[64], text[256];

	(void)snprintf(path, sizeof(path), "proc/42/task/%u/status", thread);
	(void)snprintf(text, sizeof(text),
	    "Name:\tio_context_pool\nUmask:\t0022\nState:\t%c (x)\n"
	    "voluntary_ctxt_switches:\t%u\nnonvoluntary_ctxt_switches:\t7\n",
	    state, switches);
	put(path, text);
	(void)snprintf(path, sizeof(path), "proc/42/task/%u/stack", thread);
	(void)snprintf(text, sizeof(text),
	    "[<0>] folio_wait_writeback+0x2b/0x80\n[<0>] %s+0xe6/0x200\n"
	    "[<0>] fuse_dev_do_read+0x1/0x2\n",
	    function);
	put(path, text);
}

/* The first advice other than "fine" within a minute, and after how many. */
static enum watch_advice
watch_for(struct watch *watch, int *looks)
{
	enum watch_advice advice = WATCH_FINE;

	for (*looks = 0; advice == WATCH_FINE && *looks < 12; ++*looks)
		advice = watch_look(watch, root, 42);
	return advice;
}

static void
test_watch(void)
{
	static const char reclaim[] = "try_to_free_mem_cgroup_pages";
	struct watch watch = { 0 };
	enum watch_advice advice = WATCH_FINE;
	int looks;

	ok(watch_for(&watch, &looks) == WATCH_FINE, "no such process");
	thread_is(42, 'S', 1, "ep_poll");
	thread_is(43, 'D', 1, "filemap_fault");
	ok(watch_for(&watch, &looks) == WATCH_FINE,
	    "a wait for a disk may take long");
	thread_is(43, 'D', 1, "__refrigerator");
	ok(watch_for(&watch, &looks) == WATCH_FINE, "so may a freezer's");
	thread_is(43, 'R', 1, reclaim);
	ok(watch_for(&watch, &looks) == WATCH_FINE, "reclaim that works");
	for (unsigned i = 0; i < 12 && advice == WATCH_FINE; i++) {
		thread_is(43, 'D', i, reclaim);
		advice = watch_look(&watch, root, 42);
	}
	ok(advice == WATCH_FINE, "reclaim that is slow");
	thread_is(43, 'D', 99, reclaim);
	ok(watch_for(&watch, &looks) == WATCH_KILL, "one unbroken sleep");
	is_int(looks, 1 + WATCH_KILL_MS / WATCH_LOOK_MS, "not sooner");
	ok(watch_for(&watch, &looks) == WATCH_ABORT, "it does not die");
	is_int(looks, WATCH_ABORT_MS / WATCH_LOOK_MS, "nor that sooner");
	watch.pid = 41;
	ok(watch_for(&watch, &looks) == WATCH_KILL, "its successor's too");
	thread_is(43, 'S', 100, "ep_poll");
	ok(watch_for(&watch, &looks) == WATCH_FINE, "it goes on");
}

/* A figure of the mapping that begins at `at`, in pages. */
static long
pages_of(const void *at, const char *figure)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[4400];
	void *from = NULL;
	size_t len = strlen(figure);
	long kib = -1;

	while (maps != NULL && kib < 0 &&
	    fgets(line, sizeof(line), maps) != NULL) {
		if (line[strspn(line, "0123456789abcdef")] == '-')
			(void)sscanf(line, "%p-", &from);
		else if (from == at && strncmp(line, figure, len) == 0 &&
		    line[len] == ':')
			kib = strtol(line + len + 1, NULL, 10);
	}
	if (maps != NULL)
		(void)fclose(maps);
	return kib < 0 ? kib : kib * 1024 / sysconf(_SC_PAGESIZE);
}

/* Each page begins with its number. */
static bool
reads(const volatile unsigned char *map, size_t page)
{
	bool good = true;

	for (size_t i = 0; i < PAGES; i++)
		good &= map[i * page] == i;
	return good;
}

static void
test_drop(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = PAGES * page;
	auto_free unsigned char *all = mem_new(size);
	unsigned char *unused, *written, *open_to_writes;
	char path[64];
	int fd;

	for (size_t i = 0; i < PAGES; i++)
		all[i * page] = (unsigned char)i;
	(void)snprintf(path, sizeof(path), "%s/library", root);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ok(fd >= 0 && write(fd, all, size) == (ssize_t)size, "a library");
	unused = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	written = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	open_to_writes = mmap(
	    NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!ok(unused != MAP_FAILED && written != MAP_FAILED &&
		    open_to_writes != MAP_FAILED,
		"is mapped three times"))
		return;
	written[page] = 99; /* as a relocation */
	(void)mprotect(written, size, PROT_READ);
	/* As rbd-attachd; AddressSanitizer takes mlockall() and munlock() away. */
	(void)mlockall(MCL_CURRENT | MCL_ONFAULT);
	ok(reads(unused, page) && reads(open_to_writes, page),
	    "and all of it is used");
	is_int(pages_of(unused, "Rss"), PAGES, "it is in memory");

	memory_drop_unused();
	is_int(pages_of(unused, "Rss"), 0, "then none of it is");
	is_int(pages_of(open_to_writes, "Rss"), PAGES,
	    "but what may be written, which is left alone");
	is_int(written[page], 99, "what was written is kept");
	ok(reads(unused, page), "what is used again is as it was");
	is_int(pages_of(unused, "Rss"), PAGES, "and in memory");
	if (geteuid() == 0)
		ok(pages_of(unused, "Locked") > 0, "and kept there");
	(void)munlockall();
	(void)munmap(unused, size);
	(void)munmap(written, size);
	(void)munmap(open_to_writes, size);
	(void)close(fd);
}

static int
on_left(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Locked as rbd-attachd locks it. */
static void
test_map(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), there = 0;
	unsigned char resident[65];
	char *map;

	if (mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
		diag("mlockall: %s", strerror(errno));
	map = memory_map(65 * page);
	(void)munlockall();
	if (!ok(map != MAP_FAILED && mincore(map, 65 * page, resident) == 0,
		"memory is mapped"))
		return;
	for (size_t i = 0; i < countof(resident); i++)
		there += resident[i] & 1;
	is_int((int)there, 65, "and all of its pages are there");
	ok(munmap(map, 65 * page) == 0, "it is unmapped");
}

int
main(void)
{
	if (mkdtemp(root) == NULL)
		return 1;
	test_look();
	test_check();
	test_watch();
	test_drop();
	test_map();
	(void)nftw(root, on_left, 8, FTW_DEPTH | FTW_PHYS);
	return tap_end();
}
