/*
 * volume_key.h - the key of a volume or a snapshot that is being made, and
 * what journal and image tell of its encryption.
 *
 * The rule that holds it together: a new volume gets a key of its own before
 * it has an image, a copy that of what it is a copy of, since the LUKS header
 * is copied, too; the key is then kept for the copy's own identifier. What
 * tells of it is written with the image's header, once: a retry never replaces
 * the key of an image that is there.
 */
#ifndef CONTROLLER_VOLUME_KEY_H
#define CONTROLLER_VOLUME_KEY_H

#include "controller/kms.h"
#include "controller/volume_source.h"

enum volume_key_state {
	VOLUMEKEY_START = 0,
	VOLUMEKEY_GOT, /* that of the source is known, or there is no source */
	VOLUMEKEY_PUT, /* it is kept */
	VOLUMEKEY_END,
};

struct volume_key {
	struct op op;
	enum volume_key_state state;
	const struct csi_rpc *rpc;
	const char *kms_id;
	const struct volume_source *source;
	struct image_spec *spec;
	struct journal_reserve *reserve;
	struct kms_job get, put;
};

/*
 * `kms_id` keeps the key; NULL: nothing is encrypted, and nothing is done. The
 * key is that of `source`; NULL: a new one. Adds to the metadata of `spec` and
 * to the entry of `reserve`, whose UUID is known. Errors as of kms.h.
 */
void volume_key_start(struct volume_key *key, const struct csi_rpc *rpc,
    const char *kms_id, const struct volume_source *source,
    struct image_spec *spec, struct journal_reserve *reserve,
    struct wake *waiter);

/* ALREADY_EXISTS: the entry is not of a volume that is encrypted like this. */
int volume_key_compare(const struct journal_item *item,
    const struct csi_class_params *wanted, const char *name,
    struct err *err) must_check;

#endif
