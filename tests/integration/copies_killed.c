/*
 * copies_killed.c - ceph-worker killed at each write of the calls for snapshots
 * and copies, and while it flattens: killed_support.h tells how.
 */
#include "tests/integration/killed_support.h"

static char *source, *snapshot; /* of that */

/* CreateVolume from a "snapshot" or a "volume". */
static char *
copy_request(const char *name, const char *kind, const char *id)
{
	auto_free char *more = str_fmt(
	    "},\"volumeContentSource\":{\"%s\":{\"%sId\":\"%s\"}}", kind, kind,
	    id);

	return killed_volume_request(name, more);
}

static char *
create_snapshot_request(const struct act *act)
{
	return str_fmt(
	    "{\"name\":\"%s\",\"sourceVolumeId\":\"%s\"}", act->name, source);
}

static bool
snapped(struct act *act, const json_t *reply)
{
	act->id = killed_id(reply, "snapshot", "snapshotId");
	return act->id != NULL;
}

static bool
make_snapshot(const char *name, char **id)
{
	auto_free char *request = create_snapshot_request(
	    &(struct act){ .name = (char *)(uintptr_t)name });
	auto_json json_t *reply = killed_call("CreateSnapshot", request);

	*id = killed_id(reply, "snapshot", "snapshotId");
	return *id != NULL;
}

static bool
delete_snapshot(const char *id)
{
	return id != NULL &&
	    killed_succeeds(
		"DeleteSnapshot", str_fmt("{\"snapshotId\":\"%s\"}", id));
}

static bool
clean_volume(struct act *act)
{
	return killed_delete_volume(act->id);
}

static bool
clean_nothing(struct act *act)
{
	(void)act;
	return true;
}

static bool
goes_on(const struct act *act)
{
	return ceph_csi_can_create(act->name);
}

/* ---- copies ---- */

static char *
restore_request(const struct act *act)
{
	return copy_request(act->name, "snapshot", snapshot);
}

static char *
clone_request(const struct act *act)
{
	return copy_request(act->name, "volume", source);
}

static bool
copied(struct act *act, const json_t *reply)
{
	act->id = killed_id(reply, "volume", "volumeId");
	return act->id != NULL && killed_has_data(killed_pool, act->id);
}

/* Into another pool. */
static char *
restore_apart_request(const struct act *act)
{
	auto_free char *request = restore_request(act);
	auto_json json_t *json = json_loads(request, 0, NULL);

	(void)json_object_set_new(json_object_get(json, "parameters"), "pool",
	    json_string(KILLED_OTHER));
	return json_dumps(json, 0);
}

static bool
copied_apart(struct act *act, const json_t *reply)
{
	act->id = killed_id(reply, "volume", "volumeId");
	return act->id != NULL && killed_has_data(killed_other, act->id);
}

/* ---- CreateSnapshot, DeleteSnapshot ---- */

/* It has the data: a volume that is made of it shows. */
static bool
clean_snapshot(struct act *act)
{
	auto_free char *request = copy_request("probe", "snapshot", act->id);
	auto_json json_t *reply = killed_call("CreateVolume", request);
	auto_free char *probe = killed_id(reply, "volume", "volumeId");

	return probe != NULL && killed_has_data(killed_pool, probe) &&
	    killed_delete_volume(probe) && delete_snapshot(act->id);
}

static bool
prepare_snapshot(struct act *act)
{
	return make_snapshot(act->name, &act->id);
}

static char *
delete_snapshot_request(const struct act *act)
{
	return str_fmt("{\"snapshotId\":\"%s\"}", act->id);
}

/* ---- DeleteVolume of a copy ---- */

static bool
prepare_clone(struct act *act)
{
	auto_free char *request = clone_request(act);
	auto_json json_t *reply = killed_call("CreateVolume", request);

	act->id = killed_id(reply, "volume", "volumeId");
	return act->id != NULL;
}

static char *
delete_request(const struct act *act)
{
	return str_fmt("{\"volumeId\":\"%s\"}", act->id);
}

static bool
delete_goes_on(const struct act *act)
{
	return ceph_csi_can_delete(act->id);
}

/* ---- flattening: of a snapshot whose copy would be too deep ---- */

static bool
prepare_deep(struct act *act)
{
	return make_snapshot(act->name, &act->of);
}

static char *
deep_request(const struct act *act)
{
	return copy_request(act->name, "snapshot", act->of);
}

static bool
clean_deep(struct act *act)
{
	auto_free char *parent = support_sh_line("rbd info " KILLED_POOL
						 "/csi-snap-%s | grep parent:",
	    act->of + strlen(act->of) - 36);

	/*
	 * Who was killed before the note has asked for nothing. That is not
	 * always the first write: first a worker reads what notes there are,
	 * and meanwhile the copy goes on.
	 */
	bool flat = *parent == '\0' || !act->flattens;

	if (!flat)
		diag("%s has a parent still: %s", act->name, parent);
	return flat && killed_has_data(killed_pool, act->id) &&
	    killed_delete_volume(act->id) && delete_snapshot(act->of);
}

static const struct sweep sweeps[] = {
	{
	    .what = "snapshot",
	    .method = "CreateSnapshot",
	    .writes = 10,
	    .request = create_snapshot_request,
	    .check = snapped,
	    .clean = clean_snapshot,
	},
	{
	    .what = "restore",
	    .method = "CreateVolume",
	    .writes = 6,
	    .request = restore_request,
	    .check = copied,
	    .goes_on = goes_on,
	    .clean = clean_volume,
	},
	{
	    .what = "restore into another pool",
	    .method = "CreateVolume",
	    .writes = 6,
	    .request = restore_apart_request,
	    .check = copied_apart,
	    .clean = clean_volume,
	},
	{
	    .what = "clone",
	    .method = "CreateVolume",
	    .writes = 15,
	    .request = clone_request,
	    .check = copied,
	    .goes_on = goes_on,
	    .clean = clean_volume,
	},
	{
	    .what = "delete a clone",
	    .method = "DeleteVolume",
	    .writes = 15,
	    .purges = true,
	    .prepare = prepare_clone,
	    .request = delete_request,
	    .goes_on = delete_goes_on,
	    .clean = clean_nothing,
	},
	{
	    .what = "delete a snapshot",
	    .method = "DeleteSnapshot",
	    .writes = 10,
	    .purges = true,
	    .prepare = prepare_snapshot,
	    .request = delete_snapshot_request,
	    .clean = clean_nothing,
	},
	{
	    .what = "flatten",
	    .method = "CreateVolume",
	    .writes = 12,
	    .soft = 1,
	    .purges = true,
	    .prepare = prepare_deep,
	    .request = deep_request,
	    .check = copied,
	    .clean = clean_deep,
	},
};

int
main(int argc, char **argv)
{
	(void)argc;
	killed_begin(argv);
	source = killed_volume("source", "}");
	if (!killed_ok(source != NULL && make_snapshot("snapshot", &snapshot),
		"there is a volume to be copied, and a snapshot of it"))
		return 1;
	for (size_t i = 0; i < countof(sweeps); i++)
		killed_sweep(&sweeps[i]);
	(void)killed_ok(
	    delete_snapshot(snapshot) && killed_delete_volume(source),
	    "the snapshot and the volume are deleted");
	free(source);
	free(snapshot);
	return killed_end();
}
