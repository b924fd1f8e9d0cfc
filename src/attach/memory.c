/*
 * memory.c - see memory.h.
 */
#include "attach/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MIB ((uint64_t)1 << 20)

/*
 * For librados, librbd and the requests of some busy images; rbd-csid,
 * ceph-worker and the tools that share the group take of it too.
 */
#define NEED_BYTES (128 * MIB)

/* The number behind `key` in a file of "key number" lines. */
static bool
number_of(const char *text, const char *key, uint64_t *value)
{
	size_t len = strlen(key);
	const char *line = text;

	while (line != NULL &&
	    (strncmp(line, key, len) != 0 || line[len] != ' ')) {
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return line != NULL && sscanf(line + len, "%" SCNu64, value) == 1;
}

/* Path of our group in the hierarchy `tag` ("0::" or ":memory:"). */
static bool
group_of(const char *text, const char *tag, char *path, size_t size)
{
	const char *at = strstr(text, tag);

	if (at == NULL)
		return false;
	at += strlen(tag);
	return str_put(path, size, "%.*s", (int)strcspn(at, "\n"), at) == 0;
}

/* In a container the path may be that outside: then the root is ours. */
static char *
file_in(const char *base, const char *group, const char *name)
{
	char *path = str_fmt("%s%s/%s", base, group, name);

	if (access(path, R_OK) == 0)
		return path;
	free(path);
	return str_fmt("%s/%s", base, name);
}

static bool
look_v1(const char *root, const char *group, struct memory_limit *limit)
{
	auto_free char *base = str_fmt("%s/sys/fs/cgroup/memory", root);
	auto_free char *path = file_in(base, group, "memory.stat");
	char text[4096];

	if (!str_of_file(path, text, sizeof(text)) ||
	    !number_of(text, "hierarchical_memory_limit", &limit->bytes) ||
	    !number_of(text, "total_rss", &limit->used))
		return false;
	/* It says "no limit" by a number beyond all memory. */
	if (limit->bytes >= (uint64_t)1 << 62)
		limit->bytes = UINT64_MAX;
	limit->version_1 = true;
	return true;
}

static void
look_v2(const char *root, char *group, struct memory_limit *limit)
{
	auto_free char *base = str_fmt("%s/sys/fs/cgroup", root);
	auto_free char *stat = file_in(base, group, "memory.stat");
	char text[4096], *slash;
	uint64_t is;

	if (!str_of_file(stat, text, sizeof(text)) ||
	    !number_of(text, "anon", &limit->used))
		return;
	for (;;) {
		auto_free char *max = file_in(base, group, "memory.max");

		if (str_of_file(max, text, sizeof(text)) &&
		    sscanf(text, "%" SCNu64, &is) == 1 && is < limit->bytes)
			limit->bytes = is;
		if ((slash = strrchr(group, '/')) == NULL)
			return;
		*slash = '\0';
	}
}

void
memory_look(const char *root, struct memory_limit *limit)
{
	auto_free char *self = str_fmt("%s/proc/self/cgroup", root);
	auto_free char *meminfo = str_fmt("%s/proc/meminfo", root);
	char text[4096], group[1024];
	uint64_t kib;

	*limit = (struct memory_limit){ .bytes = UINT64_MAX };
	if (!str_of_file(self, text, sizeof(text)))
		return;
	if ((!group_of(text, ":memory:", group, sizeof(group)) ||
		!look_v1(root, group, limit)) &&
	    group_of(text, "0::", group, sizeof(group)))
		look_v2(root, group, limit);
	if (str_of_file(meminfo, text, sizeof(text)) &&
	    number_of(text, "MemTotal:", &kib) && limit->bytes / 512 >= kib)
		limit->bytes = UINT64_MAX;
}

void *
memory_map(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t at = 0; p != MAP_FAILED && at < bytes; at += page)
		((volatile char *)p)[at] = 0;
	return p;
}

void
memory_drop_unused(void)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[4400], may[5] = "";
	void *from = NULL, *to = NULL;
	unsigned long inode = 0, anonymous;
	size_t len;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		/* The head of a mapping, then its figures: "Name: ...". */
		if (line[strspn(line, "0123456789abcdef")] == '-' &&
		    sscanf(line, "%p-%p %4s %*s %*s %lu", &from, &to, may,
			&inode) != 4)
			break;
		if (sscanf(line, "Anonymous: %lu", &anonymous) != 1 ||
		    anonymous != 0 || inode == 0 || may[1] == 'w')
			continue;
		len = (size_t)((char *)to - (char *)from);
		if (munlock(from, len) == 0)
			(void)madvise(from, len, MADV_DONTNEED);
		(void)mlock2(from, len, MLOCK_ONFAULT);
	}
	if (maps != NULL)
		(void)fclose(maps);
}

bool
memory_is_short(const struct memory_limit *limit)
{
	return limit->bytes < limit->used + NEED_BYTES;
}

int
memory_check(const struct memory_limit *limit, bool flusher, struct err *err)
{
	if (flusher || !limit->version_1 || limit->bytes == UINT64_MAX)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "memory limit of %" PRIu64
	    " MiB in a cgroup of version 1: I/O could wait for itself; needs CAP_SYS_RESOURCE or no limit",
	    limit->bytes / MIB);
}
