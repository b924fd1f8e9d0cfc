/*
 * validate_capabilities.c - ValidateVolumeCapabilities: is the volume there,
 * and can it be used in these ways. What was not compared is not confirmed.
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "base/features.h"
#include "csi.pb-c.h"
#include "csi/caps.h"

#include <errno.h>
#include <stdlib.h>

enum validate_capabilities_state {
	VALIDATECAP_START = 0,
	VALIDATECAP_FOUND,     /* the volume and its image are there */
	VALIDATECAP_META_READ, /* the limits that it has, if asked for */
	VALIDATECAP_END,
};

struct validate_capabilities {
	struct csi_rpc rpc;
	enum validate_capabilities_state state;
	const Csi__V1__ValidateVolumeCapabilitiesRequest *req;
	struct csi_map context;
	struct volume_lookup volume;
	struct image_meta_list list; /* if there are mutable_parameters */
};

/*
 * Does the volume have what the request says of it? 1: yes, 0: that cannot be
 * told, -EINVAL: no, and err says what it has.
 */
static int
compare(const struct validate_capabilities *v, const char *field,
    const char *key, const char *asked, struct err *err)
{
	const struct volume_lookup *volume = &v->volume;
	const struct layout *layout = &volume->info->layout;
	const char *image = volume->image;
	const struct {
		const char *key, *has;
	} texts[] = {
		{ "clusterID", v->rpc.env->cluster_id },
		{ "pool", ceph_pool_name(volume->pool) },
		{ "imageName", image },
		{ "volumeNamePrefix",
		    str_starts(image, asked) ? asked : image },
	};
	const struct {
		const char *key;
		uint64_t has;
	} numbers[] = {
		{ "objectSize", UINT64_C(1) << layout->order },
		{ "stripeUnit", layout->stripe_unit },
		{ "stripeCount", layout->stripe_count },
	};
	char names[128];
	uint64_t n;
	bool yes;
	int rc;

	for (size_t i = 0; i < countof(texts); i++)
		if (str_eq(key, texts[i].key))
			return str_eq(texts[i].has, asked)
			    ? 1
			    : err_set(err, ERR_INVALID_ARGUMENT,
				  "%s: the volume has \"%s\", not \"%s\"",
				  field, texts[i].has, asked);
	for (size_t i = 0; i < countof(numbers); i++)
		if (str_eq(key, numbers[i].key))
			return str_to_u64(asked, &n) == 0 && n == numbers[i].has
			    ? 1
			    : err_set(err, ERR_INVALID_ARGUMENT,
				  "%s: the volume has %llu, not \"%s\"", field,
				  (unsigned long long)numbers[i].has, asked);
	if (str_eq(key, "staticVolume"))
		return csi_parse_bool(asked, &yes) == 0 &&
		    yes == volume->is_static;
	if (!str_eq(key, "imageFeatures"))
		return 0;
	rc = csi_features_parse(asked, &n, err);
	if (rc < 0) {
		err_prefix(err, "%s", field);
		return rc;
	}
	if ((n & ~volume->info->features) == 0)
		return 1;
	features_fmt(n & ~volume->info->features, names, sizeof(names));
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "%s: the volume does not have %s", field, names);
}

/*
 * Copies what the volume has to the reply's map, and leaves out what nobody
 * has compared. -EINVAL: something else was asked for.
 */
static int
confirm_map(const struct validate_capabilities *v, const char *name,
    void *confirmed, struct err *err)
{
	struct csi_map map = csi_map_field(v->req, name);

	for (size_t i = 0; i < map.count; i++) {
		const char *key = csi_map_key(&map, i);
		const char *value = csi_map_value(&map, i);
		const char *field = arena_fmt(
		    v->rpc.arena, "%s.%.64s", name, key);
		int rc = compare(v, field, key, value, err);

		if (rc < 0)
			return rc;
		if (rc > 0)
			volume_map_put(
			    v->rpc.arena, confirmed, name, key, value);
	}
	return 0;
}

static int
confirm(const struct validate_capabilities *v,
    Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *confirmed,
    struct err *err)
{
	struct csi_map mutable = csi_map_of(v->req, mutable_parameters);
	struct csi_qos asked, stored = { .given = { NULL } };
	const char *lacks;
	int rc = csi_capabilities_supported(
	    v->req->volume_capabilities, v->req->n_volume_capabilities, err);

	if (rc < 0)
		return rc;
	confirmed->n_volume_capabilities = v->req->n_volume_capabilities;
	confirmed->volume_capabilities = v->req->volume_capabilities;
	for (size_t i = 0; i < v->list.n; i++)
		csi_qos_take(
		    &stored, v->list.meta[i].key, v->list.meta[i].value);
	if ((rc = csi_qos_parse(&mutable, &asked, err)) < 0)
		return rc;
	lacks = csi_qos_lacks(&stored, &asked);
	if (lacks != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mutable_parameters.%s: the volume has another one", lacks);
	confirmed->n_mutable_parameters = v->req->n_mutable_parameters;
	confirmed->mutable_parameters = (void *)v->req->mutable_parameters;
	rc = confirm_map(v, "volume_context", confirmed, err);
	return rc < 0 ? rc : confirm_map(v, "parameters", confirmed, err);
}

static enum op_verdict
validate_capabilities_step(struct op *op)
{
	struct validate_capabilities *v = (struct validate_capabilities *)op;
	Csi__V1__ValidateVolumeCapabilitiesResponse *reply;
	Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *confirmed;
	struct err err = ERR_INIT;

	switch (v->state) {
	case VALIDATECAP_START:
		v->req = v->rpc.request;
		v->context = csi_map_of(v->req, volume_context);
		volume_lookup_start(&v->volume, &v->rpc, v->req->volume_id,
		    &v->context, &op->wake);
		return op_await(v, VALIDATECAP_FOUND);

	case VALIDATECAP_FOUND:
		if (op->rc < 0)
			return op_fail_as(v, VALIDATECAP_END, volume.op);
		if (v->req->n_mutable_parameters == 0)
			return op_goto(v, VALIDATECAP_META_READ);
		image_meta_list_start(
		    &v->list, v->volume.pool, v->volume.info->id, 0, &op->wake);
		return op_await(v, VALIDATECAP_META_READ);

	case VALIDATECAP_META_READ:
		if (v->req->n_mutable_parameters > 0 && op->rc < 0)
			return op_fail_as(v, VALIDATECAP_END, list);
		/*
		 * Confirmed means: all that was compared; else the message
		 * tells what not.
		 */
		reply = csi_rpc_reply(&v->rpc);
		confirmed = csi_new(
		    &csi__v1__validate_volume_capabilities_response__confirmed__descriptor,
		    v->rpc.arena);
		if (confirm(v, confirmed, &err) == 0)
			reply->confirmed = confirmed;
		else
			reply->message = arena_strdup(v->rpc.arena, err.text);
		return op_goto(v, VALIDATECAP_END);

	case VALIDATECAP_END:
		image_meta_list_fini(&v->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class validate_capabilities_class = {
	.name = "ValidateVolumeCapabilities",
	.step = validate_capabilities_step,
};

const struct csi_impl validate_capabilities_impl = {
	.cls = &validate_capabilities_class,
	.size = sizeof(struct validate_capabilities),
};
