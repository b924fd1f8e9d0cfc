/*
 * device_userspace.h - the userspace mapper: images served by rbd-attachd as
 * files, with a loop device on each. The mapper itself is device.h's
 * `device_userspace`.
 */
#ifndef NODE_DEVICE_USERSPACE_H
#define NODE_DEVICE_USERSPACE_H

#include "node/device.h"

/* Path of rbd-attachd; borrowed. Before the mapper is registered. */
void device_userspace_set_program(const char *path);

/*
 * For an image whose cluster does not answer: its requests, those to come as
 * well, are answered with EIO, so that what hangs on its device ends and the
 * device can be unmapped. The image must be detached (close_start) before it
 * can be attached again; if its cluster does not let go of it within a bound,
 * rbd-attachd is replaced, which fences the late writes. Wakes `waiter` like
 * the mapper's close_start.
 */
void device_userspace_abort_start(
    struct device_open *open, struct wake *waiter);

/* A clean restart of every rbd-attachd, under load if need be. */
void device_userspace_restart_all(void);

#endif
