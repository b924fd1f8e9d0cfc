/*
 * table.c - see table.h.
 */
#include "attach/table.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* A page of its own for the header, so that slots never share one with it. */
#define HEADER_BYTES 8192

_Static_assert(sizeof(struct table) <= HEADER_BYTES, "header does not fit");
_Static_assert(TABLE_SLOTS < 1 << TABLE_SLOT_BITS, "slot bits");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "stores must be one instruction");

static int
put_name(
    char *to, size_t size, const char *from, const char *what, struct err *err)
{
	if (from == NULL)
		from = "";
	if (strlen(from) >= size)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s is longer than %zu bytes", what, size - 1);
	memcpy(to, from, strlen(from) + 1);
	return 0;
}

static int
fill_header(
    struct table *table, const struct table_identity *who, struct err *err)
{
	int rc;

	table->version = TABLE_VERSION;
	table->header_bytes = HEADER_BYTES;
	table->slot_bytes = sizeof(struct table_slot);
	table->slots = TABLE_SLOTS;
	/* No session gives a serial that another one has given. */
	atomic_store(&table->serial, (uint64_t)clock_now_us());
	if ((rc = put_name(table->cluster_id, sizeof(table->cluster_id),
		 who->cluster_id, "cluster ID", err)) < 0 ||
	    (rc = put_name(table->net_namespace, sizeof(table->net_namespace),
		 who->net_namespace, "network namespace file", err)) < 0 ||
	    (rc = put_name(table->monitors, sizeof(table->monitors),
		 who->monitors, "monitor list", err)) < 0 ||
	    (rc = put_name(table->user, sizeof(table->user), who->user,
		 "user name", err)) < 0 ||
	    (rc = put_name(
		 table->key, sizeof(table->key), who->key, "key", err)) < 0)
		return rc;
	table->magic = TABLE_MAGIC;
	return 0;
}

int
table_create(const struct table_identity *identity, struct err *err)
{
	size_t size = HEADER_BYTES + TABLE_SLOTS * sizeof(struct table_slot);
	struct table *table;
	int fd, rc;

	fd = memfd_create("rbd-attachd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set_rc(err, -errno, "memfd_create");
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
		0) {
		rc = err_set_rc(err, -errno, "size of the image table");
		(void)close(fd);
		return rc;
	}
	table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED) {
		rc = err_set_rc(err, -errno, "mmap of the image table");
		(void)close(fd);
		return rc;
	}
	rc = fill_header(table, identity, err);
	(void)munmap(table, size);
	if (rc < 0) {
		(void)close(fd);
		return rc;
	}
	return fd;
}

struct table *
table_map(int fd, struct err *err)
{
	struct table *table;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_set_rc(err, -errno, "fstat of the image table");
		return NULL;
	}
	if (st.st_size < (off_t)sizeof(*table)) {
		err_set(err, ERR_INTERNAL, "image table of %lld bytes",
		    (long long)st.st_size);
		return NULL;
	}
	table = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
	    MAP_SHARED, fd, 0);
	if (table == MAP_FAILED) {
		err_set_rc(err, -errno, "mmap of the image table");
		return NULL;
	}
	if (table->magic != TABLE_MAGIC || table->version != TABLE_VERSION ||
	    table->header_bytes < sizeof(struct table) ||
	    table->slot_bytes < sizeof(struct table_slot) ||
	    table->slot_bytes % 8 != 0 || table->header_bytes % 8 != 0 ||
	    table->slots == 0 || table->slots >= 1U << TABLE_SLOT_BITS ||
	    (uint64_t)st.st_size < table->header_bytes +
		    (uint64_t)table->slots * table->slot_bytes) {
		err_set(err, ERR_FAILED_PRECONDITION,
		    "image table of another layout (version %" PRIu32 ")",
		    table->version);
		(void)munmap(table, (size_t)st.st_size);
		return NULL;
	}
	/* The key is in it. */
	(void)madvise(table, (size_t)st.st_size, MADV_DONTDUMP);
	return table;
}

void
table_unmap(struct table *table)
{
	if (table != NULL)
		(void)munmap(table,
		    table->header_bytes +
			(size_t)table->slots * table->slot_bytes);
}

static bool
same(const char *stored, const char *wanted)
{
	return str_eq(stored, wanted != NULL ? wanted : "");
}

bool
table_is_of(const struct table *table, const struct table_identity *identity)
{
	return same(table->cluster_id, identity->cluster_id) &&
	    same(table->net_namespace, identity->net_namespace) &&
	    same(table->monitors, identity->monitors) &&
	    same(table->user, identity->user) &&
	    same(table->key, identity->key);
}

unsigned
table_slots_used(struct table *table)
{
	unsigned used = 0;

	for (unsigned i = 0; i < table->slots; i++)
		used += table_slot_state(table_slot_at(table, i)) !=
		    TABLE_SLOT_FREE;
	return used;
}

struct table_slot *
table_slot_at(struct table *table, unsigned index)
{
	if (index >= table->slots)
		return NULL;
	return (struct table_slot *)(void *)((char *)table +
	    table->header_bytes + (size_t)index * table->slot_bytes);
}

/* ---- counters ---- */

const int64_t table_io_bounds_us[TABLE_IO_BOUNDS] = { 500, 1000, 2500, 5000,
	10000, 25000, 50000, 100000, 250000, 500000, 1000000, 5000000,
	30000000 };

/* Nobody else writes them. */
static void
count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter,
	    atomic_load_explicit(counter, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

void
table_io_note(struct table *table, enum table_io_kind kind, uint64_t bytes,
    int rc, int64_t us)
{
	struct table_io *io = &table->io[kind];
	unsigned i = 0;

	while (i < TABLE_IO_BOUNDS && us > table_io_bounds_us[i])
		i++;
	count(&io->in_bucket[i], 1);
	count(&io->us, (uint64_t)us);
	count(&io->bytes, bytes);
	count(&io->failures, rc < 0);
}

int
table_slot_fill(struct table *table, unsigned index,
    const Attach__Target *image, struct err *err)
{
	struct table_slot *slot = table_slot_at(table, index);
	uint64_t serial = atomic_load(&table->serial) + 1;
	int rc;

	if (slot == NULL || table_slot_state(slot) != TABLE_SLOT_FREE)
		return err_set(
		    err, ERR_INTERNAL, "image slot %u in use", index);
	if ((rc = put_name(slot->pool, sizeof(slot->pool), image->pool,
		 "pool name", err)) < 0 ||
	    (rc = put_name(slot->rados_namespace, sizeof(slot->rados_namespace),
		 image->rados_namespace, "RADOS namespace", err)) < 0 ||
	    (rc = put_name(slot->image, sizeof(slot->image), image->image,
		 "image name", err)) < 0 ||
	    (rc = put_name(slot->image_id, sizeof(slot->image_id),
		 image->image_id, "image id", err)) < 0)
		return rc;
	atomic_store(&table->serial, serial);
	slot->ino = serial << TABLE_SLOT_BITS | index;
	slot->flags = (image->read_only ? TABLE_SLOT_READ_ONLY : 0) |
	    (image->shared ? TABLE_SLOT_SHARED : 0);
	atomic_store(&slot->size_bytes, 0);
	atomic_store(&slot->pool_id, 0);
	atomic_store(&slot->aborted, TABLE_ABORTED_NOT);
	atomic_store(&slot->crashes, 0);
	return 0;
}

void
table_slot_set_state(struct table_slot *slot, enum table_slot_state state)
{
	atomic_store_explicit(
	    &slot->state, (uint32_t)state, memory_order_release);
}

const char *
table_io_name(enum table_io_kind kind)
{
	static const char *const name[TABLE_IO_KINDS] = { "read", "write",
		"flush", "zero" };

	return name[kind];
}

const char *
table_aborted_text(enum table_aborted aborted)
{
	switch (aborted) {
	case TABLE_ABORTED_NOT:
		break;
	case TABLE_ABORTED_ON_REQUEST:
		return "aborted on request";
	case TABLE_ABORTED_GONE:
		return "deleted or taken over by another client";
	case TABLE_ABORTED_DAMAGED:
		return "aborted because its header is damaged";
	case TABLE_ABORTED_REFUSED:
		return "refused by the cluster: the user may not use it any more";
	case TABLE_ABORTED_CRASHED:
		return "set aside: its I/O has ended rbd-attachd twice";
	}
	return "not aborted";
}

void
table_tag(char tag[TABLE_TAG_MAX], const char *cluster_id, const char *pool,
    const char *rados_namespace, const char *image)
{
	uint64_t hash = STR_HASH_SEED;

	hash = str_hash(hash, cluster_id != NULL ? cluster_id : "");
	hash = str_hash(hash, pool != NULL ? pool : "");
	hash = str_hash(hash, rados_namespace != NULL ? rados_namespace : "");
	hash = str_hash(hash, image != NULL ? image : "");
	(void)snprintf(tag, TABLE_TAG_MAX, "%016" PRIx64, hash);
}

void
table_slot_name(const struct table *table, const struct table_slot *slot,
    char name[TABLE_FILE_MAX])
{
	char tag[TABLE_TAG_MAX];

	table_tag(tag, table->cluster_id, slot->pool, slot->rados_namespace,
	    slot->image);
	(void)snprintf(name, TABLE_FILE_MAX, "%" PRIu64 "-%s-%.64s",
	    slot->ino >> TABLE_SLOT_BITS, tag, slot->image);
	for (; *name != '\0'; name++)
		if (*name == '/' || *name == '\\' ||
		    (unsigned char)*name <= ' ')
			*name = '_';
}

const char *
table_address(struct table *table)
{
	unsigned at = atomic_load_explicit(
	    &table->address_at, memory_order_acquire);

	return at == 0 || at >= countof(table->address) ? NULL
							: table->address[at];
}

int
table_set_address(struct table *table, const char *address)
{
	unsigned at = atomic_load(&table->address_at) == 1 ? 2 : 1;

	if (strlen(address) >= sizeof(table->address[at]))
		return -ENAMETOOLONG;
	memcpy(table->address[at], address, strlen(address) + 1);
	atomic_store_explicit(&table->address_at, at, memory_order_release);
	return 0;
}

void
table_clear_address(struct table *table)
{
	atomic_store(&table->address_at, 0);
}
