/*
 * watch.h - telling whoever has an image open that its header has changed,
 * and finding out with the same notification whether anybody has.
 *
 * A HeaderUpdate to an image that nobody has open comes back at once with no
 * answers. An open client (librbd, krbd) answers when it has read the header
 * anew; a dead one is waited for until the time-out, and until the OSD drops
 * its watch (30 s) it counts as one that has the image open.
 */
#ifndef CEPH_WATCH_H
#define CEPH_WATCH_H

#include "ceph/rados_aio.h"

#define WATCH_NOTIFY_TIMEOUT_MS 5000 /* what librbd gives its peers */

enum watch_verdict {
	WATCH_NONE = 0, /* nobody has the image open */
	WATCH_ALIVE,    /* somebody has and answered */
	WATCH_SILENT,   /* somebody has, or had a moment ago */
};

/*
 * Sends HeaderUpdate to image `id`. The waiter is woken with 0 or -ETIMEDOUT
 * when the answer is in *result, -ENOENT when there is no such image, or
 * another failure; watch_judge() makes sense of the two.
 */
void watch_header_update_start(struct ceph_pool *pool, const char *id,
    struct rados_notified *result, struct wake *waiter);

/*
 * From op->rc and *result: 0 and *verdict, or the failure. A time-out is not
 * a failure but WATCH_SILENT.
 */
int watch_judge(int rc, const struct rados_notified *result,
    enum watch_verdict *verdict) must_check;

#endif
