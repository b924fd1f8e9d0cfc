/*
 * ceph_codec.c - encoding and decoding of class calls, against bytes that
 * librbd, krbd and the OSDs of Ceph 16.2.15 were seen to send.
 */
#include "base/json.h"
#include "ceph/auth.h"
#include "tests/hex.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>

/* ---- inputs ---- */

static void
is_call(struct cls_call call, const char *method, const char *want_hex,
    const char *what)
{
	char *hex = mem_new(2 * call.in.buf.len + 1);

	hex_fmt(hex, call.in.buf.data, call.in.buf.len);
	ok(!call.in.failed && strcmp(call.method, method) == 0, "%s: %s", what,
	    method);
	is_str(hex, want_hex, "%s: its input is what librbd sends", what);
	free(hex);
	enc_fini(&call.in);
}

static void
test_inputs(void)
{
	const struct cls_meta meta[] = { { "a", "x", 1 }, { "bb", "yy", 2 } };
	struct cls_trash_entry entry = {
		.source = TRASH_SOURCE_USER,
		.state = TRASH_MOVING,
		.name = "h",
		.deleted = { 0x6b03197f, 0x37e97952 },
		.deferred_until = { 0x6b03197f, 0x37e97952 },
	};

	is_call(cls_call_str2("dir_add_image", "t2", "102cd3098bad"),
	    "dir_add_image",
	    "020000007432"
	    "0c000000313032636433303938626164",
	    "adding a name to the directory");
	is_call(cls_call_str2("dir_remove_image", "t2", "102cd3098bad"),
	    "dir_remove_image",
	    "020000007432"
	    "0c000000313032636433303938626164",
	    "removing a name from the directory");
	is_call(cls_call_str("dir_get_id", "t2"), "dir_get_id", "020000007432",
	    "asking for an id");
	is_call(cls_dir_state_assert_ready(), "dir_state_assert", "00",
	    "requiring a live namespace");
	is_call(cls_call_str("set_id", "ab"), "set_id", "020000006162",
	    "setting an id");
	is_call(cls_call("get_id"), "get_id", "", "getting an id");
	is_call(cls_create(1ull << 30, 22, 1, "rbd_data.x", -1), "create",
	    "0000004000000000"
	    "16"
	    "0100000000000000"
	    "0a0000007262645f646174612e78"
	    "ffffffffffffffff",
	    "a header");
	is_call(cls_create(0, 22, 0x81, "rbd_data.1.x", 4), "create",
	    "0000000000000000"
	    "16"
	    "8100000000000000"
	    "0c0000007262645f646174612e312e78"
	    "0400000000000000",
	    "a header with a data pool");
	is_call(cls_set_stripe_unit_count(65536, 4), "set_stripe_unit_count",
	    "0000010000000000"
	    "0400000000000000",
	    "striping");
	is_call(cls_call_u64("get_size", RBD_NOSNAP), "get_size",
	    "feffffffffffffff", "the size of the head");
	is_call(cls_get_features(), "get_features", "feffffffffffffff01",
	    "the features of the head");
	is_call(cls_metadata_set(meta, 2), "metadata_set",
	    "02000000"
	    "0100000061"
	    "0100000078"
	    "020000006262"
	    "020000007979",
	    "two keys");
	is_call(cls_metadata_list("bb", 64), "metadata_list",
	    "020000006262"
	    "4000000000000000",
	    "a page of keys");
	is_call(cls_object_map_resize(256), "object_map_resize",
	    "000100000000000000", "an object map");
	is_call(cls_trash_add("ab", &entry), "trash_add",
	    "020000006162"
	    "020117000000"
	    "00"
	    "0100000068"
	    "7f19036b5279e937"
	    "7f19036b5279e937"
	    "01",
	    "a trash entry");
	is_call(cls_trash_state_set("ab", TRASH_REMOVING, TRASH_NORMAL),
	    "trash_state_set",
	    "020000006162"
	    "0200",
	    "the state of a trash entry");
	is_call(cls_lock_get_info(), "get_info",
	    "01010c000000"
	    "080000007262645f6c6f636b",
	    "who holds the lock");
}

static void
test_notification(void)
{
	struct enc e;
	char hex[64];

	enc_init(&e);
	cls_notify_header_update(&e);
	hex_fmt(hex, e.buf.data, e.buf.len);
	is_str(hex, "07010400000003000000",
	    "HeaderUpdate is the 10 bytes that krbd and librbd know");
	enc_fini(&e);
}

static void
test_cap(void)
{
	char *big = mem_new(ENC_MAX + 1);
	struct cls_meta meta = { "k", big, ENC_MAX + 1 };
	struct cls_call call = cls_metadata_set(&meta, 1);

	ok(call.in.failed, "an input above the cap fails");
	ok(call.in.buf.len <= ENC_MAX, "and takes no more memory");
	enc_fini(&call.in);
	free(big);
}

/* ---- outputs ---- */

struct bytes {
	unsigned char at[512];
	size_t len;
};

static struct bytes
unhex(const char *hex)
{
	struct bytes b = { .len = strlen(hex) / 2 };

	for (size_t i = 0; i < b.len; i++) {
		char two[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

		b.at[i] = (unsigned char)strtoul(two, NULL, 16);
	}
	return b;
}

static struct dec
dec_of(const struct bytes *b)
{
	struct dec d;

	dec_init(&d, b->at, b->len);
	return d;
}

/* Every kind of output, parsed for its code only. */
static int
parse_str(struct dec d)
{
	char s[RBD_ID_SIZE];

	return cls_parse_str(d, s, sizeof(s));
}

static int
parse_size(struct dec d)
{
	uint64_t size;
	uint8_t order;

	return cls_parse_size(d, &order, &size);
}

static int
parse_features(struct dec d)
{
	uint64_t both[2];

	return cls_parse_u64(d, both, 2);
}

static int
parse_snapcontext(struct dec d)
{
	struct cls_snapcontext snapc;

	return cls_parse_snapcontext(d, &snapc);
}

static int
parse_parent(struct dec d)
{
	struct cls_parent parent;

	return cls_parse_parent(d, &parent);
}

static int
parse_group(struct dec d)
{
	struct cls_group group;

	return cls_parse_group(d, &group);
}

static int
parse_lock(struct dec d)
{
	struct cls_lock_info info;

	return cls_parse_lock_info(d, &info);
}

static int
parse_trash(struct dec d)
{
	struct cls_trash_entry entry;

	return cls_parse_trash(d, &entry);
}

static int
parse_map(struct dec d)
{
	struct cls_object_map map;
	uint64_t n = 0;
	int rc = cls_parse_object_map(d, &map);

	for (uint64_t i = 0; rc == 0 && i < map.objects; i++)
		n += cls_object_map_has(&map, i);
	return rc;
}

static int
parse_meta(struct dec d)
{
	struct dec_bytes key, value;
	uint32_t n;
	int rc = cls_parse_meta_page(&d, &n);

	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = cls_parse_meta_next(&d, &key, &value);
	return rc;
}

#define LOCK_HELD                                                              \
	"01016d000000"                                                         \
	"01000000"                                                             \
	"010121000000"                                                         \
	"08"                                                                   \
	"e215000000000000"                                                     \
	"140000006175746f20313430313035333232393434393238"                     \
	"01012f000000"                                                         \
	"0000000000000000"                                                     \
	"01"                                                                   \
	"01011c000000"                                                         \
	"01000000f28c16f710000000020000007f0000010000000000000000"             \
	"00000000"                                                             \
	"01"                                                                   \
	"08000000696e7465726e616c"

#define TRASH                                                                  \
	"020117000000"                                                         \
	"00"                                                                   \
	"0100000068"                                                           \
	"7f19036b5279e937"                                                     \
	"7f19036b5279e937"                                                     \
	"00"

#define PARENT                                                                 \
	"010124000000"                                                         \
	"0100000000000000"                                                     \
	"00000000"                                                             \
	"0c000000313032636433303938626164"                                     \
	"0400000000000000"

static const struct output {
	const char *name, *hex;
	int (*parse)(struct dec d);
} outputs[] = {
	{ "get_id", "0c000000313565323935633539363039", parse_str },
	{ "get_size", "160000000400000000", parse_size },
	{ "get_features", "3d000000000000000100000000000000", parse_features },
	{ "get_snapcontext", "3200000000000000010000003200000000000000",
	    parse_snapcontext },
	{ "parent_get of a clone", PARENT, parse_parent },
	{ "parent_get",
	    "010118000000ffffffffffffffff0000000000000000feffffffffffffff",
	    parse_parent },
	{ "image_group_get", "01010c000000ffffffffffffffff00000000",
	    parse_group },
	{ "lock.get_info of a held lock", LOCK_HELD, parse_lock },
	{ "lock.get_info of a lock that was held",
	    "010111000000000000000108000000696e7465726e616c", parse_lock },
	{ "lock.get_info", "010109000000000000000000000000", parse_lock },
	{ "trash_get", TRASH, parse_trash },
	{ "object_map_load",
	    "0e000000010108000000"
	    "1000000000000000"
	    "c0000000",
	    parse_map },
	{ "metadata_list",
	    "0200000001000000610100000078020000006262020000007979",
	    parse_meta },
};

/* A copy of its exact length, so that a sanitizer sees a read beyond it. */
static int
parse_exactly(const struct output *o, const unsigned char *bytes, size_t len)
{
	unsigned char *copy = malloc(len > 0 ? len : 1);
	struct dec d;
	int rc;

	if (len > 0)
		memcpy(copy, bytes, len);
	dec_init(&d, copy, len);
	rc = o->parse(d);
	free(copy);
	return rc;
}

static void
test_output(const struct output *o)
{
	struct bytes b = unhex(o->hex);
	unsigned refused = 0, answered = 0;

	is_int(parse_exactly(o, b.at, b.len), 0, "%s is understood", o->name);
	for (size_t len = 0; len < b.len; len++)
		refused += parse_exactly(o, b.at, len) == -EBADMSG;
	is_int(refused, b.len, "%s: cut off anywhere it is refused", o->name);

	/* with any byte changed it is taken or refused, nothing else */
	for (size_t i = 0; i < b.len; i++) {
		unsigned char was = b.at[i];

		for (unsigned v = 0; v < 256; v++) {
			int rc;

			b.at[i] = (unsigned char)v;
			rc = parse_exactly(o, b.at, b.len);
			answered += rc == 0 || rc == -EBADMSG;
		}
		b.at[i] = was;
	}
	is_int(answered, 256 * b.len,
	    "%s: with any byte changed it is taken or refused", o->name);
}

static void
test_values(void)
{
	struct cls_snapcontext snapc;
	struct cls_trash_entry entry;
	struct cls_lock_info info;
	struct cls_object_map map;
	struct cls_parent parent;
	struct timespec at;
	struct bytes b;
	uint64_t size;
	uint8_t order;

	b = unhex("160000000400000000");
	ok(cls_parse_size(dec_of(&b), &order, &size) == 0 && order == 22 &&
		size == 64 << 20,
	    "get_size gives order and size");
	b = unhex("ff0000000400000000");
	is_int(cls_parse_size(dec_of(&b), &order, &size), -EBADMSG,
	    "an order of which no size can be made is refused");

	b = unhex("3c9a5f5f00ca9a3b");
	ok(cls_parse_time(dec_of(&b), &at) == 0 && at.tv_sec == 0x5f5f9a3c &&
		at.tv_nsec == 1000000000,
	    "get_create_timestamp gives a time");

	b = unhex("3200000000000000010000003200000000000000");
	ok(cls_parse_snapcontext(dec_of(&b), &snapc) == 0 && snapc.seq == 50 &&
		snapc.count == 1 && dec_u64(&snapc.ids) == 50,
	    "get_snapcontext gives the ids");
	b = unhex("3200000000000000ffffffff3200000000000000");
	is_int(cls_parse_snapcontext(dec_of(&b), &snapc), -EBADMSG,
	    "a count above what follows is refused");

	b = unhex(PARENT);
	ok(cls_parse_parent(dec_of(&b), &parent) == 0 && parent.pool == 1 &&
		strcmp(parent.id, "102cd3098bad") == 0 && parent.snap == 4 &&
		parent.rados_namespace[0] == '\0',
	    "parent_get gives pool, image and snapshot");

	b = unhex(LOCK_HELD);
	ok(cls_parse_lock_info(dec_of(&b), &info) == 0 && info.lockers == 1 &&
		info.client == 0x15e2 && info.exclusive,
	    "get_info gives who holds the lock");
	is_str(info.address, "127.0.0.1:0/4145450226", "and its address");
	is_str(info.cookie, "auto 140105322944928", "and its cookie");
	is_str(info.tag, "internal", "and the tag");

	b = unhex("0e000000010108000000"
		  "0600000000000000"
		  "c460"
		  "00000000");
	ok(cls_parse_object_map(dec_of(&b), &map) == 0 && map.objects == 6 &&
		cls_object_map_has(&map, 0) && !cls_object_map_has(&map, 1) &&
		cls_object_map_has(&map, 2) && !cls_object_map_has(&map, 3) &&
		cls_object_map_has(&map, 4) && cls_object_map_has(&map, 5) &&
		!cls_object_map_has(&map, 6),
	    "object_map_load gives the objects that may exist");

	b = unhex(TRASH);
	ok(cls_parse_trash(dec_of(&b), &entry) == 0 &&
		strcmp(entry.name, "h") == 0 &&
		entry.source == TRASH_SOURCE_USER &&
		entry.state == TRASH_NORMAL &&
		entry.deleted.tv_sec == 0x6b03197f,
	    "trash_get gives the name and the state");
}

/* A newer release appends fields and raises the version, not compat. */
static void
test_newer(void)
{
	struct cls_parent parent;
	struct bytes b = unhex("030119000000"
			       "ffffffffffffffff0000000000000000"
			       "feffffffffffffff"
			       "07");

	ok(cls_parse_parent(dec_of(&b), &parent) == 0 && parent.pool == -1,
	    "fields that a newer release appends are skipped");
	b.at[1] = 3;
	is_int(cls_parse_parent(dec_of(&b), &parent), -EBADMSG,
	    "a struct that is not for us to read is refused");
}

static void
test_strings(void)
{
	struct bytes b = unhex("03000000610062");
	char s[4];

	is_int(cls_parse_str(dec_of(&b), s, sizeof(s)), -EBADMSG,
	    "a name with a NUL in it is refused");
	b = unhex("0400000061626364");
	is_int(cls_parse_str(dec_of(&b), s, sizeof(s)), -EBADMSG,
	    "a name that does not fit is refused");
	b = unhex("03000000616263");
	ok(cls_parse_str(dec_of(&b), s, sizeof(s)) == 0 &&
		strcmp(s, "abc") == 0,
	    "one that just fits is taken");
	b = unhex("ffffffff616263");
	is_int(cls_parse_str(dec_of(&b), s, sizeof(s)), -EBADMSG,
	    "a length beyond the input is refused");
}

/* ---- users of one image ---- */

static void
test_users(void)
{
	struct image_info info = {
		.id = "12ab", .prefix = "rbd_data.5.12ab", .parent.pool = -1
	};
	struct auth_image image = { .name = "img",
		.pool = "rbd",
		.rados_namespace = "ns",
		.pool_id = 5,
		.data_pool = "ec data",
		.info = &info };
	struct err err = ERR_INIT;
	struct secret key = SECRET_INIT;
	char node[AUTH_NODE_SIZE], user[AUTH_USER_SIZE];
	struct buf osd;
	char *command;

	auth_node_fmt(node, "node-a");
	auth_user_fmt(user, "0f5a", node);
	is_str(user, "rbd-csi.0f5a.4b9130dd2d417e09",
	    "a user's name is the same in every release");
	buf_init(&osd, AUTH_CAPS_MAX);
	ok(auth_caps_add(&osd, &image, &err) == 0, "caps of an image");
	is_str((const char *)osd.data,
	    "allow r class-read pool=\"rbd\" namespace=\"ns\" object_prefix \"rbd_id.img\""
	    ", allow rwx pool=\"rbd\" namespace=\"ns\" object_prefix \"rbd_header.12ab\""
	    ", allow rwx pool=\"rbd\" namespace=\"ns\" object_prefix \"rbd_object_map.12ab\""
	    ", allow rwx pool=\"ec data\" namespace=\"ns\" object_prefix \"rbd_data.5.12ab.\""
	    ", allow class-read pool=\"rbd\" namespace=\"\" object_prefix \"rbd_info\"",
	    "its own objects only");
	buf_clear(&osd);
	image.name = NULL;
	ok(auth_caps_add(&osd, &image, &err) == 0, "caps of a parent");
	ok(strstr((const char *)osd.data, "rw") == NULL &&
		strstr((const char *)osd.data, "rbd_data.5.12ab.") != NULL,
	    "it is only read");
	buf_clear(&osd);
	image.name = "img";
	info.features = RBD_JOURNALING;
	ok(auth_caps_add(&osd, &image, &err) == 0 &&
		strstr((const char *)osd.data, "\"journal.12ab\"") != NULL &&
		strstr((const char *)osd.data, "\"journal_data.5.12ab.\"") !=
		    NULL,
	    "a journal is the image's, too");
	image.pool = "a\"b";
	is_int(auth_caps_add(&osd, &image, &err),
	    err_rc_of(ERR_INVALID_ARGUMENT), "no cap can have a quote in it");
	buf_fini(&osd);

	command = auth_command_fmt(AUTH_GET_OR_CREATE, "u", "allow \"x\"");
	is_str(command,
	    "{\"prefix\":\"auth get-or-create\",\"entity\":\"client.u\","
	    "\"caps\":[\"mon\",\"profile rbd\",\"osd\",\"allow \\\"x\\\"\"],"
	    "\"format\":\"json\"}",
	    "the monitors' command for it");
	free(command);
	command = auth_command_fmt(AUTH_REMOVE, "u", NULL);
	is_str(command, "{\"prefix\":\"auth rm\",\"entity\":\"client.u\"}",
	    "and against it");
	free(command);
	command = auth_command_fmt(AUTH_LIST, NULL, NULL);
	is_str(command, "{\"prefix\":\"auth ls\",\"format\":\"json\"}",
	    "and for all of them");
	free(command);
	ok(auth_key_parse("\n[{\"entity\":\"client.u\",\"key\":\"AQ==\"}]", "u",
	       &key, &err) == 0,
	    "their answer");
	is_str(key.text, "AQ==", "has the key");
	secret_fini(&key);
	err = (struct err)ERR_INIT;
	ok(auth_key_parse("[]", "u", &key, &err) < 0 &&
		auth_key_parse("x", "u", &key, &err) < 0 &&
		err.code == ERR_INTERNAL,
	    "or none");
}

#define USER_UUID "0f5a0f5a-2222-4333-8444-555555555555"
#define USER_OF "client.rbd-csi." USER_UUID ".4b9130dd2d417e09"

/* A user that the monitors have listed is one of an image, or none of ours. */
static void
test_listed_users(void)
{
	static const struct {
		const char *pool, *ns, *entity;
		bool ours;
	} rows[] = {
		{ "rbd", "ns", USER_OF, true },
		{ "rbd", "", USER_OF, false },
		{ "other", "ns", USER_OF, false },
		{ "rbd", "ns", "client.admin", false },
		{ "rbd", "ns", "client.rbd-csi.mine", false },
		{ "rbd", "ns", USER_OF "0", false },
	};
	struct image_info info = {
		.id = "12ab", .prefix = "rbd_data.12ab", .parent.pool = -1
	};
	struct auth_image image = { .name = "img",
		.pool = "rbd",
		.rados_namespace = "ns",
		.data_pool = "rbd",
		.info = &info };
	struct arena *arena = arena_new(1 << 16);
	struct err err = ERR_INIT;
	struct auth_user user;
	struct buf osd;

	buf_init(&osd, AUTH_CAPS_MAX);
	ok(auth_caps_add(&osd, &image, &err) == 0, "caps of an image");
	for (size_t i = 0; i < countof(rows); i++)
		ok(auth_user_parse(&user, rows[i].pool, rows[i].ns,
		       rows[i].entity, (const char *)osd.data,
		       arena) == rows[i].ours,
		    "%s is %sa user of an image in %s/%s", rows[i].entity,
		    rows[i].ours ? "" : "not ", rows[i].pool, rows[i].ns);
	(void)auth_user_parse(
	    &user, "rbd", "ns", USER_OF, (const char *)osd.data, arena);
	is_str(user.uuid, USER_UUID, "its volume is known");
	is_str(user.image, "img", "and its image");
	is_str(user.image_id, "12ab", "by name and id");
	ok(!auth_user_parse(&user, "rbd", "ns", USER_OF, "allow *", arena),
	    "caps that we have not made are none of ours");
	buf_fini(&osd);
	arena_free(arena);
}

int
main(void)
{
	test_inputs();
	test_notification();
	test_cap();
	for (size_t i = 0; i < countof(outputs); i++)
		test_output(&outputs[i]);
	test_values();
	test_newer();
	test_strings();
	test_users();
	test_listed_users();
	return tap_end();
}
