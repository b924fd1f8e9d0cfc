/*
 * watch.c - HeaderUpdate notifications.
 */
#include "ceph/watch.h"

#include "ceph/image.h"

#include <errno.h>

void
watch_header_update_start(struct ceph_pool *pool, const char *id,
    struct rados_notified *result, struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];
	struct enc payload;

	image_header_object(object, id);
	enc_init(&payload);
	cls_notify_header_update(&payload);
	rados_notify_start(pool, object, payload.buf.data, payload.buf.len,
	    WATCH_NOTIFY_TIMEOUT_MS, result, waiter);
	enc_fini(&payload);
}

int
watch_judge(
    int rc, const struct rados_notified *result, enum watch_verdict *verdict)
{
	if (rc < 0 && rc != -ETIMEDOUT)
		return rc;
	if (rc == -ETIMEDOUT || result->timeouts > 0)
		*verdict = WATCH_SILENT;
	else
		*verdict = result->acks > 0 ? WATCH_ALIVE : WATCH_NONE;
	return 0;
}
