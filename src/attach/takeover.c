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
#include <unistd.h>

/*
 * As librbd's own entries. An OSD that was cut off for longer has been marked
 * down meanwhile and drops what it had received before.
 */
#define FENCE_SECONDS 3600

/* "ip:0/0" would fence every client of the host. */
static bool
is_one_client(const char *address)
{
	const char *slash = strrchr(address, '/');
	uint64_t nonce;

	return slash != NULL && str_to_u64(slash + 1, &nonce) == 0 &&
	    nonce != 0;
}

static int
fence(rados_t cluster, const char *address, struct err *err)
{
	auto_free char *victim = str_dup(address);
	int64_t begin = clock_now_ms();
	int rc = rados_blocklist_add(cluster, victim, FENCE_SECONDS);

	if (rc >= 0)
		rc = rados_wait_for_latest_osdmap(cluster);
	if (rc < 0)
		return err_set_rc(err, rc,
		    "fence %s, which has died (the user needs mon caps 'profile rbd')",
		    address);
	log_info("takeover.fenced", "address=%s ms=%" PRId64, address,
	    clock_now_ms() - begin);
	return 0;
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
			rc = fence(conn->cluster, address, err);
		else
			log_warn("takeover.address",
			    "file=%s text=\"names no client: removed\"", path);
		if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
			rc = err_set_rc(err, -errno, "remove %s", path);
		free(path);
	}
	return rc;
}

int
takeover_begin(struct table *table, const char *directory,
    struct ceph_connection *conn, char **fenced, struct err *err)
{
	const char *address = table_address(table);
	struct err ignored = ERR_INIT;
	int rc;

	*fenced = NULL;
	if (address != NULL && !is_one_client(address))
		return err_set(err, ERR_INTERNAL,
		    "address of the predecessor \"%s\"", address);
	if (address != NULL) {
		/*
		 * Where no image is attached, only the lock of an attach that
		 * was cut off may be left, which dies by itself.
		 */
		rc = fence(conn->cluster, address,
		    table_slots_used(table) > 0 ? err : &ignored);
		if (rc < 0 && table_slots_used(table) > 0)
			return rc;
		if (rc == 0) {
			*fenced = str_dup(address);
			atomic_fetch_add(&table->fences, 1);
		}
	}
	rc = address_write(directory, conn->address);
	if (rc < 0)
		log_warn("takeover.address",
		    "rc=%d text=\"not noted: if rbd-csid dies, too, the images wait for the end of this one's watch\"",
		    rc);
	rc = table_set_address(table, conn->address);
	if (rc < 0) {
		free(take_ptr(fenced));
		return err_set_rc(err, rc, "our address \"%s\"", conn->address);
	}
	atomic_fetch_add(&table->generation, 1);
	return 0;
}
