/*
 * pages.c - tokens, and joining answers as they are packed: messages of one
 * type that follow each other are one message, whose lists are joined.
 * (protobuf.dev, "Encoding", "Last One Wins").
 */
#include "csi/pages.h"

#include "base/pb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_MAX (4 * CSI_PAGE_BYTES)
#define TOKEN_MAX 1024

/* Fields of all messages that are joined. */
#define FIELD_JOINED 1
#define FIELD_NEXT_TOKEN 2

/* "v1.2.9.rook-ceph.pvc-7": version, pool in hex, length, cluster, name. */
char *
csi_token_fmt(
    struct arena *arena, enum csi_page_of of, const struct csi_token *token)
{
	return arena_fmt(arena, "%c1.%llx.%zu.%s.%s", of,
	    (unsigned long long)token->pool_id, strlen(token->cluster_id),
	    token->cluster_id, token->name);
}

int
csi_token_parse(struct arena *arena, const char *text, enum csi_page_of of,
    struct csi_token *token, struct err *err)
{
	unsigned long long pool;
	size_t len;
	int at = 0;

	*token = (struct csi_token){ .cluster_id = "", .name = "" };
	if (*text == '\0')
		return 0;
	if (strlen(text) <= TOKEN_MAX && text[0] == (char)of &&
	    sscanf(text + 1, "1.%16llx.%3zu.%n", &pool, &len, &at) == 2 &&
	    at > 0 && len > 0 && strlen(text + 1 + at) > len &&
	    text[1 + (size_t)at + len] == '.') {
		text += 1 + at;
		token->cluster_id = arena_fmt(arena, "%.*s", (int)len, text);
		token->pool_id = (int64_t)pool;
		token->name = text + len + 1;
		return 0;
	}
	return err_set(err, ERR_ABORTED,
	    "starting_token: none of this list; begin it anew");
}

int
csi_page_read(struct csi_page *page, struct arena *arena, enum csi_page_of of,
    int32_t max_entries, const char *starting_token, struct err *err)
{
	if (max_entries < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "max_entries: %d is negative", max_entries);
	page->of = of;
	page->max = max_entries == 0 || max_entries > CSI_PAGE_ENTRIES
	    ? CSI_PAGE_ENTRIES
	    : (unsigned)max_entries;
	return csi_token_parse(arena, starting_token, of, &page->token, err);
}

void
csi_join_init(struct csi_join *join, const ProtobufCMessageDescriptor *reply)
{
	*join = (struct csi_join){ .reply = reply };
	buf_init(&join->bytes, JOIN_MAX);
}

void
csi_join_fini(struct csi_join *join)
{
	buf_fini(&join->bytes);
}

int
csi_join_add(
    struct csi_join *join, const void *bytes, size_t len, struct err *err)
{
	struct pb pb = { .at = bytes, .len = len };
	struct pb_field field;
	int rc;

	while ((rc = pb_next(&pb, &field)) > 0) {
		if (field.number == FIELD_NEXT_TOKEN && field.bytes.len > 0)
			join->ended = true;
		if (field.number == FIELD_JOINED && field.has_bytes)
			join->entries++;
		else if (field.number == FIELD_JOINED)
			join->sum += field.value;
	}
	if (rc == 0)
		rc = buf_append(&join->bytes, bytes, len);
	return rc < 0 ? err_set(err, ERR_INTERNAL, "join a %s of %zu bytes",
			    join->reply->short_name, len)
		      : 0;
}

bool
csi_join_has_room(const struct csi_join *join, unsigned max)
{
	return !join->ended && join->entries < max &&
	    join->bytes.len < CSI_PAGE_BYTES;
}

/* Field `number`, by what stands behind its key. */
static int
put_field(struct buf *buf, unsigned number, unsigned wire, uint64_t value)
{
	unsigned char bytes[12];
	size_t n = 0;

	bytes[n++] = (unsigned char)(number << 3 | wire);
	for (; value > 0x7f; value >>= 7)
		bytes[n++] = (unsigned char)(value | 0x80);
	bytes[n++] = (unsigned char)value;
	return buf_append(buf, bytes, n);
}

const void *
csi_join_end(struct csi_join *join, const char *next_token, size_t *len)
{
	struct buf *buf = &join->bytes;
	size_t n = next_token != NULL ? strlen(next_token) : 0;

	/* JOIN_MAX has room for both. */
	if (join->reply->fields[0].label != PROTOBUF_C_LABEL_REPEATED &&
	    put_field(buf, FIELD_JOINED, 0, join->sum) < 0)
		abort();
	if (n > 0 &&
	    (put_field(buf, FIELD_NEXT_TOKEN, 2, n) < 0 ||
		buf_append(buf, next_token, n) < 0))
		abort();
	*len = buf->len;
	return buf->data;
}
