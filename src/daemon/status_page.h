/*
 * status_page.h - what runs, as one page of HTML at / of --metrics-address,
 * with --status-page.
 */
#ifndef DAEMON_STATUS_PAGE_H
#define DAEMON_STATUS_PAGE_H

#include "base/buf.h"

/* Strings and function live as long as the page is served. */
struct status_page {
	const char *node, *version, *commit;
	int64_t slow_ms;  /* requests that are older are marked; 0: none */
	bool has_volumes; /* the Node service is served */
	/* Writes a table of calls and their times. */
	void (*latency)(struct buf *out);
};

/* For an http_route: 200 or 500. */
int status_page_get(const struct status_page *page, struct buf *out);

/* Before the loop ends: waits for a look at the volumes, and forgets them. */
void status_page_stop(void);

/* For `latency`: columns, cells and the end of a table; as status_page.c. */
void status_page_table(struct buf *out, const char *title, const char *columns);
void status_page_cell(struct buf *out, const char *text);
void status_page_number(struct buf *out, unsigned long long n);
void status_page_duration(struct buf *out, int64_t ms);
void status_page_end(struct buf *out, bool is_empty);

#endif
