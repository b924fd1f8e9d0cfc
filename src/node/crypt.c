/*
 * crypt.c - dm devices in sysfs, and their removal by the control device.
 */
#include "node/crypt.h"
#include "node/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define INTEGRITY "_dif" /* what cryptsetup calls the lower one */
#define DEPTH_MAX 4
#define BUSY_TRIES 50
#define BUSY_WAIT_MS 100

/* The one device that `devno` lies on; 0: none, or several. */
static dev_t
slave_of(dev_t devno)
{
	auto_dir DIR *dir = sysfs_dir(
	    "dev/block/%u:%u/slaves", major(devno), minor(devno));
	const char *name;
	dev_t slave = 0;

	while ((name = sysfs_next(dir)) != NULL) {
		if (slave != 0)
			return 0;
		slave = sysfs_devno(name);
	}
	return slave;
}

/* The first slave is what a mapping is upon, for as long as it is one. */
bool
crypt_below(dev_t devno, dev_t *below)
{
	bool is = false;

	for (int i = 0; i < DEPTH_MAX && devno != 0; i++) {
		char uuid[DM_UUID_LEN + 1];

		(void)sysfs_read(uuid, sizeof(uuid), "dev/block/%u:%u/dm/uuid",
		    major(devno), minor(devno));
		if (!str_starts(uuid, "CRYPT-")) {
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
	auto_free char *mine = str_fmt(CRYPT_PREFIX "%s", volume_id);
	static const char *const suffixes[] = { "", INTEGRITY, CRYPT_WIPE,
		CRYPT_WIPE INTEGRITY };
	char name[DM_NAME_LEN + 1];

	(void)sysfs_read(name, sizeof(name), "class/block/%s/dm/name", disk);
	if (!str_starts(name, mine))
		return false;
	for (size_t i = 0; i < countof(suffixes); i++)
		if (str_eq(name + strlen(mine), suffixes[i]))
			return true;
	return false;
}

static int
control_open(void)
{
	auto_free char *device = str_fmt("%s/mapper/control", node_paths.dev);

	return open(device, O_RDWR | O_CLOEXEC);
}

/* Asked by its name, the kernel need not be asked for all devices. */
dev_t
crypt_find(const char *volume_id, const char *suffix)
{
	struct dm_ioctl dm = { .version = { DM_VERSION_MAJOR, 0, 0 },
		.data_size = sizeof(dm) };
	auto_close int control = control_open();

	return control >= 0 &&
		str_put(dm.name, sizeof(dm.name), CRYPT_PREFIX "%s%s",
		    volume_id, suffix) == 0 &&
		ioctl(control, DM_DEV_STATUS, &dm) == 0
	    ? (dev_t)dm.dev
	    : 0;
}

/* What just looks at a mapping (udev) is waited for. */
int
crypt_close(const char *volume_id, const char *suffix, struct err *err)
{
	auto_close int control = control_open();
	const char *const layer[] = { "", INTEGRITY }; /* the upper one first */

	if (control < 0)
		return err_set_rc(err, -errno,
		    "close the mapping " CRYPT_PREFIX
		    "%s%s: open %s/mapper/control",
		    volume_id, suffix, node_paths.dev);
	for (size_t which = 0; which < countof(layer); which++) {
		struct dm_ioctl dm = { .version = { DM_VERSION_MAJOR, 0, 0 } };
		auto_free char *node = NULL;

		if (str_put(dm.name, sizeof(dm.name), CRYPT_PREFIX "%s%s%s",
			volume_id, suffix, layer[which]) < 0)
			continue; /* no mapping can have it */
		for (int i = 0;; i++) {
			dm.data_size = sizeof(dm);
			if (ioctl(control, DM_DEV_REMOVE, &dm) == 0 ||
			    errno == ENXIO)
				break;
			if (errno != EBUSY || i >= BUSY_TRIES)
				return err_set_rc(err, -errno,
				    "close the mapping %s", dm.name);
			device_pause_ms(BUSY_WAIT_MS);
		}
		node = str_fmt("%s/mapper/%s", node_paths.dev, dm.name);
		(void)unlink(node); /* without udev nobody else does */
	}
	return 0;
}
