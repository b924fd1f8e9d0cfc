/*
 * pages.h - lists in pages, and requests that go to several clusters: where
 * the next page begins, and one answer made of theirs. Pure.
 *
 * Clusters are asked one after the other, in the order of their names, pools
 * in that of their ids, and in a pool entries in that of their request names:
 * a token is a place in this order, whatever has come or gone meanwhile.
 */
#ifndef CSI_PAGES_H
#define CSI_PAGES_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <protobuf-c/protobuf-c.h>

/*
 * A page ends here though more was asked for: clients have no other way to
 * list without gRPC's usual limit of 4 MiB in their way.
 */
#define CSI_PAGE_ENTRIES 200
#define CSI_PAGE_BYTES ((size_t)1 << 20)

enum csi_page_of {
	CSI_PAGE_VOLUMES = 'v',
	CSI_PAGE_SNAPSHOTS = 's',
};

/* The place after which a page begins. */
struct csi_token {
	const char *cluster_id; /* "": before all clusters */
	int64_t pool_id;        /* 0: before its pools */
	const char *name;       /* "": before the pool's entries */
};

/* "": the start of everything. ABORTED: nothing that csi_token_fmt() wrote. */
int csi_token_parse(struct arena *arena, const char *text, enum csi_page_of of,
    struct csi_token *token, struct err *err) must_check;
char *csi_token_fmt(
    struct arena *arena, enum csi_page_of of, const struct csi_token *token);

/* What a request asks for. */
struct csi_page {
	enum csi_page_of of;
	struct csi_token token;
	unsigned max; /* entries: 1 to CSI_PAGE_ENTRIES */
};

/* INVALID_ARGUMENT: less than nothing; ABORTED: the token. */
int csi_page_read(struct csi_page *page, struct arena *arena,
    enum csi_page_of of, int32_t max_entries, const char *starting_token,
    struct err *err) must_check;

/*
 * One answer made of several. Field 1 of the reply is what is joined: entries
 * in one list, or a number in a sum.
 */
struct csi_join {
	const ProtobufCMessageDescriptor *reply;
	struct buf bytes; /* of the answer so far */
	unsigned entries; /* in it */
	uint64_t sum;
	bool ended; /* a cluster has more: the answer has its token */
};

void csi_join_init(
    struct csi_join *join, const ProtobufCMessageDescriptor *reply);
void csi_join_fini(struct csi_join *join);

/* Adds the answer of a cluster. INTERNAL: it is none. */
int csi_join_add(struct csi_join *join, const void *bytes, size_t len,
    struct err *err) must_check;

/* May another cluster's answer be added to a page of `max` entries? */
bool csi_join_has_room(const struct csi_join *join, unsigned max);

/*
 * The whole answer, which lives as long as `join`; `next_token` (NULL: none)
 * tells where it goes on.
 */
const void *csi_join_end(
    struct csi_join *join, const char *next_token, size_t *len);

#endif
