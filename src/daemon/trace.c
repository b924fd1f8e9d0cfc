/*
 * trace.c - see trace.h.
 */
#include "daemon/trace.h"

#include "base/str.h"

#include <string.h>

static struct {
	struct trace_entry entry[TRACE_MAX];
	size_t count; /* of all since the start */
} ring;

static void
entry_clear(struct trace_entry *entry)
{
	free((void *)(uintptr_t)entry->key);
	free((void *)(uintptr_t)entry->states);
	free((void *)(uintptr_t)entry->text);
}

void
trace_add(const struct trace_entry *ended)
{
	struct trace_entry *entry = &ring.entry[ring.count++ % TRACE_MAX];

	entry_clear(entry);
	*entry = *ended;
	entry->key = str_dup(ended->key);
	entry->states = str_dup(ended->states);
	entry->text = str_dup(ended->text);
}

const struct trace_entry *
trace_at(size_t i)
{
	if (i >= ring.count || i >= TRACE_MAX)
		return NULL;
	return &ring.entry[(ring.count - 1 - i) % TRACE_MAX];
}

void
trace_fini(void)
{
	for (size_t i = 0; i < TRACE_MAX; i++)
		entry_clear(&ring.entry[i]);
	memset(&ring, 0, sizeof(ring));
}
