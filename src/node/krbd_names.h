/*
 * krbd_names.h - what images the devices of krbd are called after, so that a
 * look through all of them costs no system call for each.
 *
 * This is no memory of what is mapped: sysfs is asked each time. But it gives
 * each entry an inode number that no other ever has (Linux 5.5, with numbers
 * of 64 bits), and readdir tells it. So an entry with the number that it had
 * when its name was read is the same mapping still. Belongs to krbd.c.
 */
#ifndef NODE_KRBD_NAMES_H
#define NODE_KRBD_NAMES_H

#include <stdint.h>

#define KRBD_DEVICES "bus/rbd/devices" /* below node_paths.sys */
#define KRBD_ID_MAX (1 << 20)

/*
 * In the daemon, before it forks: reads the name of device `id`, if it is not
 * known. Does not block: the kernel has it in memory.
 */
void krbd_names_look(int id);

/*
 * In a child: the image's name of the entry of device `id` (below KRBD_ID_MAX)
 * that readdir gave `ino`, or NULL: not known. It lives until the next look.
 */
const char *krbd_names_get(int id, uint64_t ino);

#endif
