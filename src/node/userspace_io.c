/*
 * userspace_io.c - see userspace_io.h.
 */
#include "node/userspace_io.h"

static uint64_t
get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void
userspace_io_add_past(struct userspace_io *sum, struct table *table)
{
	uint32_t servers = atomic_load(&table->generation);

	for (int i = 0; i < TABLE_IO_KINDS; i++) {
		struct table_io *io = &table->io[i];

		sum->kind[i].bytes += get(&io->bytes);
		sum->kind[i].failures += get(&io->failures);
		sum->kind[i].us += get(&io->us);
		for (int j = 0; j <= TABLE_IO_BOUNDS; j++)
			sum->kind[i].in_bucket[j] += get(&io->in_bucket[j]);
	}
	sum->takeovers += servers > 0 ? servers - 1 : 0;
	sum->fences += get(&table->fences);
}

void
userspace_io_add(struct userspace_io *sum, struct table *table)
{
	unsigned used = table_slots_used(table);

	userspace_io_add_past(sum, table);
	sum->images += used;
	if (used > sum->images_most)
		sum->images_most = used;
	sum->in_flight += atomic_load(&table->in_flight);
}
