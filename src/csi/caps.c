/*
 * caps.c - reading a VolumeCapability.
 */
#include "csi/caps.h"

#include "base/rules.h"
#include "csi/volume_id.h"

#include <errno.h>

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

const char *
csi_access_mode_name(Csi__V1__VolumeCapability__AccessMode__Mode mode)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
	    &csi__v1__volume_capability__access_mode__mode__descriptor,
	    (int)mode);

	return value != NULL ? value->name : "UNKNOWN";
}

Csi__V1__VolumeCapability__AccessMode__Mode
csi_access_mode_of(const char *name)
{
	const ProtobufCEnumValue *value =
	    protobuf_c_enum_descriptor_get_value_by_name(
		&csi__v1__volume_capability__access_mode__mode__descriptor,
		name);

	return value != NULL
	    ? (Csi__V1__VolumeCapability__AccessMode__Mode)value->value
	    : MODE(UNKNOWN);
}

int
csi_access_of(const Csi__V1__VolumeCapability *cap, const char *field,
    struct csi_access *out, struct err *err)
{
	static const struct csi_access modes[] = {
		{ .mode = MODE(SINGLE_NODE_WRITER) },
		{ .mode = MODE(SINGLE_NODE_SINGLE_WRITER) },
		{ .mode = MODE(SINGLE_NODE_MULTI_WRITER) },
		{ .mode = MODE(SINGLE_NODE_READER_ONLY), .read_only = true },
		{ .mode = MODE(MULTI_NODE_READER_ONLY),
		    .read_only = true,
		    .multi_node = true },
		{ .mode = MODE(MULTI_NODE_SINGLE_WRITER), .multi_node = true },
		{ .mode = MODE(MULTI_NODE_MULTI_WRITER),
		    .multi_node = true,
		    .multi_writer = true },
	};
	bool block;

	if (cap == NULL)
		return csi_invalid(err, "%s: missing", field);
	block = cap->access_type_case ==
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
	if (!block &&
	    cap->access_type_case !=
		CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT)
		return csi_invalid(
		    err, "%s.access_type: neither block nor mount", field);
	if (cap->access_mode == NULL)
		return csi_invalid(err, "%s.access_mode: missing", field);
	for (size_t i = 0; i < countof(modes); i++)
		if (modes[i].mode == cap->access_mode->mode) {
			*out = modes[i];
			out->block = block;
			out->fs_type = block ? "" : cap->mount->fs_type;
			return 0;
		}
	return csi_invalid(err, "%s.access_mode.mode: unknown (%d)", field,
	    (int)cap->access_mode->mode);
}

int
csi_access_supported(
    const struct csi_access *access, const char *field, struct err *err)
{
	if (!access->block && access->multi_node && !access->read_only)
		return csi_invalid(err,
		    "%s.access_mode.mode: %s needs a block volume, a file system has one writing node",
		    field, csi_access_mode_name(access->mode));
	if (!access->block && *access->fs_type != '\0' &&
	    !rules_fs_type_is_known(access->fs_type))
		return csi_invalid(err,
		    "%s.mount.fs_type: \"%.32s\" is not supported; " RULES_FS_TYPES
		    " are",
		    field, access->fs_type);
	return 0;
}

int
csi_capabilities_supported(
    Csi__V1__VolumeCapability *const *caps, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct csi_access access = { .fs_type = "" };
		char field[48];
		int rc = str_put(
		    field, sizeof(field), "volume_capabilities[%zu]", i);

		if (rc == 0)
			rc = csi_access_of(caps[i], field, &access, err);
		if (rc == 0)
			rc = csi_access_supported(&access, field, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}
