/*
 * device.c - see device.h.
 */
#include "node/device.h"
#include "node/loopdev.h"
#include "node/sysfs.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#define UUID_LEN 36

extern char **environ;

const char *
device_uuid_of(const char *name)
{
	size_t len = strlen(name);
	const char *tail;

	if (len < UUID_LEN)
		return NULL;
	tail = name + len - UUID_LEN;
	for (int i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? tail[i] != '-'
			 : strchr("0123456789abcdefABCDEF", tail[i]) == NULL)
			return NULL;
	}
	return tail;
}

bool
device_is_named(const char *volume_id, const char *image)
{
	const char *uuid = device_uuid_of(image);

	return str_eq(image, volume_id) ||
	    (uuid != NULL && strstr(volume_id, uuid) != NULL);
}

bool
device_is_gone(dev_t devno)
{
	char file[LOOPDEV_FILE_MAX];
	uint64_t size;
	bool read_only;

	return sysfs_size(devno, &size, &read_only) == -ENODEV ||
	    (major(devno) == LOOP_MAJOR &&
		loopdev_file((int)minor(devno), file) < 0);
}

int
device_node_ensure(const char *path, dev_t devno, struct err *err)
{
	struct stat st;

	for (int i = 0; i < 3; i++) {
		if (stat(path, &st) == 0) {
			if (S_ISBLK(st.st_mode) && st.st_rdev == devno)
				return 0;
			/* Left over from an earlier device of that name. */
			if (unlink(path) < 0 && errno != ENOENT)
				return err_set_rc(err, -errno,
				    "remove %s, which is another device", path);
		} else if (errno != ENOENT) {
			return err_set_rc(err, -errno, "look at %s", path);
		}
		if (mknod(path, S_IFBLK | 0600, devno) == 0)
			return 0;
		if (errno != EEXIST)
			return err_set_rc(err, -errno, "make %s", path);
	}
	return err_set(err, ERR_INTERNAL, "%s is not the device %u:%u", path,
	    major(devno), minor(devno));
}

void
device_load_module(const char *name)
{
	char *argv[] = { (char *)(uintptr_t) "modprobe",
		(char *)(uintptr_t) "-q", (char *)(uintptr_t)name, NULL };
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		(void)waitpid(pid, &status, 0);
}

void
device_pause_ms(int64_t ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000,
		.tv_nsec = (ms % 1000) * 1000000 };

	(void)nanosleep(&pause, NULL);
}
