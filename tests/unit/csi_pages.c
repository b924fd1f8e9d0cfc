/*
 * Lists in pages: tokens, what a request may ask for, and one answer made of
 * several clusters'.
 */
#include "csi/pages.h"

#include "csi.pb-c.h"
#include "csi/rpc.h"
#include "tests/tap.h"

#include <stdlib.h>

static struct arena *arena;

static void
test_tokens(void)
{
	static const struct csi_token tokens[] = {
		{ "rook-ceph", 2, "pvc-7" },
		{ "rook-ceph", 0x7fffffff, "" },
		{ "b", 0, "" },
		{ "with.dots.", 10, ".odd. name/0." },
	};
	static const char *const wrong[] = { "x", "invalid-token", "v1.2.1.a",
		"v1.2.3.ab.x", "v1.2.0..x", "v2.2.1.a.x", "s1.2.1.a.x",
		"v1.2.1.a", "v1..1.a.x", "v1.2.-1.a.x", "v1.2.99999.a.x" };
	struct csi_token token;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(tokens); i++) {
		const char *text = csi_token_fmt(
		    arena, CSI_PAGE_VOLUMES, &tokens[i]);

		ok(csi_token_parse(
		       arena, text, CSI_PAGE_VOLUMES, &token, &err) == 0 &&
			str_eq(token.cluster_id, tokens[i].cluster_id) &&
			token.pool_id == tokens[i].pool_id &&
			str_eq(token.name, tokens[i].name),
		    "%s is read as it was written", text);
	}
	is_str(csi_token_fmt(arena, CSI_PAGE_SNAPSHOTS, &tokens[0]),
	    "s1.2.9.rook-ceph.pvc-7", "a token is short");
	ok(csi_token_parse(arena, "", CSI_PAGE_VOLUMES, &token, &err) == 0 &&
		*token.cluster_id == '\0',
	    "none at all is the beginning");
	for (size_t i = 0; i < countof(wrong); i++) {
		err = (struct err)ERR_INIT;
		ok(csi_token_parse(
		       arena, wrong[i], CSI_PAGE_VOLUMES, &token, &err) < 0 &&
			err.code == ERR_ABORTED,
		    "%s is ABORTED", wrong[i]);
	}
}

static void
test_page(void)
{
	static const struct {
		int32_t asked;
		unsigned max;
	} rows[] = { { 0, CSI_PAGE_ENTRIES }, { 1, 1 }, { 200, 200 },
		{ 201, CSI_PAGE_ENTRIES }, { INT32_MAX, CSI_PAGE_ENTRIES } };
	struct csi_page page;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(rows); i++)
		ok(csi_page_read(&page, arena, CSI_PAGE_VOLUMES, rows[i].asked,
		       "", &err) == 0 &&
			page.max == rows[i].max,
		    "max_entries %d is %u", rows[i].asked, rows[i].max);
	ok(csi_page_read(&page, arena, CSI_PAGE_VOLUMES, -1, "", &err) < 0 &&
		err.code == ERR_INVALID_ARGUMENT,
	    "less than none is INVALID_ARGUMENT: %s", err.text);
}

/* A page of one cluster, packed. */
static const void *
part(unsigned entries, const char *prefix, const char *token, size_t *len)
{
	Csi__V1__ListVolumesResponse *m = csi_new(
	    &csi__v1__list_volumes_response__descriptor, arena);

	m->entries = arena_new_bytes(arena, (entries + 1) * sizeof(void *));
	for (unsigned i = 0; i < entries; i++) {
		m->entries[m->n_entries++] = csi_new(
		    &csi__v1__list_volumes_response__entry__descriptor, arena);
		m->entries[i]->volume = csi_new(
		    &csi__v1__volume__descriptor, arena);
		m->entries[i]->volume->volume_id = arena_fmt(
		    arena, "%s%u", prefix, i);
	}
	if (token != NULL)
		m->next_token = arena_strdup(arena, token);
	return csi_pack(m, arena, len, NULL);
}

/* "id id ... token" */
static const char *
list_of(const void *bytes, size_t len)
{
	const Csi__V1__ListVolumesResponse *m = csi_unpack(
	    &csi__v1__list_volumes_response__descriptor, arena, bytes, len,
	    NULL);
	const char *text = "";

	for (size_t i = 0; m != NULL && i < m->n_entries; i++)
		text = arena_fmt(
		    arena, "%s%s ", text, m->entries[i]->volume->volume_id);
	return m != NULL ? arena_fmt(arena, "%s%s", text, m->next_token)
			 : "is none";
}

static void
test_join(void)
{
	struct csi_join join;
	struct err err = ERR_INIT;
	size_t len;
	const void *bytes;

	csi_join_init(&join, &csi__v1__list_volumes_response__descriptor);
	bytes = csi_join_end(&join, NULL, &len);
	is_str(list_of(bytes, len), "", "of no cluster nothing is listed");
	bytes = part(2, "a", NULL, &len);
	ok(csi_join_add(&join, bytes, len, &err) == 0 &&
		csi_join_has_room(&join, 3) && !csi_join_has_room(&join, 2),
	    "a cluster's entries are counted");
	bytes = part(0, "b", NULL, &len);
	ok(csi_join_add(&join, bytes, len, &err) == 0 &&
		csi_join_has_room(&join, 3),
	    "one may have none");
	bytes = part(1, "c", "more", &len);
	ok(csi_join_add(&join, bytes, len, &err) == 0 &&
		!csi_join_has_room(&join, 100),
	    "behind one that has more no other one follows");
	bytes = csi_join_end(&join, NULL, &len);
	is_str(list_of(bytes, len), "a0 a1 c0 more", "all are in one list");
	ok(csi_join_add(&join, "\x0a", 1, &err) < 0 && err.code == ERR_INTERNAL,
	    "what is no message is an error");
	csi_join_fini(&join);

	csi_join_init(&join, &csi__v1__list_volumes_response__descriptor);
	bytes = part(2, "a", NULL, &len);
	ok(csi_join_add(&join, bytes, len, &err) == 0, "a full page");
	bytes = csi_join_end(&join, "next", &len);
	is_str(list_of(bytes, len), "a0 a1 next", "leads to the next cluster");
	csi_join_fini(&join);
}

static void
test_sum(void)
{
	static const int64_t capacity[] = { 5, 0, INT64_C(1) << 40 };
	const Csi__V1__GetCapacityResponse *sum;
	struct csi_join join;
	struct err err = ERR_INIT;
	size_t len;
	const void *bytes;

	csi_join_init(&join, &csi__v1__get_capacity_response__descriptor);
	for (size_t i = 0; i < countof(capacity); i++) {
		Csi__V1__GetCapacityResponse m =
		    CSI__V1__GET_CAPACITY_RESPONSE__INIT;

		m.available_capacity = capacity[i];
		bytes = csi_pack(&m, arena, &len, NULL);
		ok(csi_join_add(&join, bytes, len, &err) == 0 &&
			csi_join_has_room(&join, 1),
		    "capacity %zu is added", i);
	}
	bytes = csi_join_end(&join, NULL, &len);
	sum = csi_unpack(&csi__v1__get_capacity_response__descriptor, arena,
	    bytes, len, &err);
	ok(sum != NULL && sum->available_capacity == (INT64_C(1) << 40) + 5,
	    "capacities are added up");
	csi_join_fini(&join);
}

int
main(void)
{
	arena = csi_arena_new();
	test_tokens();
	test_page();
	test_join();
	test_sum();
	arena_free(arena);
	return tap_end();
}
