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
#include "core/peer.h"

/*
 * Serves who started us, on ATTACH_FD_CHANNEL. Until control_serving() calls
 * are refused. `drain` is to end cleanly.
 */
void control_init(
    const char *directory, struct table *table, void (*drain)(void));

/* Listens at DIRECTORY/sock. Success when it does already. */
int control_listen(struct err *err) must_check;

/* Images are served from now on: tells everybody who has said HELLO. */
void control_serving(void);

/*
 * Something is wrong with the session: tells everybody, and once it serves
 * those who say HELLO later, too. `step` is a constant.
 */
void control_fail(
    const char *step, enum peer_scope scope, const struct err *err);

/* An image is open or closed: who has waited to attach it is served. */
void control_settled(void);

/* An image has another size: tells everybody. */
void control_resized(const struct image *image);

#endif
