/*
 * krbd_names.c - see krbd_names.h.
 */
#include "node/krbd_names.h"
#include "node/device.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_BYTES 256

/* By the device's number, which is the lowest that is free when it comes. */
static struct {
	struct krbd_name {
		uint64_t ino; /* 0: none */
		char *name;
	} * at;
	int n;
} names;

static void
names_make_room(int id)
{
	int n = names.n;

	if (id < n)
		return;
	names.n = 2 * (id + 1);
	names.at = mem_grow(names.at, (size_t)names.n * sizeof(*names.at));
	memset(&names.at[n], 0, (size_t)(names.n - n) * sizeof(*names.at));
}

/* The number first: should the entry become another one, nobody has it. */
void
krbd_names_look(int id)
{
	auto_free char *path = str_fmt(
	    "%s/" KRBD_DEVICES "/%d", node_paths.sys, id);
	char name[NAME_BYTES];
	struct stat st;

	if (id < 0 || id >= KRBD_ID_MAX || lstat(path, &st) < 0 ||
	    krbd_names_get(id, st.st_ino) != NULL ||
	    sysfs_read(name, sizeof(name), KRBD_DEVICES "/%d/name", id) < 0)
		return;
	names_make_room(id);
	free(names.at[id].name);
	names.at[id] = (struct krbd_name){ st.st_ino, str_dup(name) };
}

const char *
krbd_names_get(int id, uint64_t ino)
{
	return id < names.n && names.at[id].ino == ino ? names.at[id].name
						       : NULL;
}
