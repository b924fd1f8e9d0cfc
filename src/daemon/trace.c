/*
 * trace.c - see trace.h.
 */
#include "daemon/trace.h"

#include "base/clock.h"

#include <string.h>

static struct {
	struct trace_entry entry[TRACE_MAX];
	size_t count; /* of all since the start */
} ring;

static void
entry_clear(struct trace_entry *entry)
{
	free(entry->key);
	free(entry->states);
	free(entry->text);
}

void
trace_add(const struct request *r)
{
	struct trace_entry *entry = &ring.entry[ring.count % TRACE_MAX];

	if (*r->key == '\0') /* what people ask the daemon about itself */
		return;
	ring.count++;
	entry_clear(entry);
	*entry = (struct trace_entry){
		.ended_ms = clock_wall_ms(),
		.ms = op_age_ms(&r->op),
		.id = r->op.id,
		.method = r->in.def->name,
		.code = r->err.code,
		.key = str_dup(r->key),
		.states = str_dup(r->states),
		.text = str_dup(r->err.text),
	};
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
