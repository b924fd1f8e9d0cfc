/*
 * config.json: what is read, how a change is noticed, what a broken file does.
 */
#include "daemon/config.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "core/timer.h"
#include "tests/tap.h"

#include <stdlib.h>
#include <sys/stat.h>

#define ONE                                                                    \
	"[{\"clusterID\":\"a\",\"monitors\":[\"m1:6789\",\"m2:6789\"],"        \
	"\"cephFS\":{\"x\":1},\"unknown\":[],\"rbd\":{"                        \
	"\"radosNamespace\":\"ns\",\"netNamespaceFilePath\":\"/run/ns\"}},"    \
	"{\"clusterID\":\"a\",\"monitors\":[\"second\"]},"                     \
	"{\"clusterID\":\"empty\",\"monitors\":[]}]"
#define TWO "[{\"clusterID\":\"b\",\"monitors\":[\"m3\"]}]"
#define SECRET_PART "s3cret-part"

static char dir[] = "/tmp/rbd-csi-config.XXXXXX";
static char logged[4096];

static void
keep_log(enum log_level level, const char *line)
{
	(void)level;
	(void)strncat(logged, line, sizeof(logged) - strlen(logged) - 1);
}

static const char *
at(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void
put(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static void
point(const char *target, const char *name)
{
	if (symlink(target, at(name)) < 0)
		abort();
}

static void
on_tick(struct timer *timer)
{
	(void)timer;
}

/* Turns the loop, for 10 ms at most. */
static void
turn(void)
{
	struct timer tick = { .fire = on_tick };

	timer_arm(&tick, 10);
	loop_turn(true);
	timer_disarm(&tick);
}

#define TURNS_MAX 6000

/* Turns until `id` is found (or not, as wanted). */
static bool
becomes(const struct config *config, const char *id, bool wanted)
{
	bool found = !wanted;

	for (int i = 0; i < TURNS_MAX && found != wanted; i++) {
		struct arena *arena = arena_new(1 << 16);
		struct config_cluster cluster;

		found = config_find(config, id, arena, &cluster, NULL) == 0;
		arena_free(arena);
		if (found != wanted)
			turn();
	}
	return found == wanted;
}

static void
test_read(void)
{
	struct arena *arena = arena_new(1 << 16);
	struct config_cluster c = { .cluster_id = NULL };
	struct err err = ERR_INIT;
	struct config *config;

	put("config.json", ONE);
	config = config_new(at("config.json"));
	ok(config_find(config, "a", arena, &c, &err) == 0,
	    "a cluster is found");
	is_str(c.cluster_id, "a", "its ID");
	is_str(c.monitors, "m1:6789,m2:6789",
	    "its monitors are joined, the first entry of an ID counts");
	is_str(c.rados_namespace, "ns", "its namespace");
	is_str(c.netns, "/run/ns", "its network namespace");

	ok(config_find(config, "nope", arena, &c, &err) < 0,
	    "an unknown clusterID is not found");
	is_int(err.code, ERR_FAILED_PRECONDITION, "as a precondition");
	ok(strstr(err.text, "clusterID \"nope\" is not in /tmp/") != NULL,
	    "and is named: %s", err.text);
	ok(config_find(config, "empty", arena, &c, &err) < 0 &&
		strstr(err.text, "clusterID \"empty\" has no monitors") != NULL,
	    "a cluster without monitors is refused");
	config_free(config);
	arena_free(arena);
}

static void
test_changes(void)
{
	struct config *config;

	put("config.json", ONE);
	config = config_new(at("config.json"));
	put("config.json", TWO);
	ok(becomes(config, "b", true) && becomes(config, "a", false),
	    "a file written in place is read again");
	put("next", ONE);
	(void)rename(at("next"), at("config.json"));
	ok(becomes(config, "a", true), "so is one renamed over it");
	put("config.json", TWO);
	ok(becomes(config, "b", true), "and the one after that");

	logged[0] = '\0';
	put("config.json", "[{\"clusterID\":\"c\",\"" SECRET_PART);
	for (int i = 0; i < TURNS_MAX && strstr(logged, "broken") == NULL; i++)
		turn();
	ok(strstr(logged, "config.broken") != NULL, "a broken file is logged");
	ok(strstr(logged, SECRET_PART) == NULL, "but not its content");
	ok(becomes(config, "b", true), "and the last good one stays");
	(void)unlink(at("config.json"));
	config_reload(config);
	ok(becomes(config, "b", true), "also when the file goes away");
	put("config.json", ONE);
	ok(becomes(config, "a", true), "a file that comes back is read");
	config_free(config);
}

/* The n-th place of a volume of cluster "x", as "CLUSTER POOL". */
static const char *
place(const struct config *config, int64_t pool_id, size_t n)
{
	static char text[64];
	struct arena *arena = arena_new(1 << 16);
	struct config_cluster c;
	size_t at = 0;
	int64_t mapped = 0;
	bool found;

	do
		found = config_find_mapped(
		    config, "x", pool_id, &at, arena, &c, &mapped);
	while (found && n-- > 0);
	(void)snprintf(text, sizeof(text), "%s %lld",
	    found ? c.cluster_id : "none", (long long)mapped);
	arena_free(arena);
	return text;
}

#define MAPPING "cluster-mapping.json"
#define PLACES                                                                 \
	"[{\"clusterIDMapping\":{\"x\":\"nope\",\"a\":\"x\"},"                 \
	"\"RBDPoolIDMapping\":[{\"1\":\"2\",\"7\":\"1\"},{\"3\":\"4\"}]},"     \
	"{\"clusterIDMapping\":{\"x\":\"a\"},\"RBDPoolIDMapping\":"            \
	"[{\"1\":\"8\",\"9\":\"pool\"}],\"CephFSFscIDMapping\":[{\"1\":\"5\"}]}]"

static void
test_mapping(void)
{
	struct config *config;

	put("config.json", ONE);
	config = config_new(at("config.json"));
	is_str(
	    place(config, 1, 0), "none 0", "without a mapping there is none");
	put(MAPPING, PLACES);
	for (int i = 0; i < TURNS_MAX && str_eq(place(config, 1, 0), "none 0");
	     i++)
		turn();
	is_str(place(config, 1, 0), "a 2",
	    "a new mapping is read; a cluster that config.json lacks is passed");
	is_str(place(config, 1, 1), "a 7", "pairs count in both directions");
	is_str(place(config, 1, 2), "a 8", "so do further entries");
	is_str(place(config, 4, 0), "a 3", "and lists of pools");
	ok(str_starts(place(config, 1, 3), "none"), "then there are no more");
	ok(str_starts(place(config, 9, 0), "none"), "nor for no number");
	ok(str_starts(place(config, 5, 0), "none"),
	    "nor for pools of file systems");
	is_str(place(config, 0, 0), "a 0", "without a pool clusters count");
	logged[0] = '\0';
	put(MAPPING, "[{\"clusterIDMapping\":{\"x\":1}}]");
	config_reload(config);
	ok(strstr(logged, "config.broken") != NULL &&
		strstr(logged, MAPPING ": entry 1: clusterIDMapping") != NULL,
	    "a broken mapping is logged: %s", logged);
	is_str(place(config, 1, 0), "a 2", "and the last good one stays");
	(void)unlink(at(MAPPING));
	config_reload(config);
	is_str(place(config, 1, 0), "none 0", "one that is removed is gone");
	config_free(config);
}

/* As kubelet mounts a ConfigMap and swaps it. */
static void
test_configmap(void)
{
	struct config *config;

	(void)mkdir(at("cm"), 0755);
	(void)mkdir(at("cm/..1"), 0755);
	put("cm/..1/config.json", ONE);
	point("..1", "cm/..data");
	point("..data/config.json", "cm/config.json");
	config = config_new(at("cm/config.json"));
	ok(becomes(config, "a", true), "a ConfigMap's file is read");

	(void)mkdir(at("cm/..2"), 0755);
	put("cm/..2/config.json", TWO);
	point("..2", "cm/..data_tmp");
	(void)rename(at("cm/..data_tmp"), at("cm/..data"));
	ok(becomes(config, "b", true), "its swap is noticed");
	(void)unlink(at("cm/..1/config.json"));
	(void)rmdir(at("cm/..1"));
	put("cm/..2/config.json", ONE);
	ok(becomes(config, "a", true), "and what happens behind the new link");
	config_free(config);
}

static void
test_late(void)
{
	static const char *const bad[] = { "{}", "null", "\"x\"", "", "[",
		"[{\"clusterID\":\"a\"}" };
	struct err err = ERR_INIT, later = ERR_INIT;
	struct config *config;

	config = config_new(at("absent.json"));
	ok(config_find(config, "a", NULL, NULL, &err) < 0 &&
		strstr(err.text, "absent.json") != NULL,
	    "without a file a look-up names it: %s", err.text);
	put("absent.json", ONE);
	ok(becomes(config, "a", true), "a file that comes late is read");
	for (size_t i = 0; i < countof(bad); i++) {
		put("absent.json", bad[i]);
		config_reload(config);
		is_int(config_state(config).count, 3, "kept over: %s", bad[i]);
	}
	err = (struct err)ERR_INIT;
	ok(config_find(config, "b", NULL, NULL, &err) < 0 &&
		strstr(err.text, "is not in /") != NULL &&
		strstr(err.text,
		    "; an older absent.json is in use, for the newest one is "
		    "broken: /") != NULL,
	    "and what is new there is not found for that reason: %s", err.text);
	(void)err_set(&later, ERR_UNAVAILABLE, "no answer");
	config_blame(config, &later);
	ok(str_starts(later.text, "no answer; an older absent.json is in use"),
	    "other errors can be told so, too");
	put("absent.json", TWO);
	config_reload(config);
	(void)err_set(&later, ERR_UNAVAILABLE, "no answer");
	config_blame(config, &later);
	is_str(later.text, "no answer", "until a good file is there");
	config_free(config);
}

static size_t
count_logged(const char *word)
{
	size_t n = 0;

	for (const char *p = logged; (p = strstr(p, word)) != NULL; p++)
		n++;
	return n;
}

/* What ceph-csi's reader takes is taken; what is useless hurts nobody else. */
static void
test_entries(void)
{
	static const char good[] =
	    "{\"clusterID\":\"good\",\"monitors\":[\"m\"]}";
	static const struct {
		const char *entry, *fault; /* NULL: it is none */
	} rows[] = {
		{ "null", ": not an object" },
		{ "1", ": not an object" },
		{ "[]", ": not an object" },
		{ "{}", ": no clusterID" },
		{ "{\"clusterID\":\"\"}", ": no clusterID" },
		{ "{\"clusterID\":null}", ": no clusterID" },
		{ "{\"clusterID\":1}", "clusterID is not a string" },
		{ "{\"clusterID\":\"a\\u0000b\"}",
		    "clusterID is not a string" },
		{ "{\"clusterID\":\"a\",\"monitors\":\"m\"}",
		    "monitors is not a list" },
		{ "{\"clusterID\":\"a\",\"monitors\":[\"m\",1]}",
		    "monitors holds something that is no string" },
		{ "{\"clusterID\":\"a\",\"rbd\":1}", "rbd is not an object" },
		{ "{\"clusterID\":\"a\",\"rbd\":{\"radosNamespace\":1}}",
		    "rbd.radosNamespace is not a string" },
		{ "{\"clusterID\":\"a\","
		  "\"rbd\":{\"netNamespaceFilePath\":[]}}",
		    "rbd.netNamespaceFilePath is not a string" },
		{ "{\"clusterID\":\"a\",\"readAffinity\":1}",
		    "readAffinity is no object" },
		{ "{\"clusterID\":\"a\",\"readAffinity\":{\"enabled\":1}}",
		    "readAffinity is no object" },
		{ "{\"clusterID\":\"a\","
		  "\"readAffinity\":{\"crushLocationLabels\":\"x\"}}",
		    "readAffinity.crushLocationLabels is not a list" },
		{ "{\"clusterID\":\"a\",\"monitors\":[\"m\"],"
		  "\"readAffinity\":{\"enabled\":true,"
		  "\"crushLocationLabels\":[\"x\"]}}",
		    NULL },
		{ "{\"clusterID\":\"a\",\"monitors\":[null,\"m\",\"\"],"
		  "\"rbd\":null}",
		    NULL },
		{ "{\"clusterid\":\"a\",\"MONITORS\":[\"m\"],"
		  "\"Rbd\":{\"RADOSNAMESPACE\":null}}",
		    NULL },
		{ "{\"clusterID\":\"b\",\"monitors\":[\"n\"],"
		  "\"ClusterId\":\"a\",\"monitors\":[\"m\"]}",
		    NULL },
		{ "{\"clusterID\":\"a\",\"x\":99999999999999999999,"
		  "\"monitors\":[\"m\"],\"clusterID\":\"a\"}",
		    NULL },
	};
	struct arena *arena = arena_new(1 << 16);
	struct config_cluster c;
	struct config *config;
	char text[512];

	put("config.json", "[]");
	config = config_new(at("config.json"));
	for (size_t i = 0; i < countof(rows); i++) {
		struct err err = ERR_INIT;
		bool found;

		(void)snprintf(
		    text, sizeof(text), "[%s,%s]", rows[i].entry, good);
		put("config.json", text);
		logged[0] = '\0';
		config_reload(config);
		config_reload(config);
		found = config_find(config, "a", arena, &c, &err) == 0;
		ok(found == (rows[i].fault == NULL) &&
			(found ? str_eq(c.monitors, "m")
			       : strstr(err.text, rows[i].fault) != NULL &&
				    strstr(err.text, "entry 1") != NULL),
		    "%s: %s", rows[i].entry, found ? "taken" : err.text);
		is_int(count_logged("config.entry"), found ? 0 : 1,
		    "what is left out is logged once");
		ok(config_find(config, "good", arena, &c, &err) == 0,
		    "and the others work");
	}
	put("config.json",
	    "[{\"clusterID\":\"a\",\"monitors\":1},"
	    "{\"clusterID\":\"a\",\"monitors\":[\"m\"]}]");
	config_reload(config);
	ok(config_find(config, "a", arena, &c, NULL) == 0 &&
		str_eq(c.monitors, "m"),
	    "a good entry of a clusterID counts beside a bad one");
	config_free(config);
	arena_free(arena);
}

int
main(void)
{
	char command[128];

	log_set_sink(keep_log);
	if (mkdtemp(dir) == NULL || loop_init() < 0)
		return 1;
	test_read();
	test_changes();
	test_mapping();
	test_configmap();
	test_late();
	test_entries();
	loop_fini();
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) == 0 ? tap_end() : 1;
}
