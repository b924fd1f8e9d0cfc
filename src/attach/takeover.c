/*
 * takeover.c - see takeover.h.
 */
#include "attach/takeover.h"

#include "attach/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "ceph/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <rados/librados.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * As librbd's own entries. An OSD that was cut off for longer has been marked
 * down meanwhile and drops what it had received before.
 */
#define FENCE_SECONDS 3600
#define RETRY_MS 500

/* "ip:0/0" would fence every client of the host. */
static bool
is_one_client(const char *address)
{
	const char *slash = strrchr(address, '/');
	uint64_t nonce;

	return slash != NULL && str_to_u64(slash + 1, &nonce) == 0 &&
	    nonce != 0;
}

static void
wait_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

/*
 * Until it has succeeded, or once where no image is attached: then only the
 * lock of an attach that was cut off may be left, which dies by itself.
 */
static int
fence(rados_t cluster, const char *address, bool insist)
{
	char *victim = str_dup(address);
	int64_t begin = clock_now_ms();
	int rc;

	for (unsigned tries = 0;; tries++) {
		rc = rados_blocklist_add(cluster, victim, FENCE_SECONDS);
		if (rc >= 0)
			rc = rados_wait_for_latest_osdmap(cluster);
		if (rc >= 0 || !insist)
			break;
		if (tries % 20 == 0)
			log_error("takeover.fence",
			    "address=%s rc=%d "
			    "text=\"no I/O before it succeeds; the user needs "
			    "mon caps 'profile rbd'\"",
			    victim, rc);
		wait_ms(RETRY_MS);
	}
	log_info("takeover.fenced", "address=%s rc=%d ms=%" PRId64, victim, rc,
	    clock_now_ms() - begin);
	free(victim);
	return rc;
}

int
takeover_fence_dead(
    const char *directory, struct ceph_connection *conn, struct err *err)
{
	char address[ADDRESS_MAX];
	char *path;
	int rc = 0;

	while (rc == 0 && (path = address_dug_up(directory, address)) != NULL) {
		if (is_one_client(address))
			rc = fence(
			    ceph_connection_handle(conn), address, false);
		else
			log_warn("takeover.address",
			    "file=%s text=\"names no client: removed\"", path);
		rc = rc < 0 ? rc : 0;
		if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
			rc = -errno;
		if (rc < 0)
			(void)err_set_rc(err, rc,
			    "fence %s, which has died (the user needs mon caps "
			    "'profile rbd')",
			    address);
		free(path);
	}
	return rc;
}

int
takeover_begin(struct table *table, const char *directory,
    struct ceph_connection *conn, char **fenced, struct err *err)
{
	const char *address = table_address(table);
	int rc;

	*fenced = NULL;
	if (address != NULL) {
		if (!is_one_client(address))
			return err_set(err, ERR_INTERNAL,
			    "address of the predecessor \"%s\"", address);
		if (fence(ceph_connection_handle(conn), address,
			table_slots_used(table) > 0) >= 0)
			*fenced = str_dup(address);
	}
	rc = address_write(directory, ceph_connection_address(conn));
	if (rc < 0)
		log_warn("takeover.address",
		    "rc=%d text=\"not noted: if rbd-csid dies, too, the images "
		    "wait for the end of this one's watch\"",
		    rc);
	rc = table_set_address(table, ceph_connection_address(conn));
	if (rc < 0)
		return err_set_rc(err, rc, "our address \"%s\"",
		    ceph_connection_address(conn));
	atomic_fetch_add(&table->generation, 1);
	return 0;
}
