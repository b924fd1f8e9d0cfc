/*
 * flatten.c - when what is flattened before a copy is made, who waits for it,
 * and that a worker that dies over it loses nothing.
 */
#include "controller/flatten.h"
#include "base/clock.h"
#include "base/log.h"
#include "controller/controller.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/op/controller_run.h"
#include "tests/tap.h"

#include <errno.h>

#define UUID "70170170-0000-4000-8000-000000000002"
#define VOLUME "csi-vol-" UUID
#define NOTES "csi.flatten.default"

static void
snapshot(const char *name)
{
	auto_free char *text = str_fmt(
	    "{\"name\":\"%s\",\"sourceVolumeId\":\"0001-0001-c-"
	    "0000000000000001-" UUID "\","
	    "\"secrets\":{\"userID\":\"csi\",\"userKey\":\"k\"}}",
	    name);
	auto_json json_t *in = json_loads(text, 0, NULL);
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const void *request = json_pb_read(
	    csi_definitions[CSI_CREATE_SNAPSHOT].request, in, arena, &err);

	if (request == NULL)
		abort();
	run("CreateSnapshot", request);
	arena_free(arena);
}

/* The volume, a clone of image-1, which is one of image-2, and so on. */
static void
prepare(unsigned parents)
{
	fake_clear();
	fake_put_image(VOLUME);
	fake_put_key("csi.volume." UUID, "csi.volname", "source");
	fake_put_key("csi.volume." UUID, "csi.imagename", VOLUME);
	fake_put_key("csi.volume." UUID, "csi.imageid", fake_image_id(VOLUME));
	for (unsigned i = 1; i <= parents; i++) {
		auto_free char *name = str_fmt("image-%u", i);
		auto_free char *child = i == 1 ? str_dup(VOLUME)
					       : str_fmt("image-%u", i - 1);

		fake_put_image(name);
		fake_set_clone_of(child, name, fake_snapshot(name, "s"));
		fake_unsnapshot(name, "s");
	}
	fake_put_object("csi.purge.default");
}

static bool
has_note(void)
{
	return strstr(fake_store(), NOTES ":") != NULL;
}

static bool
flattens(void)
{
	return strstr(fake_log(), "flatten") != NULL;
}

/* Is nothing of the snapshot there, and no note either? */
static bool
is_made(void)
{
	if (err_is_set(&out.err))
		diag("%s", out.err.text);
	return !err_is_set(&out.err) && !has_note();
}

/*
 * With the limits 8 and 4, which are lowered by three for what is made of a
 * volume: a parent that is no clone is left alone, a clone is flattened in the
 * background, and one of five parents is waited for.
 */
static void
test_chains(void)
{
	static const struct {
		unsigned parents;
		bool flattened, before;
		const char *what;
	} rows[] = {
		{ 0, false, false, "no clone" },
		{ 1, false, false, "a clone of what is none" },
		{ 2, true, false, "a clone of a clone" },
		{ 5, true, false, "a clone of four parents" },
		{ 6, true, true, "a clone of five parents" },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		const char *flatten, *reserve;

		prepare(rows[i].parents);
		begin();
		snapshot("snap");
		ok(is_made(), "of %s a snapshot is made", rows[i].what);
		flatten = strstr(fake_log(), "flatten");
		reserve = strstr(fake_log(), "write-dir");
		ok((flatten != NULL) == rows[i].flattened &&
			(!rows[i].before || flatten < reserve),
		    "its parent is flattened: %s%s (%s)",
		    rows[i].flattened ? "yes" : "no",
		    rows[i].before ? ", and first" : "", fake_log());
		end("chain", rows[i].parents);
	}

	prepare(6);
	fake_trash("image-1");
	begin();
	snapshot("snap");
	ok(is_made() && strstr(fake_log(), "flatten") != NULL,
	    "a parent in the trash needs no flattening: the volume is");
	fake_script(FAKE_NONE, 0, 0);
	snapshot("other");
	ok(is_made() && !flattens(), "after that it is no clone any more");
	end("trash", 0);
}

/* A flatten of several slices of time keeps the snapshot waiting, and no other. */
static void
test_slices(void)
{
	struct flatten_counts counts;

	prepare(6);
	begin();
	fake_flatten_slowly(3);
	snapshot("snap");
	ok(is_made(), "a flatten that takes four slices is waited for");
	flatten_count(&counts);
	ok(counts.done == 1 && counts.failed == 0 && counts.running == 0,
	    "and counted");
	end("slices", 0);
}

/* Each wait fails once. */
static void
test_fails(void)
{
	bool sound = true, failed = true;
	unsigned n;

	for (n = 1; failed; n++) {
		prepare(6);
		begin();
		fake_script(FAKE_FAIL, n, -EIO);
		snapshot("snap");
		failed = fake_calls() >= n;
		if (strstr(fake_store(), "csi.reserve.snap") != NULL) {
			diag("wait %u: %s", n, fake_store());
			sound = false;
		}
		end("fails", n);
		begin();
		snapshot("snap");
		if (!is_made()) {
			diag("wait %u fails, and then: %s", n, fake_store());
			sound = false;
		}
		end("fails", n);
	}
	ok(sound && n > 15,
	    "each of %u waits has failed; the next worker goes on", n - 2);
}

/* Snapshots in the volume's trash, each with a clone. */
static void
put_clones(unsigned n)
{
	for (unsigned i = 1; i <= n; i++) {
		auto_free char *name = str_fmt("clone-%u", i);

		fake_put_image(name);
		fake_set_clone_of(name, VOLUME, fake_snapshot(VOLUME, name));
		fake_unsnapshot(VOLUME, name);
	}
}

static unsigned
count_of(const char *word)
{
	const char *at = fake_log();
	unsigned n = 0;

	while ((at = strstr(at, word)) != NULL) {
		at += strlen(word);
		n++;
	}
	return n;
}

/* Of whoever is held in the background: time passes. */
static unsigned holds, kept;
static const char *parent; /* of whoever is held */

static void
on_state(struct op *op, const char *state)
{
	(void)op;
	if (!str_eq(state, "FLATTENING_HELD"))
		return;
	holds++;
	kept += fake_trashed(parent);
	clock_fake(clock_now_ms() + INT64_C(31) * 1000);
}

/* A reader keeps the parent's snapshot, but nobody who waits for the chain. */
static void
test_held(void)
{
	struct flatten_counts counts;
	const char *part, *reserve;

	prepare(6);
	begin();
	op_set_hook(on_state);
	parent = "image-2";
	fake_read(2);
	snapshot("snap");
	part = strstr(fake_log(), "part");
	reserve = strstr(fake_log(), "write-dir");
	ok(is_made() && holds == 2 && part < reserve && count_of("part") == 3,
	    "who waits for the chain does not wait for readers: %s",
	    fake_log());
	ok(kept == 2 && fake_trashed("image-2") == 0,
	    "for whom the parent keeps its snapshot until they are gone");
	flatten_count(&counts);
	ok(counts.done == 1 && counts.running + counts.waiting == 0,
	    "it is counted once");
	end("held", 0);

	env.snapshots_min = 2;
	env.snapshots_max = 4;
	prepare(0);
	put_clones(5);
	begin();
	parent = VOLUME;
	fake_read(40);
	snapshot("snap");
	ok(out.err.code == ERR_RESOURCE_EXHAUSTED && fake_trashed(VOLUME) == 0,
	    "who waits for a snapshot to be freed is told: %s", out.err.text);
	snapshot("snap");
	ok(is_made(), "and gets his one when they are closed");
	end("held", 1);
	env.snapshots_min = 250;
	env.snapshots_max = 450;
	op_set_hook(NULL);
}

static void
snapshot_step(const char *name)
{
	snapshot(name);
}

static void
snapshot_held_step(const char *name)
{
	op_set_hook(on_state);
	parent = "image-2";
	fake_read(1);
	snapshot(name);
}

static void
test_killed(enum fake_fault fault, void (*step)(const char *), unsigned most)
{
	bool killed = true, sound = true, noted = false, now;
	unsigned n;

	for (n = 1; n < most && killed; n++) {
		prepare(6);
		killed = in_child(step, "snap", fault, n);
		now = killed && has_note();
		noted = noted || now;
		begin();
		if (has_note()) {
			diag("killed at %u: the note is not taken up", n);
			sound = false;
		}
		if (now && fake_trashed("image-2") > 0) {
			diag("killed at %u: a snapshot is left", n);
			sound = false;
		}
		snapshot("snap");
		sound = is_made() && sound;
		end("killed", n);
	}
	ok(sound && noted && n > 15 && n < most,
	    "killed at each of %u calls: the next worker takes the note up, and the next call succeeds",
	    n - 2);
}

static void
test_counts(void)
{
	env.snapshots_min = 2;
	env.snapshots_max = 4;

	prepare(0);
	put_clones(2);
	begin();
	fake_script(FAKE_NONE, 0, 0);
	snapshot("snap");
	ok(is_made() && !flattens(), "two snapshots are not too many");
	end("counts", 0);

	prepare(0);
	put_clones(4);
	begin();
	fake_script(FAKE_NONE, 0, 0);
	snapshot("snap");
	ok(is_made() && count_of(" flatten") - count_of(" flattens") >= 2,
	    "of four, two clones are flattened in the background: %s",
	    fake_log());
	end("counts", 0);

	prepare(0);
	put_clones(5);
	fake_trash("clone-1");
	begin();
	fake_script(FAKE_NONE, 0, 0);
	snapshot("snap");
	ok(is_made() &&
		strstr(fake_log(), " flatten") <
		    strstr(fake_log(), "write-dir"),
	    "of five, one is waited for: %s", fake_log());
	end("counts", 0);

	prepare(0);
	for (unsigned i = 0; i < 5; i++) {
		auto_free char *name = str_fmt("mine-%u", i);

		(void)fake_snapshot(VOLUME, name);
	}
	begin();
	snapshot("snap");
	ok(out.err.code == ERR_RESOURCE_EXHAUSTED &&
		strstr(out.err.text, "5 snapshots, more than the 4 of"),
	    "five of a user's own are refused: %s", out.err.text);
	end("counts", 0);
	env.snapshots_min = 250;
	env.snapshots_max = 450;
}

int
main(void)
{
	fake_init();
	if (loop_init() < 0)
		return 1;
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	test_chains();
	test_slices();
	test_fails();
	test_held();
	test_killed(FAKE_KILL, snapshot_step, 45);
	test_killed(FAKE_KILL_DONE, snapshot_step, 45);
	test_killed(FAKE_KILL, snapshot_held_step, 45);
	test_killed(FAKE_KILL_DONE, snapshot_held_step, 45);
	test_counts();
	loop_fini();
	return tap_end();
}
