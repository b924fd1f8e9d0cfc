/*
 * caps.h - what a VolumeCapability asks for.
 */
#ifndef CSI_CAPS_H
#define CSI_CAPS_H

#include "base/err.h"
#include "base/str.h"
#include "csi.pb-c.h"

struct csi_access {
	bool block;        /* raw block device, else a file system */
	bool read_only;    /* a reader-only mode */
	bool multi_node;   /* several nodes at once */
	bool multi_writer; /* several of them write */
	Csi__V1__VolumeCapability__AccessMode__Mode mode;
	const char *fs_type; /* "" : not given, or block */
};

/*
 * Reads one capability. `field` is its name in the request, for the text.
 * Returns 0 or INVALID_ARGUMENT: NULL, no access type, mode unknown.
 */
int csi_access_of(const Csi__V1__VolumeCapability *cap, const char *field,
    struct csi_access *out, struct err *err) must_check;

/*
 * Whether RBD can give it: a file system has one writing node, or only
 * readers, and is one that we can make. Returns 0 or INVALID_ARGUMENT.
 */
int csi_access_supported(const struct csi_access *access, const char *field,
    struct err *err) must_check;

/* A mode as the text has it; UNKNOWN for what is none. */
Csi__V1__VolumeCapability__AccessMode__Mode csi_access_mode_of(
    const char *name);

/* All of volume_capabilities; INVALID_ARGUMENT names the first that is not. */
int csi_capabilities_supported(Csi__V1__VolumeCapability *const *caps,
    size_t count, struct err *err) must_check;

/* "SINGLE_NODE_WRITER" and so on. */
const char *csi_access_mode_name(
    Csi__V1__VolumeCapability__AccessMode__Mode mode);

#endif
