/*
 * volume_key.c - see volume_key.h. As ceph-csi: setupBlockEncryption() and
 * copyEncryptionConfig() of internal/rbd/encryption.go.
 */
#include "controller/volume_key.h"

#include <stdlib.h>
#include <string.h>

/* The header that cryptsetup makes for us: src/node/luks.c. */
#define LUKS_HEADER_BYTES "16777216"
#define META_MAX 3

/*
 * What the image's metadata get. A copy inherits the size of the header. Files
 * that are encrypted have no key of their own in any of our services.
 */
static void
add_meta(struct volume_key *k)
{
	struct image_spec *spec = k->spec;
	struct cls_meta meta[META_MAX];
	size_t n = 0;

	meta[n++] = cls_meta_text(VOLUME_META_ENCRYPTED,
	    k->source != NULL ? volume_encryption(&k->source->list)
			      : VOLUME_ENCRYPTION_PREPARED);
	if (k->source == NULL)
		meta[n++] = cls_meta_text(
		    VOLUME_META_LUKS_HEADER, LUKS_HEADER_BYTES);
	if (k->put.kept != NULL)
		meta[n++] = cls_meta_text(VOLUME_META_DEK, k->put.kept);
	for (size_t i = 0; i < n; i++)
		meta[i].once = true;
	spec->meta = volume_meta_join(
	    k->rpc->arena, spec->meta, spec->nmeta, meta, n, &spec->nmeta);
}

/* Sets up both jobs, and what the journal's entry says. */
static int
prepare(struct volume_key *k, struct err *err)
{
	const char **attr = k->reserve->item.attr;
	const char *const *of = k->source != NULL
	    ? k->source->found.entry.item.attr
	    : NULL;
	const char *id = volume_id_make(
	    k->rpc, k->reserve->item_pool, k->reserve->uuid, err);

	if (id == NULL)
		return err->rc;
	attr[JOURNAL_KMS] = k->kms_id;
	attr[JOURNAL_ENCRYPTION] = of != NULL && of[JOURNAL_ENCRYPTION] != NULL
	    ? of[JOURNAL_ENCRYPTION]
	    : CSI_ENCRYPTION_BLOCK;
	k->put = (struct kms_job){
		.rpc = k->rpc, .kms_id = k->kms_id, .volume_id = id
	};
	if (of == NULL)
		return 0;
	if (*volume_encryption(&k->source->list) == '\0')
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: the journal says that it is encrypted, and its image has no state of that",
		    k->rpc->in->id_text);
	k->get = (struct kms_job){
		.rpc = k->rpc,
		.kms_id = of[JOURNAL_KMS] != NULL ? of[JOURNAL_KMS]
						  : KMS_DEFAULT,
		.volume_id = k->rpc->in->id_text,
		.text = volume_dek(&k->source->list),
	};
	return 0;
}

static enum op_verdict
volume_key_step(struct op *op)
{
	struct volume_key *k = (struct volume_key *)op;
	struct err err = ERR_INIT;

	switch (k->state) {
	case VOLUMEKEY_START:
		if (k->kms_id == NULL)
			return op_goto(k, VOLUMEKEY_END);
		if (prepare(k, &err) < 0)
			return op_fail_err(k, VOLUMEKEY_END, &err);
		if (k->source == NULL)
			return op_goto(k, VOLUMEKEY_GOT);
		/* The one of all volumes, which a snapshot may have no secret for. */
		if (str_eq(k->get.kms_id, KMS_DEFAULT) &&
		    str_eq(k->kms_id, KMS_DEFAULT))
			return op_goto(k, VOLUMEKEY_PUT);
		kms_job_start(&k->get, false, &op->wake);
		return op_await(k, VOLUMEKEY_GOT);

	case VOLUMEKEY_GOT:
		if (op->rc < 0)
			return op_fail_as(k, VOLUMEKEY_END, get);
		secret_copy(&k->put.key, &k->get.key);
		kms_job_start(&k->put, true, &op->wake);
		return op_await(k, VOLUMEKEY_PUT);

	case VOLUMEKEY_PUT:
		if (op->rc < 0)
			return op_fail_as(k, VOLUMEKEY_END, put);
		add_meta(k);
		return op_goto(k, VOLUMEKEY_END);

	case VOLUMEKEY_END:
		kms_job_fini(&k->get);
		kms_job_fini(&k->put);
		return OP_DONE;
	}
	abort();
}

static const struct op_class volume_key_class = {
	.name = "volume.key",
	.step = volume_key_step,
};

void
volume_key_start(struct volume_key *key, const struct csi_rpc *rpc,
    const char *kms_id, const struct volume_source *source,
    struct image_spec *spec, struct journal_reserve *reserve,
    struct wake *waiter)
{
	*key = (struct volume_key){
		.rpc = rpc,
		.kms_id = str_is_empty(kms_id) ? NULL : kms_id,
		.source = source,
		.spec = spec,
		.reserve = reserve,
	};
	op_start(&key->op, &volume_key_class, waiter);
}

int
volume_key_compare(const struct journal_item *item,
    const struct csi_class_params *wanted, const char *name, struct err *err)
{
	const char *kms = item->attr[JOURNAL_KMS];
	const char *type = item->attr[JOURNAL_ENCRYPTION];
	bool is = !str_is_empty(kms) || !str_is_empty(type);

	/* Of old, there was no other type than that of blocks. */
	if (wanted->encrypted ? str_eq(kms, wanted->kms_id) &&
		    (str_is_empty(type) || str_eq(type, CSI_ENCRYPTION_BLOCK))
			      : !is)
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS,
	    "volume %s exists and is %sencrypted%s%s", name, is ? "" : "not ",
	    is ? ", with a key of KMS " : "", is && kms != NULL ? kms : "");
}
