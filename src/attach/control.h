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
#include "attach/wire.h"

struct control_settings {
	int channel_fd;        /* of who started us, or -1 */
	const char *directory; /* of the session, for the socket "sock" */
	int fuse_fd, table_fd; /* what HELLO gives back */
	struct table *table;
	void (*drain)(void); /* end cleanly, then control_drained() */
};

/*
 * Takes the channel over. Until control_serving() only HELLO and DRAIN are
 * served.
 */
void control_init(const struct control_settings *settings);

/* Listens; a stale socket file is replaced. Success when it does already. */
int control_listen(struct err *err) must_check;

/* Images are served from now on: tells everybody who has said HELLO. */
void control_serving(void);

/*
 * Something is wrong with the session: tells everybody, and once it serves
 * those who say HELLO later, too.
 */
void control_fail(
    const char *step, enum wire_scope scope, const struct err *err);

unsigned control_clients(void); /* connected just now */

/* An image has another size: tells everybody. */
void control_resized(const struct image *image);

/* Everything is closed: answers those who asked for the drain. */
void control_drained(void);

#endif
