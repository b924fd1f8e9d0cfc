/*
 * base.c - tables of input and output for src/base.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cephx_key.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/secret.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static void
test_err(void)
{
	struct err err = ERR_INIT;

	is_int(err_set(&err, ERR_NOT_FOUND, "volume %s", "v1"), -ENOENT,
	    "setting an error gives the errno of its code");
	is_str(err.text, "volume v1", "the text is formatted");
	err_prefix(&err, "delete");
	is_str(err.text, "delete: volume v1", "a prefix goes before the text");
	is_int(err_set_rc(&err, -EACCES, "open %s", "/x"), -EACCES,
	    "a failed call keeps its errno");
	is_int(err.code, ERR_PERMISSION_DENIED, "its code is in the table");
	is_str(
	    err.text, "open /x: Permission denied", "its meaning is appended");
	(void)err_set_rc(&err, -EDQUOT, "pool p: write x");
	is_int(err.code, ERR_RESOURCE_EXHAUSTED, "a full pool has a code");
	is_str(err.text, "pool p: write x: the pool is full",
	    "and words of its own");
	(void)err_set_rc(&err, -ETIME, "read x");
	is_int(err.code, ERR_UNAVAILABLE, "so has a cluster without answers");
	is_str(err.text, "read x: the cluster does not answer",
	    "and words of its own");
	is_int(err_set(NULL, ERR_ABORTED, "x"), -EAGAIN,
	    "nobody has to want the text");
	for (int code = 1; code <= 16; code++)
		is_int(err_code_of(err_rc_of((enum err_code)code)), code,
		    "%s survives the way through errno",
		    err_code_name((enum err_code)code));
	is_int(err_code_of(-ELOOP), ERR_INTERNAL,
	    "an errno without a code is INTERNAL");
	is_str(err_code_name((enum err_code)99), "UNKNOWN",
	    "a number without a name is UNKNOWN");
}

/* A handle, and the path that kubelet has for it. */
#define HANDLE "0001-0024-1234567890abcdef-0000000000000002-12345678"
#define TARGET                                                                 \
	"/var/lib/kubelet/plugins/kubernetes.io/csi/rbd.csi.ceph.com/"         \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"     \
	"/globalmount/" HANDLE "-1234-1234-1234-1234567890ab"

static bool
is_utf8(const char *text)
{
	uint32_t point;

	for (size_t n; *text != '\0'; text += n)
		if ((n = str_utf8(text, strlen(text), &point)) == 0)
			return false;
	return true;
}

static void
test_long_err(void)
{
	struct err err = ERR_INIT;
	char many[3 * ERR_TEXT_MAX];

	(void)err_set_rc(&err, -EIO, "volume %s: mount %s at %s", HANDLE,
	    "/dev/rbd17", TARGET);
	ok(str_starts(
	       err.text, "volume " HANDLE ": mount /dev/rbd17 at /var") &&
		str_ends(err.text, "7890ab: Input/output error"),
	    "a handle and a path of kubelet's fit, with the cause");

	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	(void)err_set_rc(&err, -EIO, "volume v1: mount %s", many);
	ok(strlen(err.text) == ERR_TEXT_MAX - 1 &&
		str_starts(err.text, "volume v1: mount xxx") &&
		strstr(err.text, "xxx ... xxx") != NULL &&
		str_ends(err.text, "xxx: Input/output error"),
	    "a longer text keeps its front and its cause");
	err_prefix(&err, "stage pvc-1");
	ok(strlen(err.text) == ERR_TEXT_MAX - 1 &&
		str_starts(err.text, "stage pvc-1: volume v1: mount xxx") &&
		str_ends(err.text, "xxx: Input/output error"),
	    "so does one with a prefix,");
	err_suffix(&err, "; an older file is in use");
	ok(strlen(err.text) == ERR_TEXT_MAX - 1 &&
		str_ends(err.text, "error; an older file is in use"),
	    "and one with a suffix");
	for (size_t i = 0; i + 3 < sizeof(many); i += 3)
		memcpy(many + i, "\xe2\x82\xac", 3);
	for (unsigned at = 0; at < 3; at++) {
		(void)err_set(
		    &err, ERR_INTERNAL, "%.*s%s", (int)at, "ab", many);
		if (!is_utf8(err.text))
			break;
	}
	ok(is_utf8(err.text), "no character is cut in two");
}

static void
test_str(void)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t value;
	} numbers[] = {
		{ "0", 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 7 },
		{ "99999999999999999999999", -ERANGE, 7 },
		{ "", -EINVAL, 7 },
		{ "-1", -EINVAL, 7 },
		{ " 1", -EINVAL, 7 },
		{ "1x", -EINVAL, 7 },
	};
	char small[4];

	for (size_t i = 0; i < countof(numbers); i++) {
		uint64_t value = 7;

		is_int(str_to_u64(numbers[i].text, &value), numbers[i].rc,
		    "number '%s'", numbers[i].text);
		ok(value == numbers[i].value, "its value is right");
	}
	is_int(str_put(small, sizeof(small), "abc"), 0, "three bytes fit");
	is_int(str_put(small, sizeof(small), "abcd"), -ENAMETOOLONG,
	    "four do not");
	ok(str_starts("csi-vol-1", "csi-") && !str_starts("cs", "csi-"),
	    "prefixes");
	ok(str_ends("a.sock", ".sock") && !str_ends("k", ".sock"), "suffixes");
	ok(str_eq(NULL, NULL) && !str_eq("a", NULL), "NULL equals only NULL");
}

static void
test_base64(void)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};
	static const char *const bad[] = { "Z", "Zm9v!", "Zm9vY", "Z===" };
	char out[16];

	for (size_t i = 0; i < countof(pairs); i++) {
		const char *plain = pairs[i][0], *coded = pairs[i][1];

		str_base64(out, plain, strlen(plain));
		is_str(out, coded, "'%s' is encoded", plain);
		is_int(str_unbase64(out, sizeof(out), coded, strlen(coded)),
		    strlen(plain), "'%s' is decoded", coded);
		ok(memcmp(out, plain, strlen(plain)) == 0, "to what it was");
	}
	is_int(str_unbase64(out, sizeof(out), "Zm8", 3), 2,
	    "padding may be missing");
	is_int(str_unbase64(out, 2, "Zm9v", 4), -EINVAL,
	    "a result over the limit is refused");
	for (size_t i = 0; i < countof(bad); i++)
		is_int(str_unbase64(out, sizeof(out), bad[i], strlen(bad[i])),
		    -EINVAL, "'%s' is refused", bad[i]);
}

static void
test_buf(void)
{
	struct buf buf;

	buf_init(&buf, 10);
	is_int(buf_append(&buf, "12345678", 8), 0, "eight of ten bytes fit");
	is_int(buf_append(&buf, "123", 3), -EMSGSIZE, "three more do not");
	is_int(buf.len, 8, "and nothing of them is kept");
	buf_consume(&buf, 5);
	ok(buf.len == 3 && memcmp(buf.data, "678", 3) == 0,
	    "the front can be dropped");
	buf_fini(&buf);
	buf_init(&buf, 1 << 20);
	for (int i = 0; i < 1000; i++)
		(void)buf_printf(&buf, "%03d", i);
	is_int(buf.len, 3000, "a buffer grows");
	ok(memcmp(buf.data + 2997, "999", 3) == 0, "to the last byte");
	ok(buf_reserve(&buf, SIZE_MAX) == NULL, "no overflow in sizes");
	buf_fini(&buf);
}

static void
test_arena(void)
{
	struct arena *arena = arena_new(1 << 20);
	unsigned char *p = arena_alloc(arena, 100000);
	bool zero = true;

	for (size_t i = 0; i < 100000; i++)
		zero = zero && p[i] == 0;
	ok(zero, "memory of an arena is zeroed");
	is_str(arena_fmt(arena, "%s-%d", "vol", 7), "vol-7", "formatting");
	ok((uintptr_t)arena_alloc(arena, 1) % 16 == 0, "pieces are aligned");
	ok(arena_alloc(arena, 1 << 20) == NULL, "the cap holds");
	ok(arena_alloc(arena, SIZE_MAX) == NULL, "for any size");
	ok(arena_strdup(arena, NULL) == NULL, "NULL stays NULL");
	arena_free(arena);
}

static void
test_map(void)
{
	struct map map = MAP_INIT;
	static int value[2000];
	size_t at = 0, seen = 0;
	const char *key;
	void *found;
	char name[32];
	bool all = true;

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < countof(value); i++) {
			(void)snprintf(name, sizeof(name), "key-%zu", i);
			(void)map_set(&map, name, &value[i]);
		}
		for (size_t i = 0; i < countof(value); i++) {
			(void)snprintf(name, sizeof(name), "key-%zu", i);
			all = all && map_get(&map, name) == &value[i];
			if (i % 3 == (size_t)round)
				all = all &&
				    map_remove(&map, name) == &value[i] &&
				    map_get(&map, name) == NULL;
		}
	}
	ok(all, "every key is found until it is removed");
	is_int(map_count(&map), 1334, "removed ones do not count");
	while (map_next(&map, &at, &key, &found))
		seen++;
	is_int(seen, 1334, "a walk sees each entry once");
	ok(map_set(&map, "key-0", &value[1]) == &value[0],
	    "replacing gives the old value back");
	ok(map_remove(&map, "none") == NULL, "an unknown key is NULL");
	map_fini(&map);
}

static void
test_secret(void)
{
	struct secret a = SECRET_INIT, b = SECRET_INIT;

	ok(secret_is_empty(&a), "a new secret is empty");
	secret_set(&a, "key==", 5);
	secret_copy(&b, &a);
	ok(secret_eq(&a, &b), "a copy is equal");
	secret_set(&b, "key=!", 5);
	ok(!secret_eq(&a, &b), "another one is not");
	secret_fini(&a);
	secret_fini(&b);
	ok(a.text == NULL && a.len == 0, "nothing is left after fini");
}

static char last_line[4096];

static void
keep_line(enum log_level level, const char *line)
{
	(void)level;
	(void)snprintf(last_line, sizeof(last_line), "%s", line);
}

/* One value each, as it stands after "v=", and after "t=" in quotes. */
static const struct {
	const char *value, *alone, *within;
} values[] = {
	{ "plain-1/2.3", "plain-1/2.3", "plain-1/2.3" },
	{ "", "", "" },
	{ "caf\xc3\xa9", "caf\xc3\xa9", "caf\xc3\xa9" },
	{ "two words", "\"two words\"", "two words" },
	{ "x code=OK", "\"x code=OK\"", "x code=OK" },
	{ "a\"b", "\"a\\\"b\"", "a\\\"b" },
	{ "a\\b", "\"a\\\\b\"", "a\\\\b" },
	{ "a\nb", "\"a\\nb\"", "a\\nb" },
	{ "a\rb\t", "\"a\\rb\\t\"", "a\\rb\\t" },
	{ "\x1b[31m", "\"\\u001b[31m\"", "\\u001b[31m" },
	{ "\x7f", "\"\\u007f\"", "\\u007f" },
	{ "\xc2\x9b", "\"\\u009b\"", "\\u009b" },
	{ "\xff", "\"\\ufffd\"", "\\ufffd" },
	{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"",
	    "\\ufffd\\ufffd\\ufffd" },
	{ "\xe2\x82", "\"\\ufffd\\ufffd\"", "\\ufffd\\ufffd" },
	{ "\"quoted already\"", "\"quoted already\"",
	    "\\\"quoted already\\\"" },
	{ "\"a\" b \"c\"", "\"\\\"a\\\" b \\\"c\\\"\"",
	    "\\\"a\\\" b \\\"c\\\"" },
	{ "\"a\nb\"", "\"\\\"a\\nb\\\"\"", "\\\"a\\nb\\\"" },
	{ "\"a\\\"", "\"\\\"a\\\\\\\"\"", "\\\"a\\\\\\\"" },
};

static void
test_log_values(void)
{
	char want[256];

	for (size_t i = 0; i < countof(values); i++) {
		log_info("e", "v=%s t=\"%s\" n=%d", values[i].value,
		    values[i].value, 7);
		(void)snprintf(want, sizeof(want), " e v=%s t=\"%s\" n=7",
		    values[i].alone, values[i].within);
		ok(strstr(last_line, want) != NULL, "a value in the log: %s",
		    want);
	}
	log_info("e", "a %s b", "free\ntext\x1b \"x\"");
	ok(strstr(last_line, " e a free\\ntext\\u001b \"x\" b") != NULL,
	    "text that is no value keeps its blanks and quotes only");
	log_info("e", "%d %5.1f %lld %zu %c %#x %.3s|%.*s|100%%", -1, 2.55,
	    1LL << 40, (size_t)3, 'c', 255u, "abcdef", 2, "xyz");
	ok(strstr(last_line,
	       " e -1   2.5 1099511627776 3 c 0xff abc|xy|100%") != NULL,
	    "numbers are as printf has them: %s", last_line);
}

/* What a format and its values become; `want` is what follows the event. */
static void
test_log_json(void)
{
	char end[64];

#define JSON(want, ...)                                                        \
	(log_info("e", __VA_ARGS__),                                           \
	    ok(strstr(last_line, "\"event\":\"e\"" want "}") != NULL,          \
		"%s: %s", #want, last_line))
	JSON(",\"code\":\"OK\",\"ms\":1.5,\"n\":-7", "code=%s ms=%.1f n=%d",
	    "OK", 1.5, -7);
	JSON(",\"volume\":\"0001\",\"op\":3", "volume=%s op=%u", "0001", 3u);
	JSON(",\"volume\":\"12\"", "volume=%s", "12");
	JSON(",\"states\":\"A:1.5,B:2\"", "%s", "states=A:1.5,B:2");
	JSON(",\"text\":\"two \\\"words\\\" x=1\",\"y\":1", "text=%s y=1",
	    "two \"words\" x=1");
	JSON(",\"a\":\"\",\"b\":\"x\"", "a=%s b=%s", "", "x");
	JSON(",\"id\":\"007\",\"detail\":\"free text\"", "free id=007 text");
	JSON(",\"error\":\"a b\"", "error=\"%s\"", "a b");
	JSON("", "%s", "");
#undef JSON
	for (size_t n = 0; n < 3000; n += 37) {
		auto_free char *longer = mem_new(n + 1);

		memset(longer, n % 2 != 0 ? '"' : 'x', n);
		log_info("e", "text=%s last=%s", longer, longer);
		(void)snprintf(
		    end, sizeof(end), "%s", last_line + strlen(last_line) - 2);
		if (!str_eq(end, "\"}"))
			break;
	}
	is_str(end, "\"}", "a line that is too long is cut, and still JSON");
}

static unsigned nlines;

static void
count_line(enum log_level level, const char *line)
{
	nlines++;
	keep_line(level, line);
}

static void
test_log_repeats(void)
{
	clock_fake(1000000);
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_set_sink(count_line);
	for (int i = 0; i < 1000; i++)
		log_warn("storm", "n=%d", i);
	is_int(nlines, 200, "a storm of warnings is cut");
	log_warn("other", "n=%d", 1);
	log_info("storm", "n=%d", 1);
	is_int(nlines, 202, "others are not, nor is what is no warning");
	clock_fake(1001000);
	log_warn("storm", "n=%d", 1);
	is_int(nlines, 204, "after a while");
	ok(strstr(last_line, "warn test[") != NULL &&
		strstr(last_line, " storm n=1") != NULL,
	    "there is room for it again");
	clock_fake(-1);
	log_set_sink(keep_line);
}

static unsigned suppressed;

static void
find_suppressed(enum log_level level, const char *line)
{
	(void)level;
	suppressed += strstr(line, " log.suppressed of=flood lines=50") != NULL;
}

static void
test_log_suppressed(void)
{
	clock_fake(2000000);
	log_set_sink(find_suppressed);
	for (int i = 0; i < 250; i++)
		log_error("flood", "n=%d", i);
	log_info("calm", "n=%d", 1);
	is_int(suppressed, 0, "while it is full nothing is told");
	clock_fake(2002000);
	log_info("calm", "n=%d", 1);
	log_info("calm", "n=%d", 1);
	is_int(suppressed, 1, "then how many lines were left out");
	clock_fake(-1);
}

static void
test_log(void)
{
	char quoted[16];

	log_set_sink(keep_line);
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_info("rpc.end", "code=%s", "OK");
	ok(strstr(last_line, " info test[") != NULL &&
		strstr(last_line, "] rpc.end code=OK") != NULL,
	    "a text line");
	test_log_values();
	last_line[0] = '\0';
	log_debug("x", "y=%d", 1);
	is_str(last_line, "", "debug is off");
	log_init("test", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	log_debug("x", "y=\"%s\"", "a\nb");
	ok(strstr(last_line, "\"event\":\"x\",\"y\":\"a\\nb\"}") != NULL,
	    "a JSON line is escaped: %s", last_line);
	test_log_json();
	test_log_repeats();
	log_init("test", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	is_str(log_quote(quoted, sizeof(quoted), "a\"b\\\n"),
	    "\"a\\\"b\\\\\\n\"", "quotes, backslashes and newlines");
	is_str(log_quote(quoted, 8, "abcdefghij"), "\"abcde\"",
	    "what does not fit is cut");
	is_str(log_quote(quoted, 8, "abcd\n"), "\"abcd\"",
	    "but not within an escape");
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	test_log_suppressed();
	log_set_sink(NULL);
}

static void
test_json(void)
{
	char dir[] = "/tmp/rbd-csi-json.XXXXXX", path[64];
	struct err err = ERR_INIT;
	struct stat st;
	json_t *json;
	FILE *file;

	ok(mkdtemp(dir) != NULL, "a directory for files");
	(void)snprintf(path, sizeof(path), "%s/x.json", dir);
	json = json_pack("{s:i, s:s}", "Version", 3, "pool", "rbd");
	is_int(json_write_file(path, json, 0600, &err), 0, "a file is written");
	json_decref(json);
	ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600,
	    "with the mode that was asked for");
	json = json_read_file(path, 1000, false, &err);
	is_str(json_get_string(json, "pool"), "rbd", "and read back");
	ok(json_get_string(json, "Version") == NULL, "a number is no string");
	json_decref(json);
	ok(json_read_file(path, 10, false, &err) == NULL && err.rc == -EFBIG,
	    "a file over the limit is refused");
	file = fopen(path, "w");
	(void)fputs("{\"key\": \"secret\",}\n", file);
	(void)fclose(file);
	ok(json_read_file(path, 1000, false, &err) == NULL &&
		strstr(err.text, "line 1") != NULL &&
		strstr(err.text, "secret") == NULL,
	    "an error names the line and not what is in it");
	(void)unlink(path);
	ok(json_read_file(path, 1000, false, &err) == NULL &&
		err.code == ERR_NOT_FOUND,
	    "a missing file is NOT_FOUND");
	(void)rmdir(dir);
}

static void
test_cephx_keys(void)
{
	static const struct {
		const char *what, *key;
		int type; /* 0: refused */
	} rows[] = {
		{ "aes", "AQBSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA==", 1 },
		{ "aes of 15 bytes", "AQBSzVBh4BuzAw8AcBpj3Nh6ZVWHG5b3IbrL",
		    0 },
		{ "aes256k",
		    "AgBSzVBh4BuzAyAAcBpj3Nh6ZVWHG5b3IbrLhHAaY9zYemVVhxuW9yG6"
		    "y4Q=",
		    2 },
		{ "aes256k of 16 bytes",
		    "AgBSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA==", 0 },
		{ "a type to come",
		    "AwBSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA==", 3 },
		{ "no type", "AABSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA==", 0 },
		{ "no bytes", "AQBSzVBh4BuzAwAA", 0 },
		{ "half a head", "AQBSzVBh", 0 },
		{ "not base64", "no key!", 0 },
		{ "empty", "", 0 },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct secret key = SECRET_INIT;
		struct err err = ERR_INIT;
		int type;

		secret_set(&key, rows[i].key, strlen(rows[i].key));
		type = cephx_key_type("joe", &key, &err);
		if (rows[i].type != 0)
			is_int(type, rows[i].type, "key: %s", rows[i].what);
		else
			ok(type < 0 && err.code == ERR_INVALID_ARGUMENT &&
				str_starts(err.text, "key of client.joe: ") &&
				(rows[i].key[0] == '\0' ||
				    strstr(err.text, rows[i].key) == NULL),
			    "key: %s: %s", rows[i].what, err.text);
		secret_fini(&key);
	}
}

static void
test_clock(void)
{
	int64_t now = clock_now_ms();

	ok(now > 0 && clock_now_ms() >= now, "the clock does not go back");
	clock_fake(5000);
	is_int(clock_now_us(), 5000000, "a test can set it");
	clock_fake(-1);
	ok(clock_now_ms() >= now, "and give the real one back");
}

int
main(void)
{
	test_err();
	test_long_err();
	test_str();
	test_base64();
	test_buf();
	test_arena();
	test_map();
	test_secret();
	test_log();
	test_json();
	test_cephx_keys();
	test_clock();
	return tap_end();
}
