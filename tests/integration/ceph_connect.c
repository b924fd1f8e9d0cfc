/*
 * ceph_connect.c - whatever keeps a session from opening is told as what it
 * is: settings, key, names, monitors, credentials.
 */
#include "base/clock.h"
#include "tests/integration/ceph_support.h"

#include <rados/librados.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Keys of nobody, well formed: of type 1 (aes), 2 (aes256k) and 3 (none yet). */
#define OTHER_KEY "AQBSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA=="
#define AES256K_KEY                                                            \
	"AgBSzVBh4BuzAyAAcBpj3Nh6ZVWHG5b3IbrLhHAaY9zYemVVhxuW9yG6y4Q="
#define FUTURE_KEY "AwBSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA=="

static unsigned timeout_s = 20;

static int
try_open(const char *monitors, const char *user, const char *key_text,
    const struct ceph_option *option, enum ceph_step *step, struct err *err)
{
	struct ceph_connection *conn = NULL;
	struct secret key = SECRET_INIT;
	struct ceph_settings settings = {
		.monitors = monitors,
		.user = user,
		.key = &key,
		.options = option,
		.noptions = option != NULL ? 1 : 0,
		.connect_timeout_s = timeout_s,
	};
	int rc;

	*err = (struct err)ERR_INIT;
	secret_set(&key, key_text, strlen(key_text));
	rc = ceph_connection_open(&settings, &conn, step, err);
	ceph_connection_close(conn);
	secret_fini(&key);
	return rc;
}

static void
test_refusals(const char *monitors)
{
	static const struct ceph_option unknown = { "no_such_option", "1" };
	static const struct ceph_option wrong = {
		"rbd_concurrent_management_ops", "x"
	};
	const struct {
		const char *what, *monitors, *user, *key;
		const struct ceph_option *option;
		enum ceph_step step;
		enum err_code code;
	} cases[] = {
		{ "no user", monitors, "", OTHER_KEY, NULL, CEPH_STEP_SETTINGS,
		    ERR_INVALID_ARGUMENT },
		{ "an unknown option", monitors, "csi-rbd", OTHER_KEY, &unknown,
		    CEPH_STEP_SETTINGS, ERR_INVALID_ARGUMENT },
		{ "a wrong value", monitors, "csi-rbd", OTHER_KEY, &wrong,
		    CEPH_STEP_SETTINGS, ERR_INVALID_ARGUMENT },
		{ "no key", monitors, "csi-rbd", "", NULL, CEPH_STEP_KEY,
		    ERR_INVALID_ARGUMENT },
		{ "a key that is not base64", monitors, "csi-rbd",
		    "this is no key!", NULL, CEPH_STEP_KEY,
		    ERR_INVALID_ARGUMENT },
		{ "a key that is cut off", monitors, "csi-rbd",
		    "AQBSzVBh4BuzAxAAcBpj3Nh6", NULL, CEPH_STEP_KEY,
		    ERR_INVALID_ARGUMENT },
		{ "a key of no type", monitors, "csi-rbd",
		    "AABSzVBh4BuzAxAAcBpj3Nh6ZVWHG5b3IbrLhA==", NULL,
		    CEPH_STEP_KEY, ERR_INVALID_ARGUMENT },
		{ "a key of a type to come", monitors, "csi-rbd", FUTURE_KEY,
		    NULL, CEPH_STEP_KEY, ERR_FAILED_PRECONDITION },
		{ "monitors that are no addresses", "[v2:nonsense]", "csi-rbd",
		    OTHER_KEY, NULL, CEPH_STEP_SETTINGS, ERR_INVALID_ARGUMENT },
		{ "no monitors", "", "csi-rbd", OTHER_KEY, NULL,
		    CEPH_STEP_RESOLVE, ERR_INVALID_ARGUMENT },
		{ "names that do not resolve", "mon.invalid", "csi-rbd",
		    OTHER_KEY, NULL, CEPH_STEP_RESOLVE, ERR_UNAVAILABLE },
		{ "nobody at the monitors' port", "127.0.0.1:9", "csi-rbd",
		    OTHER_KEY, NULL, CEPH_STEP_CONNECT, ERR_UNAVAILABLE },
		{ "a wrong key", monitors, "csi-rbd", OTHER_KEY, NULL,
		    CEPH_STEP_AUTHENTICATE, ERR_UNAUTHENTICATED },
		{ "an unknown user", monitors, "nobody", OTHER_KEY, NULL,
		    CEPH_STEP_AUTHENTICATE, ERR_UNAUTHENTICATED },
	};
	enum ceph_step step;
	struct err err;

	for (size_t i = 0; i < countof(cases); i++) {
		int rc = try_open(cases[i].monitors, cases[i].user,
		    cases[i].key, cases[i].option, &step, &err);

		ok(rc < 0 && err.code == cases[i].code &&
			step == cases[i].step && rc == err.rc &&
			strstr(err.text,
			    cases[i].key[0] != '\0' ? cases[i].key : "\n") ==
			    NULL,
		    "%s: %s at step %s: %s", cases[i].what,
		    err_code_name(err.code), ceph_step_name(step), err.text);
	}
}

/*
 * A key of the type that Ceph 20.2.4 hands out: an older librados cannot use
 * it, which must not be put down to the monitors.
 */
static void
test_new_key(const char *monitors)
{
	enum ceph_step step;
	struct err err;

	(void)!try_open(monitors, "csi-rbd", AES256K_KEY, NULL, &step, &err);
	if (err.code == ERR_UNAUTHENTICATED) {
		is_int(step, CEPH_STEP_AUTHENTICATE,
		    "an aes256k key is tried where librados knows it");
		return;
	}
	ok(err.code == ERR_FAILED_PRECONDITION && step == CEPH_STEP_KEY &&
		strstr(err.text, "its type is 2 (aes256k)") != NULL &&
		strstr(err.text, "librados of Ceph 1") != NULL &&
		strstr(err.text, "or give the user a key of type 1") != NULL,
	    "an aes256k key: type, release and what helps: %s", err.text);
}

/*
 * A user that does not exist and a wrong key are told as such in time, in
 * whatever way the monitors are given.
 */
static void
test_spellings(const char *monitors)
{
	auto_free char *of_conf = support_sh_line(
	    "sed -n 's/^mon host = //p' \"$CEPH_CONF\"");
	auto_free char *group = str_fmt("[%s]", of_conf);
	auto_free char *v1 = str_fmt("v1:%s", monitors);
	const char *const rows[] = { monitors, v1, group, of_conf };
	static const char *const user[] = { "nobody", "csi-rbd" };
	enum ceph_step step;
	struct err err;
	int64_t began_ms, took_ms;

	timeout_s = 60;
	for (size_t i = 0; i < countof(rows) * countof(user); i++) {
		const char *list = rows[i / countof(user)];

		began_ms = clock_now_ms();
		(void)!try_open(list, user[i % countof(user)], OTHER_KEY, NULL,
		    &step, &err);
		took_ms = clock_now_ms() - began_ms;
		ok(err.code == ERR_UNAUTHENTICATED &&
			step == CEPH_STEP_AUTHENTICATE && took_ms < 40000,
		    "%s as %s in %jd ms: %s", list, user[i % countof(user)],
		    (intmax_t)took_ms, err.text);
	}
	timeout_s = 20;
}

/* A ceph.conf as editors leave it, with an option that tells it was read. */
static void
test_conf_files(void)
{
	static const struct {
		const char *what, *text;
		bool good;
	} rows[] = {
		{ "a final newline",
		    "[global]\nrbd_concurrent_management_ops = 7\n", true },
		{ "no final newline",
		    "[global]\nrbd_concurrent_management_ops = 7", true },
		{ "blanks at the end",
		    "[global]\nrbd_concurrent_management_ops = 7\n ", true },
		{ "CRLF", "[global]\r\nrbd_concurrent_management_ops = 7\r",
		    true },
		{ "a byte order mark",
		    "\xef\xbb\xbf[global]\nrbd_concurrent_management_ops = 7\n",
		    true },
		{ "letters beyond ASCII",
		    "[global]\nhost = Z\xc3\xbcrich\n"
		    "rbd_concurrent_management_ops = 7 # \xc3\xbc",
		    true },
		{ "a word alone", "nonsense\n", false },
	};
	char path[] = "/tmp/rbd-csi-conf.XXXXXX", value[16];
	struct secret key = SECRET_INIT;
	int fd = mkstemp(path);

	if (fd < 0)
		abort();
	(void)close(fd);
	support_key(&key);
	for (size_t i = 0; i < countof(rows); i++) {
		struct ceph_settings settings = {
			.monitors = getenv("RBD_CSI_MONITORS"),
			.user = getenv("RBD_CSI_USER"),
			.key = &key,
			.conf_file = path,
		};
		struct ceph_connection *conn = NULL;
		enum ceph_step step;
		struct err err = ERR_INIT;
		FILE *file = fopen(path, "w");

		if (file == NULL || fputs(rows[i].text, file) < 0 ||
		    fclose(file) != 0)
			abort();
		value[0] = '\0';
		if (ceph_connection_open(&settings, &conn, &step, &err) == 0)
			(void)rados_conf_get(conn->cluster,
			    "rbd_concurrent_management_ops", value,
			    sizeof(value));
		if (rows[i].good)
			ok(str_starts(value, "7"), "a ceph.conf with %s: %s",
			    rows[i].what, err.text);
		else
			ok(err.code == ERR_INVALID_ARGUMENT &&
				step == CEPH_STEP_SETTINGS &&
				strstr(err.text, path) != NULL &&
				strstr(err.text, "key = value") != NULL,
			    "a ceph.conf with %s: %s", rows[i].what, err.text);
		ceph_connection_close(conn);
	}
	(void)unlink(path);
	secret_fini(&key);
}

static void
test_timeout(void)
{
	int64_t before = clock_now_ms(), took;
	enum ceph_step step;
	struct err err;

	timeout_s = 2;
	/* an address of a test network that answers nothing */
	ok(try_open("192.0.2.1:6789", "csi-rbd", OTHER_KEY, NULL, &step, &err) <
		    0 &&
		err.code == ERR_UNAVAILABLE,
	    "monitors that do not answer: %s", err.text);
	took = clock_now_ms() - before;
	ok(took >= 1500 && took < 30000, "told after the time-out: %jd ms",
	    (intmax_t)took);
	timeout_s = 20;
}

static void
test_session(void)
{
	struct ceph_connection *conn = support_connect();
	struct ceph_pool *pool, *again;
	struct err err = ERR_INIT;
	char id[RBD_ID_SIZE], other[RBD_ID_SIZE];

	is_str(
	    conn->fsid, getenv("RBD_CSI_FSID"), "the cluster's fsid is known");
	ok(strchr(conn->address, ':') != NULL, "and our own address: %s",
	    conn->address);
	pool = support_pool(conn, "rbd", "ns1");
	again = support_pool(conn, "rbd", "ns1");
	ok(pool == again && pool != support_pool(conn, "rbd", NULL),
	    "a pool with a namespace is one thing");
	is_int(ceph_pool_open_id(conn, pool->id, "ns1", &again, NULL), 0,
	    "it is found by its id");
	ok(again == pool, "and is the same then");
	is_str(ceph_pool_label(pool), "pool rbd/ns1", "it has a label");
	ok(ceph_pool_open(conn, "nowhere", NULL, &pool, &err) < 0 &&
		err.code == ERR_NOT_FOUND,
	    "a missing pool: %s", err.text);
	err = (struct err)ERR_INIT;
	ok(ceph_pool_open_id(conn, 4711, NULL, &pool, &err) < 0 &&
		err.code == ERR_NOT_FOUND,
	    "a missing pool id: %s", err.text);
	image_id_generate(conn, id);
	image_id_generate(conn, other);
	ok(strlen(id) == 14 && strlen(other) == 14 && strcmp(id, other) != 0,
	    "image ids are 14 digits, %s and %s", id, other);
	ceph_connection_close(conn);
}

int
main(void)
{
	test_session();
	test_conf_files();
	test_refusals(getenv("RBD_CSI_MONITORS"));
	test_new_key(getenv("RBD_CSI_MONITORS"));
	test_spellings(getenv("RBD_CSI_MONITORS"));
	test_timeout();
	return tap_end();
}
