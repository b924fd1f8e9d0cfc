/*
 * The image table of rbd-attachd: what survives, and what is refused.
 */
#include "attach/table.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct table_identity who = { .cluster_id = "c1",
	.monitors = "a:6789,b:6789",
	.user = "csi",
	.key = "c2VjcmV0" };

static const Attach__Target image = { .pool = (char[]){ "rbd" },
	.rados_namespace = (char[]){ "ns1" },
	.image = (char[]){ "csi-vol-1" },
	.image_id = (char[]){ "10ab" } };

static void
test_identity(void)
{
	struct err err = ERR_INIT;
	int fd = table_create(&who, &err);
	struct table *table = table_map(fd, &err);
	struct table_identity other = who;

	ok(fd >= 0 && table != NULL, "a new table can be made and mapped");
	ok(table_is_of(table, &who), "a table knows whose it is");
	other.key = "b3RoZXI=";
	ok(!table_is_of(table, &other), "another key is another identity");
	is_int(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC,
	    "its descriptor is closed on exec");
	ok(ftruncate(fd, 4096) < 0, "its size cannot be changed");
	table_unmap(table);
	close(fd);
}

static void
test_slots(void)
{
	struct err err = ERR_INIT;
	int fd = table_create(&who, &err);
	struct table *table = table_map(fd, &err);
	struct table *other = table_map(fd, &err);
	struct table_slot *slot = table_slot_at(table, 3);
	char name[TABLE_FILE_MAX], tag[TABLE_TAG_MAX];
	uint64_t ino;

	is_int(table_slot_fill(table, 3, &image, &err), 0,
	    "an image goes into a free slot");
	ok(table_slot_state(table_slot_at(other, 3)) == TABLE_SLOT_FREE,
	    "a slot that is only filled is not seen by a successor");
	table_slot_set_state(slot, TABLE_SLOT_SERVED);
	ok(table_slot_state(table_slot_at(other, 3)) == TABLE_SLOT_SERVED &&
		str_eq(table_slot_at(other, 3)->image, "csi-vol-1"),
	    "a served slot is seen by a successor");
	is_int(table_slots_used(other), 1, "used slots are counted");
	ino = slot->ino;
	is_int(table_slot_index(ino), 3, "an inode number leads to its slot");
	ok(table_slot_fill(table, 3, &image, &err) < 0,
	    "a slot in use is not overwritten");
	table_slot_set_state(slot, TABLE_SLOT_FREE);
	is_int(table_slot_fill(table, 3, &image, &err), 0,
	    "a slot that was freed is used again");
	ok(slot->ino > ino, "under a new inode number");
	table_tag(tag, "c1", "rbd", "ns1", "csi-vol-1");
	table_slot_name(table, slot, name);
	ok(strstr(name, tag) != NULL && strstr(name, "csi-vol-1") != NULL,
	    "the file's name carries tag and image: %s", name);
	ok(table_slot_at(table, TABLE_SLOTS) == NULL,
	    "there is no slot behind the last one");
	table_unmap(other);
	table_unmap(table);
	close(fd);
}

static void
test_names(void)
{
	struct err err = ERR_INIT;
	int fd = table_create(&who, &err);
	struct table *table = table_map(fd, &err);
	Attach__Target bad = image;
	char longest[TABLE_NAME_MAX + 1], name[TABLE_FILE_MAX];
	char one[TABLE_TAG_MAX], two[TABLE_TAG_MAX];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	bad.image = longest;
	is_int(table_slot_fill(table, 0, &bad, &err),
	    err_rc_of(ERR_INVALID_ARGUMENT),
	    "a name that is too long is refused");
	bad.image = (char[]){ "a/b c" };
	ok(table_slot_fill(table, 0, &bad, &err) == 0 &&
		(table_slot_name(table, table_slot_at(table, 0), name),
		    strpbrk(name, "/ ") == NULL),
	    "a file name has no slash or blank");
	table_tag(one, "c", "ab", "", "c");
	table_tag(two, "c", "a", "b", "c");
	ok(strcmp(one, two) != 0, "tags keep their parts apart");
	table_unmap(table);
	close(fd);
}

static void
test_address(void)
{
	struct err err = ERR_INIT;
	int fd = table_create(&who, &err);
	struct table *table = table_map(fd, &err);
	char longest[TABLE_NAME_MAX + 1];

	ok(table_address(table) == NULL, "a new table has no predecessor");
	ok(table_set_address(table, "10.0.0.1:0/1") == 0 &&
		table_set_address(table, "10.0.0.1:0/2") == 0 &&
		table_set_address(table, "10.0.0.1:0/3") == 0,
	    "the address changes with each server");
	is_str(table_address(table), "10.0.0.1:0/3", "the last one counts");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	is_int(table_set_address(table, longest), -ENAMETOOLONG,
	    "one that does not fit is refused");
	is_str(table_address(table), "10.0.0.1:0/3", "and changes nothing");
	table_clear_address(table);
	ok(table_address(table) == NULL, "a clean end leaves nobody to fence");
	table_unmap(table);
	close(fd);
}

static void
test_foreign(void)
{
	struct err err = ERR_INIT;
	int fd = memfd_create("x", MFD_CLOEXEC), good;
	struct table *table;

	ok(table_map(fd, &err) == NULL, "an empty memfd is no table");
	ok(ftruncate(fd, 1 << 20) == 0 && table_map(fd, &err) == NULL,
	    "zeros are no table");
	close(fd);
	good = table_create(&who, &err);
	table = table_map(good, &err);
	table->slots = 1000;
	ok(table_map(good, &err) == NULL,
	    "a table whose slots do not fit is refused");
	table->slots = TABLE_SLOTS;
	table->version++;
	ok(table_map(good, &err) == NULL, "another version is refused");
	table->version--;
	table->slot_bytes += 64;
	table->slots = 400;
	ok(table_map(good, &err) != NULL,
	    "longer slots of a later program can be read");
	close(good);
}

int
main(void)
{
	test_identity();
	test_slots();
	test_names();
	test_address();
	test_foreign();
	return tap_end();
}
