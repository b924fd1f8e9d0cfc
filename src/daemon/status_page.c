/*
 * status_page.c - what runs, as a page for people: no scripts, nothing from
 * elsewhere, nothing that can be changed; it loads itself anew.
 */
#include "daemon/status_page.h"

#include "admin.pb-c.h"
#include "base/clock.h"
#include "core/loop.h"
#include "core/offload.h"
#include "daemon/drain.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "daemon/trace.h"
#include "node/mapper.h"
#include "node/node.h"

#include <string.h>
#include <time.h>

#define OPERATIONS_MAX 200 /* lines; the oldest */
#define FAILURES_MAX 20
#define VOLUMES_MAX 200
#define LOOK_EVERY_MS 4000 /* a page loads itself anew after 5 s */

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"5\"><title>rbd-csi</title><style>:root{color-scheme:light dark}body{font:15px/1.4 system-ui,sans-serif;margin:1em auto;max-width:75em;padding:0 1em}h1{font-size:1.3em}h2{font-size:1.1em;margin:1.5em 0 .3em}div{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #8886;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{overflow-wrap:break-word}td{max-width:32em}.bad{color:#c33;font-weight:600}.dim{opacity:.7}</style></head><body>\n";

/* A failure to append is told by the last one, of the end. */
static void
put_raw(struct buf *out, const char *text)
{
	(void)!buf_append(out, text, strlen(text));
}

static void
put_html(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
		switch (*text) {
		case '&':
			put_raw(out, "&amp;");
			break;
		case '<':
			put_raw(out, "&lt;");
			break;
		case '>':
			put_raw(out, "&gt;");
			break;
		case '"':
			put_raw(out, "&quot;");
			break;
		default:
			(void)!buf_append(out, text, 1);
		}
}

void
status_page_cell(struct buf *out, const char *text)
{
	put_raw(out, "<td><code>");
	put_html(out, text);
	put_raw(out, "</code></td>");
}

void
status_page_number(struct buf *out, unsigned long long n)
{
	(void)buf_printf(out, "<td class=\"n\">%llu</td>", n);
}

/* "850 ms", "12.3 s", "5 min 20 s", "3 h 20 min" */
void
status_page_duration(struct buf *out, int64_t ms)
{
	long long s = ms / 1000;

	put_raw(out, "<td class=\"n\">");
	if (ms < 0) /* beyond what is told apart */
		put_raw(out, "longer");
	else if (ms < 1000)
		(void)buf_printf(out, "%lld ms", (long long)ms);
	else if (s < 60)
		(void)buf_printf(out, "%.1f s", (double)ms / 1000);
	else if (s < 3600)
		(void)buf_printf(out, "%lld min %lld s", s / 60, s % 60);
	else
		(void)buf_printf(
		    out, "%lld h %lld min", s / 3600, s % 3600 / 60);
	put_raw(out, "</td>");
}

/* Column names are divided by '|'; those that begin with '#' are of numbers. */
void
status_page_table(struct buf *out, const char *title, const char *columns)
{
	auto_free char *copy = str_dup(columns);
	char *rest = copy, *name;

	(void)buf_printf(out, "<h2>%s</h2>\n<div><table><tr>", title);
	while ((name = strsep(&rest, "|")) != NULL)
		(void)buf_printf(out, "<th%s>%s</th>",
		    *name == '#' ? " class=\"n\"" : "",
		    *name == '#' ? name + 1 : name);
	put_raw(out, "</tr>\n");
}

void
status_page_end(struct buf *out, bool is_empty)
{
	put_raw(out, "</table></div>\n");
	if (is_empty)
		put_raw(out, "<p class=\"dim\">none</p>\n");
}

static void
put_operations(struct buf *out, int64_t slow_ms)
{
	const struct op *at[OPERATIONS_MAX];
	size_t count = 0, more = 0;

	/* The newest comes first: the oldest ones stay in the ring. */
	for (const struct op *op = op_next(NULL); op != NULL; op = op_next(op))
		if (request_of(op) != NULL) {
			more += count >= OPERATIONS_MAX;
			at[count++ % OPERATIONS_MAX] = op;
		}
	status_page_table(
	    out, "Requests that run", "RPC|what|state|#age|#callers|#op");
	for (size_t i = 0; i < count - more; i++) {
		const struct op *op = at[(count - 1 - i) % OPERATIONS_MAX];
		const struct request *r = request_of(op);
		const struct caller *caller;
		unsigned callers = 0;

		TAILQ_FOREACH (caller, &r->callers, link)
			callers++;
		(void)buf_printf(out, "<tr%s>",
		    slow_ms > 0 && op_age_ms(op) >= slow_ms ? " class=\"bad\""
							    : "");
		status_page_cell(out, r->in.def->name);
		status_page_cell(out, r->key);
		status_page_cell(out, request_state_name(r));
		status_page_duration(out, op_age_ms(op));
		status_page_number(out, callers);
		status_page_number(out, op->id);
		put_raw(out, "</tr>\n");
	}
	status_page_end(out, count == 0);
	if (more > 0)
		(void)buf_printf(out, "<p>and %zu younger ones</p>\n", more);
}

static void
put_sessions(struct buf *out)
{
	struct session_info s;
	size_t i;

	status_page_table(out, "Ceph sessions",
	    "cluster|monitors|user|state|#for|#worker|#lanes|#running|#waiting|#failures");
	for (i = 0; sessions_at(i, &s); i++) {
		(void)buf_printf(
		    out, "<tr%s>", s.failures > 0 ? " class=\"bad\"" : "");
		status_page_cell(out, s.cluster_id);
		status_page_cell(out, s.monitors);
		status_page_cell(out, s.user);
		status_page_cell(out, s.state);
		status_page_duration(out, s.state_ms);
		status_page_number(out, (unsigned long long)s.worker);
		status_page_number(out, s.lanes);
		status_page_number(out, s.running);
		status_page_number(out, s.waiting);
		status_page_number(out, s.failures);
		put_raw(out, "</tr>\n");
	}
	status_page_end(out, i == 0);
}

static void
put_mappers(struct buf *out)
{
	const struct mapper *mapper;

	status_page_table(out, "Attached images", "mapper|#images");
	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++) {
		if (mapper->attached == NULL)
			continue;
		put_raw(out, "<tr>");
		status_page_cell(out, mapper->name);
		status_page_number(out, mapper->attached());
		put_raw(out, "</tr>\n");
	}
	status_page_end(out, mapper_at(0) == NULL);
}

/* ---- volumes ----------------------------------------------------------------- */

/*
 * A child looks at them, as for Admin/ListNodeVolumes: a page has what the look
 * that one before has begun has found. All who ask share one, however often.
 */
static struct {
	struct csi_request looking, seen; /* own the answers */
	struct csi_rpc *rpc;              /* of `looking`; NULL: none */
	struct wake wake;
	const Rbdcsi__Admin__V1__ListNodeVolumesResponse *list; /* of `seen` */
	char *failed;                                           /* or why not */
	int64_t seen_ms;
} vol;

static void
on_volumes_seen(struct wake *wake, int rc)
{
	const struct err *err = &vol.rpc->op.err;

	(void)wake;
	(void)rc;
	csi_request_fini(&vol.seen);
	free(vol.failed);
	vol.failed = err_is_set(err) ? str_dup(err->text) : NULL;
	vol.list = err_is_set(err) ? NULL : vol.rpc->reply;
	vol.seen = vol.looking;
	vol.looking = (struct csi_request){ .def = NULL };
	vol.seen_ms = clock_now_ms();
	vol.rpc = NULL;
}

static void
look_at_volumes(void)
{
	struct err err = ERR_INIT;

	if (vol.rpc != NULL || drain_is_started() ||
	    (vol.seen_ms > 0 && clock_now_ms() - vol.seen_ms < LOOK_EVERY_MS) ||
	    csi_request_read(&vol.looking,
		&csi_definitions[CSI_ADMIN_LIST_NODE_VOLUMES], "", 0, &err) < 0)
		return;
	vol.rpc = csi_rpc_new(&node_volumes_impl, &vol.looking, NULL);
	vol.wake.fn = on_volumes_seen;
	csi_rpc_start(vol.rpc, &vol.wake);
}

void
status_page_stop(void)
{
	while (vol.rpc != NULL)
		loop_turn(true);
	csi_request_fini(&vol.seen);
	free(vol.failed);
	memset(&vol, 0, sizeof(vol));
}

static void
put_volumes(struct buf *out)
{
	size_t count = vol.list != NULL ? vol.list->n_volumes : 0;

	status_page_table(
	    out, "Volumes", "volume|image|device|mounts|#age|problem");
	for (size_t i = 0; i < count && i < VOLUMES_MAX; i++) {
		const Rbdcsi__Admin__V1__NodeVolume *v = vol.list->volumes[i];

		(void)buf_printf(
		    out, "<tr%s>", *v->problem != '\0' ? " class=\"bad\"" : "");
		status_page_cell(out, v->volume_id);
		status_page_cell(out, v->image);
		status_page_cell(out, v->device);
		put_raw(out, "<td>");
		for (size_t j = 0; j < v->n_mounts; j++) {
			put_raw(out, j > 0 ? "<br><code>" : "<code>");
			put_html(out, v->mounts[j]);
			put_raw(out, "</code>");
		}
		put_raw(out, "</td>");
		status_page_duration(out, (int64_t)v->age_ms);
		status_page_cell(out, v->problem);
		put_raw(out, "</tr>\n");
	}
	status_page_end(out, vol.list != NULL && count == 0);
	if (count > VOLUMES_MAX)
		(void)buf_printf(
		    out, "<p>and %zu more</p>\n", count - VOLUMES_MAX);
	put_raw(out, "<p class=\"dim\">");
	if (vol.failed != NULL)
		put_html(out, vol.failed);
	else if (vol.list == NULL)
		put_raw(out, "they are being looked at");
	else
		(void)buf_printf(out, "as of %lld s ago",
		    (long long)(clock_now_ms() - vol.seen_ms) / 1000);
	put_raw(out, "</p>\n");
	look_at_volumes();
}

/* Of the requests that are remembered: no histogram has them as they were. */
static void
put_failures(struct buf *out)
{
	const struct trace_entry *entry;
	int64_t now_ms = clock_wall_ms();
	unsigned count = 0;

	status_page_table(
	    out, "Last failures", "RPC|what|code|text|#ago|#took");
	for (size_t i = 0;
	     count < FAILURES_MAX && (entry = trace_at(i)) != NULL; i++) {
		if (entry->code == ERR_OK)
			continue;
		count++;
		put_raw(out, "<tr>");
		status_page_cell(out, entry->method);
		status_page_cell(out, entry->key);
		status_page_cell(out, err_code_name(entry->code));
		status_page_cell(out, entry->text);
		status_page_duration(out, now_ms - entry->ended_ms);
		status_page_duration(out, entry->ms);
		put_raw(out, "</tr>\n");
	}
	status_page_end(out, count == 0);
}

int
status_page_get(const struct status_page *page, struct buf *out)
{
	char now[40];
	time_t t = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	(void)strftime(now, sizeof(now), "%Y-%m-%d %H:%M:%S UTC", &tm);
	put_raw(out, head);
	put_raw(out, "<h1>rbd-csi ");
	put_html(out, page->node);
	(void)buf_printf(out,
	    "</h1>\n<p class=\"dim\">%s, version %s (%s), loaded anew every 5 s</p>\n",
	    now, page->version, page->commit);
	if (offload_stats().stuck > 0)
		(void)buf_printf(out,
		    "<p class=\"bad\">%u system calls do not come back</p>\n",
		    offload_stats().stuck);
	put_operations(out, page->slow_ms);
	put_sessions(out);
	put_mappers(out);
	if (page->has_volumes)
		put_volumes(out);
	page->latency(out);
	put_failures(out);
	return buf_printf(out, "</body></html>\n") < 0 ? 500 : 200;
}
