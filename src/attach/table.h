/*
 * table.h - the image table of one rbd-attachd session: what a successor
 * needs to go on where its predecessor stopped.
 *
 * It lives in a memfd that rbd-csid and rbd-attachd both hold, never on disk:
 * it carries the session's key. rbd-csid writes the session's identity before
 * it hands the memfd over; from then on rbd-attachd alone writes.
 *
 * The rule that holds it together: kill -9 may come between any two
 * instructions, so every change becomes visible by one aligned atomic store
 * (a slot's state, a size, the index of the valid address) after everything
 * it stands for has been written. Versions of the programs that differ share
 * a table by the strides in its header: fields are appended, never moved.
 */
#ifndef ATTACH_TABLE_H
#define ATTACH_TABLE_H

#include "attach.pb-c.h"
#include "base/err.h"
#include "base/str.h"

#include <stdatomic.h>

/* Descriptors of a rbd-attachd, as it is started and for as long as it lives. */
enum {
	ATTACH_FD_CHANNEL = 3,
	ATTACH_FD_FUSE,
	ATTACH_FD_TABLE,
};

/* Longest frame of attach.proto; a request holds four names at most. */
#define ATTACH_FRAME_MAX (16 * 1024)
#define ATTACH_QUEUED_MAX (1024 * 1024)

#define TABLE_MAGIC 0x6864636174746172ULL
#define TABLE_VERSION 1
#define TABLE_SLOTS 511    /* 128 requests of a loop device each: u16 */
#define TABLE_NAME_MAX 256 /* pool, namespace, image, id; with the NUL */
#define TABLE_SLOT_BITS 10 /* of an inode number */

enum table_slot_state {
	TABLE_SLOT_FREE = 0, /* nothing else in the slot means anything */
	TABLE_SLOT_SERVED,   /* attached: a successor must open it */
	TABLE_SLOT_CLOSING,  /* detaching: a successor must not */
};

/* Why all I/O of an image is answered with EIO. */
enum table_aborted {
	TABLE_ABORTED_NOT = 0,
	TABLE_ABORTED_ON_REQUEST,
	TABLE_ABORTED_GONE,    /* deleted, or another client's, at a takeover */
	TABLE_ABORTED_DAMAGED, /* its header cannot be */
	TABLE_ABORTED_REFUSED, /* the user may not use it any more */
	TABLE_ABORTED_CRASHED, /* its I/O has ended two servers */
};

enum {
	TABLE_SLOT_READ_ONLY = 1,
	TABLE_SLOT_SHARED = 2, /* other clients may write, too */
};

struct table_slot {
	_Atomic uint32_t state; /* enum table_slot_state */
	uint32_t flags;
	uint64_t ino; /* serial << TABLE_SLOT_BITS | index */
	_Atomic uint64_t size_bytes;
	_Atomic uint32_t aborted; /* enum table_aborted */
	_Atomic uint32_t crashes; /* servers that may have died of it */
	_Atomic int64_t pool_id;  /* once it was open; its name may change */
	char pool[TABLE_NAME_MAX];
	char rados_namespace[TABLE_NAME_MAX];
	char image[TABLE_NAME_MAX];
	char image_id[TABLE_NAME_MAX];
};

/*
 * What the servers of a table have done, since it was made; rbd-csid reads it
 * at any time.
 */
enum table_io_kind {
	TABLE_IO_READ = 0,
	TABLE_IO_WRITE,
	TABLE_IO_FLUSH,
	TABLE_IO_ZERO,
	TABLE_IO_KINDS,
};
#define TABLE_IO_BOUNDS 13
extern const int64_t table_io_bounds_us[TABLE_IO_BOUNDS];

struct table_io {
	_Atomic uint64_t bytes, failures;
	_Atomic uint64_t us; /* from arrival to answer, the sum */
	_Atomic uint64_t in_bucket[TABLE_IO_BOUNDS + 1]; /* how many took it */
};

struct table {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes; /* where the slots begin */
	uint32_t slot_bytes;   /* stride */
	uint32_t slots;
	_Atomic uint64_t serial;     /* last one given to an inode */
	_Atomic uint32_t generation; /* servers started on this table */
	_Atomic uint32_t address_at; /* which address is valid; 0: none */
	char address[3][TABLE_NAME_MAX];
	char cluster_id[TABLE_NAME_MAX];
	char net_namespace[TABLE_NAME_MAX]; /* file, "" for our own */
	char monitors[2048];
	char user[TABLE_NAME_MAX];
	char key[TABLE_NAME_MAX];
	char fsid[40]; /* of the cluster; "": not known yet */
	struct table_io io[TABLE_IO_KINDS];
	_Atomic uint64_t fences;    /* predecessors that were shut out */
	_Atomic uint32_t in_flight; /* requests, of the server of now */
};

/* Whose session it is; strings are borrowed. */
struct table_identity {
	const char *cluster_id, *net_namespace, *monitors, *user, *key;
};

/*
 * Makes the memfd of a new session, sealed against a change of size. Returns
 * the descriptor (close on exec) or a negative errno.
 */
int table_create(const struct table_identity *identity, struct err *err);

/*
 * Maps the table behind `fd`. NULL when it is no table or one of a layout
 * that this program cannot read; `err` says which.
 */
struct table *table_map(int fd, struct err *err);
void table_unmap(struct table *table);
bool table_is_of(
    const struct table *table, const struct table_identity *identity);
unsigned table_slots_used(struct table *table);

struct table_slot *table_slot_at(struct table *table, unsigned index);

static inline enum table_slot_state
table_slot_state(struct table_slot *slot)
{
	return (enum table_slot_state)atomic_load_explicit(
	    &slot->state, memory_order_acquire);
}

static inline unsigned
table_slot_index(uint64_t ino)
{
	return (unsigned)(ino & ((1U << TABLE_SLOT_BITS) - 1));
}

/*
 * Writes an image into a free slot without making it visible: the slot's
 * state stays FREE until table_slot_set_state(). The inode number is new in
 * this session. Returns 0, -ENAMETOOLONG.
 */
int table_slot_fill(struct table *table, unsigned index,
    const Attach__Target *image, struct err *err) must_check;
void table_slot_set_state(struct table_slot *slot, enum table_slot_state state);

/* One request has ended, `us` after it came. */
void table_io_note(struct table *table, enum table_io_kind kind, uint64_t bytes,
    int rc, int64_t us);

/* "read", "write", "flush", "zero" */
const char *table_io_name(enum table_io_kind kind);

/* For people: "it was ...". */
const char *table_aborted_text(enum table_aborted aborted);

/*
 * What stands for an image in file names and indexes: 16 hex digits over
 * cluster ID, pool, namespace and image name.
 */
#define TABLE_TAG_MAX 17
void table_tag(char tag[TABLE_TAG_MAX], const char *cluster_id,
    const char *pool, const char *rados_namespace, const char *image);

/*
 * Name of the slot's file in the FUSE directory: "SERIAL-TAG-IMAGE", the
 * image's name cut and made harmless. No other session's file has it. A loop device's backing file tells so
 * which image it is, without asking anybody.
 */
#define TABLE_FILE_MAX 104
void table_slot_name(const struct table *table, const struct table_slot *slot,
    char name[TABLE_FILE_MAX]);

/*
 * RADOS address of the server that may have written last and did not end
 * cleanly: it must be fenced before anybody else writes. NULL: none.
 */
const char *table_address(struct table *table);
int table_set_address(struct table *table, const char *address) must_check;
void table_clear_address(struct table *table); /* a clean end */

#endif
