/*
 * --credentials-dir: what is read, which version of a mounted Secret, and what
 * is said when something is missing.
 */
#include "daemon/credentials.h"

#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "AQDkeyZZ=="

static char dir[] = "/tmp/rbd-csi-credentials.XXXXXX";

static const char *
at(const char *name)
{
	static char path[4][160];
	static unsigned turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void
put(const char *name, const char *bytes, size_t len)
{
	FILE *f = fopen(at(name), "w");

	if (f == NULL || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
		abort();
}

static void
make_dir(const char *name)
{
	if (mkdir(at(name), 0700) < 0)
		abort();
}

static void
point(const char *target, const char *name)
{
	if (symlink(target, at(name)) < 0)
		abort();
}

/* A version of a Secret, as kubelet writes it, and `..data` renamed to it. */
static void
swap(const char *version, const char *user, const char *key)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "k8s/%s", version);
	make_dir(name);
	(void)snprintf(name, sizeof(name), "k8s/%s/userID", version);
	put(name, user, strlen(user));
	(void)snprintf(name, sizeof(name), "k8s/%s/userKey", version);
	put(name, key, strlen(key));
	point(version, "k8s/..data_tmp");
	if (rename(at("k8s/..data_tmp"), at("k8s/..data")) < 0)
		abort();
}

/* "USER KEY", or the error. */
static const char *
got(const char *cluster_id, int *rc)
{
	static char text[ERR_TEXT_MAX];
	struct credentials c;
	struct err err = ERR_INIT;

	*rc = credentials_read(dir, cluster_id, &c, &err);
	if (*rc == 0)
		(void)snprintf(text, sizeof(text), "%s %s", c.user, c.key.text);
	else
		(void)snprintf(text, sizeof(text), "%s", err.text);
	ok(*rc == 0 || err.code == ERR_FAILED_PRECONDITION,
	    "a failure is FAILED_PRECONDITION");
	ok(*rc == 0 || strstr(err.text, KEY) == NULL,
	    "and does not tell the key");
	credentials_fini(&c);
	return text;
}

static void
test_values(void)
{
	static const struct {
		const char *cluster, *user, *key;
		size_t key_len;
		const char *want; /* "USER KEY", or how the error ends */
		bool good;
	} rows[] = {
		{ "plain", "csi", KEY, 10, "csi " KEY, true },
		{ "lines", "csi\n", KEY "\r\n", 12, "csi " KEY, true },
		{ "blanks", " csi", "\t" KEY "  ", 13, "csi " KEY, true },
		{ "no-key", "csi", NULL, 0,
		    "/no-key: read userKey: No such file or directory", false },
		{ "no-user", NULL, KEY, 10,
		    "/no-user: read userID: No such file or directory", false },
		{ "empty", "csi", "\n", 1, "/empty: userKey is empty", false },
		{ "nul", "csi", KEY "\0" KEY, 21,
		    "/nul: userKey has a NUL in it", false },
	};
	char name[64];
	int rc;

	for (size_t i = 0; i < countof(rows); i++) {
		const char *text, *want = rows[i].want;

		make_dir(rows[i].cluster);
		(void)snprintf(
		    name, sizeof(name), "%s/userID", rows[i].cluster);
		if (rows[i].user != NULL)
			put(name, rows[i].user, strlen(rows[i].user));
		(void)snprintf(
		    name, sizeof(name), "%s/userKey", rows[i].cluster);
		if (rows[i].key != NULL)
			put(name, rows[i].key, rows[i].key_len);
		text = got(rows[i].cluster, &rc);
		ok((rc == 0) == rows[i].good && str_ends(text, want), "%s: %s",
		    rows[i].cluster, text);
		ok(rc != -ENOENT, "which is not as if there were none");
	}
	(void)got("absent", &rc);
	is_int(rc, -ENOENT, "a cluster without a directory has none");
	is_str(got("../plain", &rc),
	    "credentials of cluster \"../plain\": no directory can have that name",
	    "a clusterID leads nowhere else");
	(void)got("..", &rc);
	ok(rc < 0 && rc != -ENOENT, "nor out of the directory");
}

static void
test_swapped(void)
{
	int rc;

	make_dir("k8s");
	point("..data/userID", "k8s/userID");
	point("..data/userKey", "k8s/userKey");
	swap("..1", "old", "old-key");
	is_str(got("k8s", &rc), "old old-key", "a mounted Secret is read");
	swap("..2", "new", "new-key\n");
	is_str(got("k8s", &rc), "new new-key", "and its next version");
	if (unlink(at("k8s/..2/userKey")) < 0)
		abort();
	ok(str_ends(
	       got("k8s", &rc), "read userKey: No such file or directory") &&
		rc != -ENOENT,
	    "a version that lacks a file is told");
	if (unlink(at("k8s/..data")) < 0)
		abort();
	point("..3", "k8s/..data");
	(void)got("k8s", &rc);
	ok(rc < 0 && rc != -ENOENT, "so is one that is not there");
}

int
main(void)
{
	char command[200];

	if (mkdtemp(dir) == NULL)
		abort();
	test_values();
	test_swapped();
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	ok(system(command) == 0, "the files are gone");
	return tap_end();
}
