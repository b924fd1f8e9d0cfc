/*
 * userspace_io.h - what all rbd-attachd have done, as the tables of their
 * sessions tell it.
 */
#ifndef NODE_USERSPACE_IO_H
#define NODE_USERSPACE_IO_H

#include "attach/table.h"

struct userspace_io {
	struct {
		uint64_t bytes, failures, us;
		uint64_t in_bucket[TABLE_IO_BOUNDS + 1];
	} kind[TABLE_IO_KINDS];
	uint64_t takeovers; /* servers in place of others */
	uint64_t fences;
	uint64_t starts; /* of processes */
	unsigned images, in_flight;
	unsigned images_most; /* of the fullest session */
};

/* What only grows, which is kept when a session ends, and the rest. */
void userspace_io_add_past(struct userspace_io *sum, struct table *table);
void userspace_io_add(struct userspace_io *sum, struct table *table);

#endif
