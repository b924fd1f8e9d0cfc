/*
 * worker_killed.c - ceph-worker killed at each write of the calls for a volume
 * by itself: killed_support.h tells how. copies_killed.c has snapshots and
 * copies.
 */
#include "tests/integration/killed_support.h"

static bool
made(struct act *act, const json_t *reply)
{
	act->id = killed_id(reply, "volume", "volumeId");
	return act->id != NULL && killed_works(killed_pool, act->id);
}

static bool
prepare(struct act *act)
{
	act->id = killed_volume(act->name, "}");
	return act->id != NULL;
}

static bool
clean(struct act *act)
{
	return killed_delete_volume(act->id);
}

static bool
clean_nothing(struct act *act)
{
	(void)act;
	return true;
}

/* ---- CreateVolume, DeleteVolume ---- */

static char *
create_request(const struct act *act)
{
	return killed_volume_request(act->name, "}");
}

static char *
create_apart_request(const struct act *act)
{
	return killed_volume_request(act->name,
	    ",\"imageFeatures\":\"layering\",\"dataPool\":\"" KILLED_OTHER
	    "\"}");
}

static bool
create_goes_on(const struct act *act)
{
	return ceph_csi_can_create(act->name);
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

/* ---- ControllerExpandVolume, ControllerModifyVolume ---- */

static char *
expand_request(const struct act *act)
{
	return str_fmt("{\"volumeId\":\"%s\",\"capacityRange\":"
		       "{\"requiredBytes\":\"%lld\"}}",
	    act->id, (long long)(16 * KILLED_MIB));
}

static bool
expanded(struct act *act, const json_t *reply)
{
	return str_eq(json_get_string(reply, "capacityBytes"), "16777216") &&
	    killed_works(killed_pool, act->id);
}

static char *
modify_request(const struct act *act)
{
	return str_fmt("{\"volumeId\":\"%s\",\"mutableParameters\":"
		       "{\"baseIops\":\"100\"}}",
	    act->id);
}

static bool
modified(struct act *act, const json_t *reply)
{
	auto_free char *iops = support_sh_line(
	    "rbd image-meta get " KILLED_POOL
	    "/csi-vol-%s conf_rbd_qos_iops_limit",
	    act->id + strlen(act->id) - 36);

	(void)reply;
	return str_eq(iops, "100");
}

/* ---- ControllerPublishVolume, ControllerUnpublishVolume ---- */

static char *
publish_request(const struct act *act)
{
	return str_fmt("{\"volumeId\":\"%s\",\"nodeId\":\"node-1\","
		       "\"volumeCapability\":{\"mount\":{},\"accessMode\":"
		       "{\"mode\":\"SINGLE_NODE_WRITER\"}},"
		       "\"volumeContext\":{\"cephxPerVolume\":\"true\"}}",
	    act->id);
}

static bool
published(struct act *act, const json_t *reply)
{
	const char *user = json_get_string(
	    json_object_get(reply, "publishContext"), "userID");

	(void)act;
	return user != NULL && str_starts(user, "rbd-csi.") &&
	    support_sh(true, "ceph auth get client.%s", user) == 0;
}

static bool
prepare_published(struct act *act)
{
	auto_free char *request = NULL;
	auto_json json_t *reply = NULL;

	if (!prepare(act))
		return false;
	request = publish_request(act);
	reply = killed_call("ControllerPublishVolume", request);
	return reply != NULL;
}

static char *
unpublish_request(const struct act *act)
{
	return str_fmt("{\"volumeId\":\"%s\",\"nodeId\":\"node-1\"}", act->id);
}

static bool
clean_published(struct act *act)
{
	return act->id != NULL &&
	    killed_succeeds(
		"ControllerUnpublishVolume", unpublish_request(act)) &&
	    killed_delete_volume(act->id);
}

static const struct sweep sweeps[] = {
	{
	    .what = "create",
	    .method = "CreateVolume",
	    .writes = 6,
	    .request = create_request,
	    .check = made,
	    .goes_on = create_goes_on,
	    .clean = clean,
	},
	{
	    .what = "create with a data pool",
	    .method = "CreateVolume",
	    .writes = 5,
	    .request = create_apart_request,
	    .check = made,
	    .goes_on = create_goes_on,
	    .clean = clean,
	},
	{
	    .what = "delete",
	    .method = "DeleteVolume",
	    .writes = 8,
	    .purges = true,
	    .prepare = prepare,
	    .request = delete_request,
	    .goes_on = delete_goes_on,
	    .clean = clean_nothing,
	},
	{
	    .what = "expand",
	    .method = "ControllerExpandVolume",
	    .writes = 2,
	    .prepare = prepare,
	    .request = expand_request,
	    .check = expanded,
	    .clean = clean,
	},
	{
	    .what = "modify",
	    .method = "ControllerModifyVolume",
	    .writes = 1,
	    .prepare = prepare,
	    .request = modify_request,
	    .check = modified,
	    .clean = clean,
	},
	{
	    .what = "publish",
	    .method = "ControllerPublishVolume",
	    .writes = 3,
	    .prepare = prepare,
	    .request = publish_request,
	    .check = published,
	    .clean = clean_published,
	},
	{
	    .what = "unpublish",
	    .method = "ControllerUnpublishVolume",
	    .writes = 3,
	    .prepare = prepare_published,
	    .request = unpublish_request,
	    .clean = clean,
	},
	{
	    .what = "delete what is published",
	    .method = "DeleteVolume",
	    .writes = 10,
	    .purges = true,
	    .prepare = prepare_published,
	    .request = delete_request,
	    .goes_on = delete_goes_on,
	    .clean = clean_nothing,
	},
};

int
main(int argc, char **argv)
{
	(void)argc;
	killed_begin(argv);
	for (size_t i = 0; i < countof(sweeps); i++)
		killed_sweep(&sweeps[i]);
	return killed_end();
}
