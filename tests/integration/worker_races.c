/*
 * worker_races.c - two controllers that know nothing of each other, as two
 * leaders would be, are asked for the same at the same time: volumes, snapshots
 * and copies by the same names, and their deletion. Only what is on the cluster
 * keeps them apart: both have the same answer, and nothing is made twice, lost,
 * or left.
 */
#include "tests/integration/killed_support.h"

#define ROUNDS 10
#define TRIES_MAX 20

static struct talk other;

/* What the two have answered in the last race. */
static json_t *answer[2];
static unsigned refused; /* answers that were none, in all */

/*
 * Asks both for the same until both have done it: one that meets the other may
 * be refused for a moment. False: that does not end.
 */
static bool
race(const char *method, const char *request)
{
	struct talk *talk[2] = { killed_talk(), &other };
	uint64_t id[2];

	for (unsigned i = 0; i < 2; i++) {
		json_decref(answer[i]);
		answer[i] = NULL;
	}
	for (unsigned try = 0; try < TRIES_MAX; try++) {
		for (unsigned i = 0; i < 2; i++)
			id[i] = answer[i] == NULL
			    ? killed_send(talk[i], method, request)
			    : 0;
		for (unsigned i = 0; i < 2; i++)
			if (id[i] != 0) {
				answer[i] = killed_answer(
				    talk[i], method, id[i]);
				refused += answer[i] == NULL;
			}
		if (answer[0] != NULL && answer[1] != NULL)
			return true;
	}
	return false;
}

/* The same, and the ID of what both have made; NULL: they differ. */
static char *
race_for(
    const char *method, const char *request, const char *of, const char *member)
{
	if (!race(method, request) || !json_equal(answer[0], answer[1]))
		return NULL;
	return killed_id(answer[0], of, member);
}

static bool
race_away(const char *method, const char *member, const char *id)
{
	auto_free char *request = NULL;

	if (id == NULL)
		return false;
	request = str_fmt("{\"%s\":\"%s\"}", member, id);
	return race(method, request);
}

static char *
copy_of(const char *name, const char *kind, const char *id)
{
	auto_free char *more = str_fmt(
	    "},\"volumeContentSource\":{\"%s\":{\"%sId\":\"%s\"}}", kind, kind,
	    id);

	return killed_volume_request(name, more);
}

/* All the life of a volume, its snapshot and its copies, twice at once. */
static void
test_same(void)
{
	unsigned volumes = 0, snapshots = 0, restored = 0, cloned = 0, gone = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		auto_free char *name = str_fmt("race-%u", i);
		auto_free char *request = killed_volume_request(name, "}");
		auto_free char *volume = race_for(
		    "CreateVolume", request, "volume", "volumeId");
		auto_free char *snap_request = NULL, *snapshot = NULL;
		auto_free char *restore_name = NULL, *restore_request = NULL;
		auto_free char *clone_name = NULL, *clone_request = NULL;
		auto_free char *restore = NULL, *clone = NULL;

		volumes += volume != NULL && killed_works(killed_pool, volume);
		snap_request = str_fmt(
		    "{\"name\":\"%s\",\"sourceVolumeId\":\"%s\"}", name,
		    volume);
		snapshot = race_for(
		    "CreateSnapshot", snap_request, "snapshot", "snapshotId");
		snapshots += snapshot != NULL;
		restore_name = str_fmt("race-%u-restored", i);
		restore_request = copy_of(restore_name, "snapshot", snapshot);
		restore = race_for(
		    "CreateVolume", restore_request, "volume", "volumeId");
		restored += restore != NULL &&
		    killed_has_data(killed_pool, restore);
		clone_name = str_fmt("race-%u-cloned", i);
		clone_request = copy_of(clone_name, "volume", volume);
		clone = race_for(
		    "CreateVolume", clone_request, "volume", "volumeId");
		cloned += clone != NULL && killed_has_data(killed_pool, clone);
		gone += race_away("DeleteVolume", "volumeId", restore) &&
		    race_away("DeleteSnapshot", "snapshotId", snapshot) &&
		    race_away("DeleteVolume", "volumeId", clone) &&
		    race_away("DeleteVolume", "volumeId", volume);
	}
	(void)killed_ok(
	    volumes == ROUNDS, "two make the same volume: one, which works");
	(void)killed_ok(snapshots == ROUNDS, "and the same snapshot of it");
	(void)killed_ok(
	    restored == ROUNDS, "and the same volume of that, with its data");
	(void)killed_ok(cloned == ROUNDS, "and the same clone, with its data");
	(void)killed_ok(gone == ROUNDS, "and delete all of them");
	diag("%u answers were refusals", refused);
}

/* One deletes by ID what the other is asked for by name. */
static void
test_against(void)
{
	unsigned good = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		auto_free char *name = str_fmt("against-%u", i);
		auto_free char *request = killed_volume_request(name, "}");
		auto_json json_t *first = killed_call("CreateVolume", request);
		auto_free char *volume = killed_id(first, "volume", "volumeId");
		auto_free char *away = str_fmt("{\"volumeId\":\"%s\"}", volume);
		uint64_t makes = killed_send(
		    killed_talk(), "CreateVolume", request);
		uint64_t deletes = killed_send(&other, "DeleteVolume", away);
		auto_json json_t *made = killed_answer(
		    killed_talk(), "CreateVolume", makes);
		auto_json json_t *deleted = killed_answer(
		    &other, "DeleteVolume", deletes);
		auto_free char *again = NULL;

		good += deleted != NULL && race("CreateVolume", request) &&
		    json_equal(answer[0], answer[1]) &&
		    (again = killed_id(answer[0], "volume", "volumeId")) !=
			NULL &&
		    !str_eq(again, volume) &&
		    killed_works(killed_pool, again) &&
		    race_away("DeleteVolume", "volumeId", again);
		(void)made; /* the old one, a new one, or refused */
	}
	(void)killed_ok(good == ROUNDS,
	    "one deletes what the other is asked for: the next call makes it");
}

/* ---- one of two fails ---- */

/* What is made, by whom it is asked for: of `arg`, a source's ID. */
struct made {
	const char *what, *method, *of, *member;
	unsigned writes;  /* there are so many at least */
	unsigned failing; /* of them, the one whose undo is cut off */
	char *(*request)(const char *name, const char *arg);
	const char *arg;
};

static char *
volume_request(const char *name, const char *arg)
{
	(void)arg;
	return killed_volume_request(name, "}");
}

static char *
restore_request(const char *name, const char *arg)
{
	return copy_of(name, "snapshot", arg);
}

static char *
clone_request(const char *name, const char *arg)
{
	return copy_of(name, "volume", arg);
}

static char *
snapshot_request(const char *name, const char *arg)
{
	return str_fmt(
	    "{\"name\":\"%s\",\"sourceVolumeId\":\"%s\"}", name, arg);
}

static bool
delete_made(const struct made *m, const char *id)
{
	bool snapshot = str_eq(m->of, "snapshot");

	return id != NULL &&
	    killed_succeeds(snapshot ? "DeleteSnapshot" : "DeleteVolume",
		str_fmt("{\"%s\":\"%s\"}", m->member, id));
}

/*
 * The case that would lose a name: one has reserved it and stops in front of a
 * write; another one goes on with what is there, and answers; then the first
 * one's write fails. It has to leave what the other has answered for.
 */
static void
test_fails_late(const struct made *m)
{
	unsigned n, good = 0, failed = 0;
	bool stopped = true;

	for (n = 2; stopped; n++) {
		auto_free char *name = str_fmt("late-%s-%u", m->what, n);
		auto_free char *request = m->request(name, m->arg);
		auto_json json_t *late = NULL, *made = NULL, *again = NULL;
		auto_free char *id = NULL;
		struct talk first;
		uint64_t asked;

		killed_start_failing(&first, n, 0, 0, true);
		asked = killed_send(&first, m->method, request);
		stopped = killed_stopped(&first, asked);
		made = killed_call(m->method, request);
		id = killed_id(made, m->of, m->member);
		killed_go_on(&first);
		late = killed_answer(&first, m->method, asked);
		failed += late == NULL;
		(void)talk_end(&first);
		again = killed_call(m->method, request);
		good += made != NULL && json_equal(made, again) &&
		    (late == NULL || json_equal(made, late)) &&
		    (str_eq(m->of, "snapshot") ||
			killed_works(killed_pool, id)) &&
		    delete_made(m, id);
	}
	(void)killed_ok(good == n - 2 && n - 2 >= m->writes,
	    "one fails after another has gone on with it: that stays");
	diag("%s: %u of %u have failed late", m->what, failed, n - 2);
}

/*
 * A write fails, and whoever undoes that is killed in front of a write, or has
 * one fail; the next call makes it. False: there was no such write.
 */
static bool
undo_is_cut(
    const struct made *m, unsigned n, unsigned again, unsigned kill, bool *good)
{
	auto_free char *name = str_fmt(
	    "undo-%s-%u-%u-%u", m->what, n, again, kill);
	auto_free char *request = m->request(name, m->arg);
	auto_json json_t *first = NULL, *made = NULL;
	auto_free char *id = NULL;
	struct talk t;
	bool died;

	killed_start_failing(&t, n, again, kill, false);
	first = killed_answer(
	    &t, m->method, killed_send(&t, m->method, request));
	if (kill == 0)
		(void)talk_purged(&t);
	died = killed_died(&t);
	made = killed_call(m->method, request);
	id = killed_id(made, m->of, m->member);
	*good = (first == NULL || json_equal(first, made)) &&
	    delete_made(m, id);
	if (!*good)
		diag("%s: write %u fails, then %u, or killed at %u", m->what, n,
		    again, kill);
	return died;
}

static void
test_undo_cut(const struct made *m, bool all)
{
	unsigned killed = 0, failed = 0, bad = 0;
	unsigned from = all ? 2 : m->failing;
	unsigned to = all ? m->writes + 2 : m->failing;
	bool good, died;

	for (unsigned n = from; n <= to; n++) {
		unsigned kill = n;

		do {
			died = undo_is_cut(m, n, 0, ++kill, &good);
			killed += died;
			bad += !good;
		} while (died);
		for (unsigned i = 1; i < kill - n + 2; i++) {
			(void)undo_is_cut(m, n, i, 0, &good);
			failed++;
			bad += !good;
		}
	}
	(void)killed_ok(bad == 0,
	    "the undo of a failure is killed, or fails: the next call makes it");
	diag("%s: %u kills, %u failures", m->what, killed, failed);
}

static void
test_failures(const char *only)
{
	auto_free char *volume = killed_volume("source", "}");
	auto_free char *request = snapshot_request("source", volume);
	auto_json json_t *reply = killed_call("CreateSnapshot", request);
	auto_free char *snapshot = killed_id(reply, "snapshot", "snapshotId");
	const struct made kinds[] = {
		{ "volume", "CreateVolume", "volume", "volumeId", 6, 7,
		    volume_request, NULL },
		{ "restore", "CreateVolume", "volume", "volumeId", 8, 9,
		    restore_request, snapshot },
		{ "clone", "CreateVolume", "volume", "volumeId", 16, 17,
		    clone_request, volume },
		{ "snapshot", "CreateSnapshot", "snapshot", "snapshotId", 11,
		    11, snapshot_request, volume },
	};

	for (size_t i = 0; i < countof(kinds); i++) {
		if (only != NULL && !str_eq(only, kinds[i].what))
			continue;
		test_fails_late(&kinds[i]);
		test_undo_cut(&kinds[i], only != NULL);
	}
	(void)killed_ok(killed_succeeds("DeleteSnapshot",
			    str_fmt("{\"snapshotId\":\"%s\"}", snapshot)) &&
		killed_delete_volume(volume),
	    "and their sources are deleted");
}

int
main(int argc, char **argv)
{
	killed_begin(argv);
	killed_start(&other);
	if (argc < 2) { /* else all failures of one kind */
		test_same();
		test_against();
	}
	test_failures(argc < 2 ? NULL : argv[1]);
	(void)killed_ok(
	    talk_purged(killed_talk()) && talk_purged(&other), "all is purged");
	(void)killed_ok(killed_audit(), "an audit finds nothing");
	(void)killed_ok(talk_end(&other), "the other one ends");
	for (unsigned i = 0; i < 2; i++)
		json_decref(answer[i]);
	return killed_end();
}
