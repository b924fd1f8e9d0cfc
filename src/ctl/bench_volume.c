/*
 * bench_volume.c - requests and answers of a volume's steps.
 */
#include "ctl/bench_volume.h"

#include "csi/rpc.h"
#include "ctl/json_pb.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int
make_directory(const char *path, struct err *err)
{
	return mkdir(path, 0750) < 0 && errno != EEXIST
	    ? err_set_rc(err, -errno, "make %s", path)
	    : 0;
}

struct bench_volume *
bench_volume_new(const struct bench_settings *settings, size_t index)
{
	const char *dir = json_get_string(settings->json, "dir");
	struct bench_volume *volume = mem_new(sizeof(*volume));

	volume->index = index;
	volume->name = str_fmt(
	    "bench-%s-%zu", json_get_string(settings->json, "run"), index);
	if (dir != NULL) {
		volume->staging = str_fmt("%s/%s/staging", dir, volume->name);
		volume->target = str_fmt("%s/%s/target", dir, volume->name);
	}
	return volume;
}

int
bench_volume_make_paths(const struct bench_volume *volume, struct err *err)
{
	auto_free char *parent = str_fmt("%.*s",
	    (int)(strrchr(volume->staging, '/') - volume->staging),
	    volume->staging);
	int rc = make_directory(parent, err);

	return rc == 0 ? make_directory(volume->staging, err) : rc;
}

void
bench_volume_free(
    struct bench_volume *volume, const struct bench_settings *settings)
{
	const char *dir = json_get_string(settings->json, "dir");

	if (dir != NULL && volume->tried == 0) {
		auto_free char *parent = str_fmt("%s/%s", dir, volume->name);

		(void)rmdir(volume->staging);
		(void)rmdir(parent);
	}
	for (size_t i = 0; i < BENCH_OBJECTS; i++)
		free(volume->id[i]);
	free(volume->name);
	free(volume->source);
	free(volume->staging);
	free(volume->target);
	json_decref(volume->context);
	json_decref(volume->publish);
	free(volume);
}

/* ---- requests ------------------------------------------------------------ */

static json_t *
capability(const char *fstype)
{
	bool block = str_eq(fstype, "block");
	json_t *cap = json_pack(
	    "{s:{s:s}}", "access_mode", "mode", "SINGLE_NODE_WRITER");

	(void)json_object_set_new(cap, block ? "block" : "mount",
	    block ? json_object() : json_pack("{s:s}", "fs_type", fstype));
	return cap;
}

/* Where the data of a new volume come from; NULL: from nowhere. */
static json_t *
content_source(const struct bench_volume *volume, enum bench_step step)
{
	if (step == BENCH_RESTORE)
		return json_pack(
		    "{s:{s:s?}}", "snapshot", "snapshot_id", volume->source);
	if (step == BENCH_COPY)
		return json_pack("{s:{s:s?}}", "volume", "volume_id",
		    volume->id[BENCH_VOLUME]);
	return NULL;
}

const void *
bench_volume_request(const struct bench_volume *volume,
    const struct bench_settings *settings, enum bench_step step,
    struct arena *arena, size_t *len, struct err *err)
{
	const struct csi_definition *def = bench_rpc(step);
	const json_t *set = settings->json;
	const char *fstype = json_get_string(set, "fstype");
	enum bench_object object = bench_steps[step].object;
	auto_free char *named = str_fmt(
	    "%s%s", volume->name, bench_object_suffix[object]);
	json_t *parameters = json_object_get(set, "parameters");
	auto_json json_t *fields = json_pack(
	    "{s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:O?, s:O?, s:O?, s:O?, s:o, s:[o], s:{s:I}, s:o*, s:O*}",
	    "name", named, "volume_id", volume->id[object], "snapshot_id",
	    volume->id[BENCH_SNAPSHOT], "source_volume_id",
	    volume->id[BENCH_VOLUME], "node_id", json_get_string(set, "node"),
	    "staging_target_path", volume->staging, "target_path",
	    volume->target, "parameters", parameters, "secrets",
	    settings->secrets, "volume_context", volume->context,
	    "publish_context", volume->publish, "volume_capability",
	    capability(fstype), "volume_capabilities", capability(fstype),
	    "capacity_range", "required_bytes",
	    json_integer_value(json_object_get(set, "size")) *
		(step == BENCH_EXPAND ? 2 : 1),
	    "volume_content_source", content_source(volume, step),
	    "accessibility_requirements", json_object_get(set, "topology"));
	ProtobufCMessage *message;
	const char *name;
	json_t *value;
	void *next;

	/* StorageClass parameters are none of a VolumeSnapshotClass. */
	if (step == BENCH_TAKE_SNAPSHOT)
		(void)json_object_set_new(fields, "parameters",
		    json_pack("{s:O*}", "clusterID",
			json_object_get(parameters, "clusterID")));
	/* Who does not stage has no such path. */
	if (json_is_false(json_object_get(set, "stages")))
		(void)json_object_del(fields, "staging_target_path");
	json_object_foreach_safe(fields, next, name, value) if (
	    protobuf_c_message_descriptor_get_field_by_name(def->request,
		name) == NULL)(void) json_object_del(fields, name);
	message = json_pb_read(def->request, fields, arena, err);
	return message != NULL ? csi_pack(message, arena, len, err) : NULL;
}

/* Takes over what an answer has instead of what was known. */
static void
take_json(json_t **place, json_t *json)
{
	json_decref(*place);
	*place = json_incref(json);
}

static void
take_text(char **place, const char *text)
{
	free(*place);
	*place = str_dup(text);
}

int
bench_volume_answer(struct bench_volume *volume, enum bench_step step,
    struct arena *arena, const void *bytes, size_t len, struct err *err)
{
	enum bench_object object = bench_steps[step].object;
	bool snapshot = object == BENCH_SNAPSHOT;
	const void *message = csi_unpack(
	    bench_rpc(step)->reply, arena, bytes, len, err);
	auto_json json_t *reply = message != NULL ? json_pb_write(message, err)
						  : NULL;
	const json_t *made = json_object_get(
	    reply, snapshot ? "snapshot" : "volume");

	if (reply == NULL)
		return -EPROTO;
	if (made != NULL)
		take_text(&volume->id[object],
		    json_get_string(
			made, snapshot ? "snapshotId" : "volumeId"));
	if (step == BENCH_CREATE)
		take_json(
		    &volume->context, json_object_get(made, "volumeContext"));
	if (step == BENCH_CONTROLLER_PUBLISH)
		take_json(
		    &volume->publish, json_object_get(reply, "publishContext"));
	if (bench_step_undoes(step))
		volume->tried &= ~(1U << bench_step_opposite(step));
	return 0;
}

const char *
bench_volume_subject(const struct bench_volume *volume, enum bench_step step)
{
	const char *id = volume->id[bench_steps[step].object];

	if (step == BENCH_PUBLISH || step == BENCH_UNPUBLISH)
		return volume->target;
	if (id == NULL || bench_steps[step].id == CSI_CREATE_VOLUME ||
	    step == BENCH_TAKE_SNAPSHOT)
		return volume->name;
	return id;
}

bool
bench_volume_undo(const struct bench_volume *volume, enum bench_step *step)
{
	enum bench_step last = BENCH_COPY;

	if (volume->tried == 0)
		return false;
	while ((volume->tried & 1U << last) == 0)
		last--;
	/* The ID that a lost answer would have told comes with another one. */
	*step = volume->id[bench_steps[last].object] == NULL
	    ? last
	    : bench_step_opposite(last);
	return true;
}

/* ---- as JSON ----------------------------------------------------------------- */

json_t *
bench_volume_json(const struct bench_volume *volume)
{
	json_t *ids = json_array();

	for (size_t i = 0; i < BENCH_OBJECTS; i++)
		(void)json_array_append_new(ids,
		    volume->id[i] != NULL ? json_string(volume->id[i])
					  : json_null());
	return json_pack("{s:I, s:I, s:o, s:s*, s:O*, s:O*}", "v",
	    (json_int_t)volume->index, "tried", (json_int_t)volume->tried,
	    "ids", ids, "source", volume->source, "context", volume->context,
	    "publish", volume->publish);
}

void
bench_volume_take(struct bench_volume *volume, const json_t *json)
{
	const json_t *ids = json_object_get(json, "ids");

	volume->tried = (unsigned)json_integer_value(
			    json_object_get(json, "tried")) &
	    ((1U << (BENCH_COPY + 1)) - 1);
	for (size_t i = 0; i < BENCH_OBJECTS; i++)
		take_text(
		    &volume->id[i], json_string_value(json_array_get(ids, i)));
	take_text(&volume->source, json_get_string(json, "source"));
	take_json(&volume->context, json_object_get(json, "context"));
	take_json(&volume->publish, json_object_get(json, "publish"));
}
