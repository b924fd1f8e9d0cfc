/*
 * dump.c - collects the text. One line a thing, so that grep finds a volume.
 */
#include "obs/dump.h"

#include "base/log.h"
#include "core/child.h"
#include "core/offload.h"
#include "core/op.h"

#include <assert.h>
#include <string.h>

#define TEXT_MAX ((size_t)4 << 20)

static void (*sources[8])(struct buf *out);
static size_t source_count;

void
dump_add_source(void (*source)(struct buf *out))
{
	assert(source_count < countof(sources));
	sources[source_count++] = source;
}

void
dump_text(struct buf *out)
{
	op_dump(out);
	(void)buf_printf(out,
	    "offload running=%u stuck=%u forks=%llu execs=%llu\n",
	    offload_stats().running, offload_stats().stuck,
	    (unsigned long long)offload_stats().forks,
	    (unsigned long long)tool_execs());
	for (size_t i = 0; i < source_count; i++)
		sources[i](out);
}

void
dump_log(int signo)
{
	struct buf text;
	char *line, *save = NULL;

	(void)signo;
	buf_init(&text, TEXT_MAX);
	dump_text(&text);
	log_info("dump.begin", "ops=%zu", op_count());
	if (buf_append(&text, "", 1) == 0)
		for (line = strtok_r((char *)text.data, "\n", &save);
		     line != NULL; line = strtok_r(NULL, "\n", &save))
			log_info("dump", "%s", line);
	log_info("dump.end", "ops=%zu", op_count());
	buf_fini(&text);
}
