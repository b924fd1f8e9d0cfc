/*
 * crypt.c - dm devices in sysfs, and their removal by the control device.
 */
#include "node/crypt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>

#define INTEGRITY "_dif" /* what cryptsetup calls the lower one */
#define DEPTH_MAX 4
#define BUSY_TRIES 50
#define BUSY_WAIT_MS 100

/* A line of a file in sysfs, without its end; false: there is none. */
static bool
read_line(const char *path, char *text, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static dev_t
read_devno(const char *path)
{
	char text[32];
	unsigned maj, min;

	if (!read_line(path, text, sizeof(text)) ||
	    sscanf(text, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

/* The one device that `devno` lies on; 0: none, or several. */
static dev_t
slave_of(dev_t devno)
{
	auto_free char *path = str_fmt(
	    "/sys/dev/block/%u:%u/slaves", major(devno), minor(devno));
	DIR *dir = opendir(path);
	const struct dirent *d;
	dev_t slave = 0;
	int n = 0;

	while (dir != NULL && (d = readdir(dir)) != NULL) {
		auto_free char *file = str_fmt("%s/%s/dev", path, d->d_name);

		if (d->d_name[0] == '.')
			continue;
		slave = read_devno(file);
		n++;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return n == 1 ? slave : 0;
}

/* The first slave is what a mapping is upon, for as long as it is one. */
bool
crypt_below(dev_t devno, dev_t *below)
{
	bool is = false;

	for (int i = 0; i < DEPTH_MAX && devno != 0; i++) {
		auto_free char *path = str_fmt(
		    "/sys/dev/block/%u:%u/dm/uuid", major(devno), minor(devno));
		char uuid[DM_UUID_LEN + 1];

		if (!read_line(path, uuid, sizeof(uuid)) ||
		    !str_starts(uuid, "CRYPT-")) {
			if (is)
				*below = devno;
			return is;
		}
		is = true;
		devno = slave_of(devno);
	}
	return false;
}

bool
crypt_is_of(const char *disk, const char *volume_id)
{
	auto_free char *path = str_fmt("/sys/class/block/%s/dm/name", disk);
	auto_free char *mine = str_fmt(CRYPT_PREFIX "%s", volume_id);
	auto_free char *lower = str_fmt("%s" INTEGRITY, mine);
	char name[DM_NAME_LEN + 1];

	return read_line(path, name, sizeof(name)) &&
	    (str_eq(name, mine) || str_eq(name, lower));
}

dev_t
crypt_find(const char *volume_id)
{
	auto_free char *mine = str_fmt(CRYPT_PREFIX "%s", volume_id);
	DIR *dir = opendir("/sys/class/block");
	const struct dirent *d;
	dev_t found = 0;

	while (dir != NULL && found == 0 && (d = readdir(dir)) != NULL) {
		auto_free char *name_path = str_fmt(
		    "/sys/class/block/%s/dm/name", d->d_name);
		auto_free char *dev_path = str_fmt(
		    "/sys/class/block/%s/dev", d->d_name);
		char name[DM_NAME_LEN + 1];

		if (str_starts(d->d_name, "dm-") &&
		    read_line(name_path, name, sizeof(name)) &&
		    str_eq(name, mine))
			found = read_devno(dev_path);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

/* Removes one mapping; what just looks at it (udev) is waited for. */
static int
remove_mapping(int control, const char *name, struct err *err)
{
	const struct timespec pause = { .tv_nsec = BUSY_WAIT_MS * 1000000L };
	auto_free char *node = str_fmt("/dev/mapper/%s", name);

	for (int i = 0;; i++) {
		struct dm_ioctl dm = {
			.version = { DM_VERSION_MAJOR, 0, 0 },
			.data_size = sizeof(dm),
		};

		if (str_put(dm.name, sizeof(dm.name), "%s", name) < 0)
			return 0; /* no mapping can have it */
		if (ioctl(control, DM_DEV_REMOVE, &dm) == 0 || errno == ENXIO)
			break;
		if (errno != EBUSY || i >= BUSY_TRIES)
			return err_set_rc(
			    err, -errno, "close the mapping %s", name);
		(void)nanosleep(&pause, NULL);
	}
	(void)unlink(node); /* without udev nobody else does */
	return 0;
}

int
crypt_close(const char *volume_id, struct err *err)
{
	auto_free char *name = str_fmt(CRYPT_PREFIX "%s", volume_id);
	auto_free char *lower = str_fmt("%s" INTEGRITY, name);
	auto_close int control = open(
	    "/dev/mapper/control", O_RDWR | O_CLOEXEC);
	int rc;

	if (control < 0)
		return err_set_rc(err, -errno,
		    "close the mapping %s: open /dev/mapper/control", name);
	rc = remove_mapping(control, name, err);
	if (rc == 0)
		rc = remove_mapping(control, lower, err);
	return rc;
}
