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

int
main(int argc, char **argv)
{
	(void)argc;
	killed_begin(argv);
	killed_start(&other);
	test_same();
	test_against();
	(void)killed_ok(
	    talk_purged(killed_talk()) && talk_purged(&other), "all is purged");
	(void)killed_ok(killed_audit(), "an audit finds nothing");
	(void)killed_ok(talk_end(&other), "the other one ends");
	for (unsigned i = 0; i < 2; i++)
		json_decref(answer[i]);
	return killed_end();
}
