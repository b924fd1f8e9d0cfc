/*
 * control.h - the commands of rbd-csid, and giving a restarted rbd-csid the
 * descriptors back without which the next successor could not go on.
 *
 * The rule that holds it together: a client may go away at any time. What it
 * has asked for goes on to its end; the answer is dropped.
 */
#ifndef ATTACH_CONTROL_H
#define ATTACH_CONTROL_H

#include "attach/image.h"
#include "attach/table.h"

struct control_settings {
	int channel_fd;        /* of who started us, or -1 */
	const char *path;      /* socket to listen on */
	int fuse_fd, table_fd; /* what HELLO gives back */
	struct table *table;
	void (*drain)(void); /* end cleanly, then control_drained() */
};

/*
 * Listens (a stale socket file is replaced) and takes the channel over;
 * nothing is read before the loop runs.
 */
int control_init(
    const struct control_settings *settings, struct err *err) must_check;

/* No Ceph session: tells who started us. To be called before the loop runs. */
void control_fail(const char *step, const struct err *err);

unsigned control_clients(void); /* connected just now */

/* An image has another size: tells everybody. */
void control_resized(const struct image *image);

/* Everything is closed: answers those who asked for the drain. */
void control_drained(void);

#endif
