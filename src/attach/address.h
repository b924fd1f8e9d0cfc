/*
 * address.h - the RADOS address of a session's rbd-attachd as a file, for the
 * case that rbd-csid and rbd-attachd die together and the image table with
 * them.
 *
 * The rule that holds it together: while a rbd-attachd may have I/O under
 * way, its address is in DIR/address. When rbd-csid finds that nobody serves
 * the session any more, it moves the file beside the session's directory, and
 * the next session of the same cluster and user fences what is named there
 * before it opens an image. A file is removed when its client is fenced or
 * has ended cleanly. It holds no secret.
 */
#ifndef ATTACH_ADDRESS_H
#define ATTACH_ADDRESS_H

#include "base/err.h"
#include "base/str.h"

#define ADDRESS_MAX 256

/* rbd-attachd: before its first I/O, and after a clean end. 0 or -errno. */
int address_write(const char *dir, const char *address) must_check;
void address_remove(const char *dir);

/* rbd-csid: the session has no process and gets none. */
void address_bury(const char *dir);

/*
 * rbd-attachd: takes the next buried address of the sessions with the same
 * HASH as `dir` (STATEDIR/attach/HASH-N). Returns the path of its file, to be
 * freed, which the caller unlinks when the client is fenced; `address` is ""
 * when the file holds none. NULL: there is none left.
 */
char *address_dug_up(const char *dir, char address[ADDRESS_MAX]);

#endif
