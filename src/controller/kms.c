/*
 * kms.c - see kms.h.
 */
#include "controller/kms.h"

#include "base/json.h"
#include "controller/controller.h"
#include "controller/dek.h"
#include "csi/params.h"

#include <errno.h>
#include <string.h>

#define CONFIG_MAX ((size_t)1 << 20)

struct kms {
	const char *type; /* encryptionKMSType of --kms-config */
	void (*get_start)(struct kms_job *job);
	void (*put_start)(struct kms_job *job);
};

/* ---- default ---- */

static void
answer(struct kms_job *job)
{
	wake_up(job->waiter, job->err.rc);
}

static void
default_get_start(struct kms_job *job)
{
	secret_copy(&job->key, &job->passphrase);
	answer(job);
}

static void
default_put_start(struct kms_job *job)
{
	if (secret_is_empty(&job->key))
		secret_copy(&job->key, &job->passphrase);
	else if (!secret_eq(&job->key, &job->passphrase))
		(void)err_set(&job->err, ERR_INVALID_ARGUMENT,
		    "parameters.encryptionKMSID: %s has one key for all volumes, and cannot keep the one of what is copied",
		    job->kms_id);
	answer(job);
}

/* ---- metadata ---- */

static void
on_key_done(struct wake *wake, int rc)
{
	struct kms_job *job = container_of(wake, struct kms_job, done);
	struct lane_job *lane = &job->lane;

	job->err = lane->err;
	if (rc == 0 && lane->kind == LANE_KEY_UNWRAP)
		secret_copy(&job->key, &lane->reply);
	else if (rc == 0)
		job->kept = arena_strdup(job->rpc->arena, lane->reply.text);
	secret_fini(&lane->reply);
	answer(job);
}

static void
dek_start(struct kms_job *job, enum lane_kind kind)
{
	job->of = (struct lane_key){
		.passphrase = &job->passphrase,
		.key = &job->key,
		.volume_id = job->volume_id,
		.text = job->text,
	};
	job->lane = (struct lane_job){ .kind = kind, .of = &job->of };
	job->done.fn = on_key_done;
	lane_job_start(&job->lane, &job->done);
}

static void
metadata_get_start(struct kms_job *job)
{
	if (!str_is_empty(job->text)) {
		dek_start(job, LANE_KEY_UNWRAP);
		return;
	}
	(void)err_set(&job->err, ERR_FAILED_PRECONDITION,
	    "%s: its image's metadata have no key", job->volume_id);
	answer(job);
}

static void
metadata_put_start(struct kms_job *job)
{
	if (secret_is_empty(&job->key))
		dek_generate(&job->key);
	dek_start(job, LANE_KEY_WRAP);
}

/* ---- the table, and the sections of the configuration ---- */

static const struct kms kinds[] = {
	{ KMS_DEFAULT, default_get_start, default_put_start },
	{ "metadata", metadata_get_start, metadata_put_start },
};

static const struct kms *
refuse(struct err *err, const char *id, const char *why)
{
	(void)err_set(err, ERR_FAILED_PRECONDITION, "KMS %s: %s", id, why);
	return NULL;
}

/* The section's kind, if we know it and all that it asks for. */
static const struct kms *
find_kind(const char *id, const json_t *section, struct err *err)
{
	const char *type = json_get_string(section, "encryptionKMSType");

	if (type == NULL)
		type = json_get_string(section, "KMS_PROVIDER");
	if (type == NULL)
		return refuse(err, id,
		    "its section has no encryptionKMSType and no KMS_PROVIDER");
	for (size_t i = 0; i < countof(kinds); i++) {
		if (!str_eq(kinds[i].type, type))
			continue;
		/* That would have to be asked of Kubernetes. */
		if (json_object_get(section, "secretName") != NULL)
			return refuse(err, id,
			    "secretName is not served: the passphrase is that of the request's secrets");
		return &kinds[i];
	}
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "KMS %s: a service of type %.64s is not served: default and metadata are",
	    id, type);
	return NULL;
}

static const struct kms *
kms_find(const char *id, struct err *err)
{
	auto_json json_t *config = NULL;
	struct err why = ERR_INIT;
	const json_t *section;

	if (str_is_empty(id) || str_eq(id, KMS_DEFAULT))
		return &kinds[0];
	if (str_is_empty(controller.kms_config))
		return refuse(err, id, "there is no --kms-config");
	config = json_read_file(controller.kms_config, CONFIG_MAX, false, &why);
	if (config == NULL)
		return refuse(err, id, why.text);
	section = json_object_get(config, id);
	if (!json_is_object(section)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "KMS %s: %s has no such section", id,
		    controller.kms_config);
		return NULL;
	}
	return find_kind(id, section, err);
}

int
kms_check(const char *kms_id, struct err *err)
{
	return kms_find(kms_id, err) != NULL ? 0 : err->rc;
}

/* ---- jobs ---- */

void
kms_job_start(struct kms_job *job, bool put, struct wake *waiter)
{
	struct csi_map secrets = csi_map_field(job->rpc->request, CSI_SECRETS);
	const char *text = csi_map_get(&secrets, CSI_PASSPHRASE);
	const struct kms *kms;

	job->waiter = waiter;
	job->err = (struct err)ERR_INIT;
	job->kept = NULL;
	kms = kms_find(job->kms_id, &job->err);
	if (kms != NULL && str_is_empty(text))
		(void)err_set(&job->err, ERR_INVALID_ARGUMENT,
		    "secrets." CSI_PASSPHRASE
		    ": missing: KMS %s encrypts with it",
		    job->kms_id);
	if (err_is_set(&job->err)) {
		answer(job);
		return;
	}
	secret_set(&job->passphrase, text, strlen(text));
	if (put)
		kms->put_start(job);
	else
		kms->get_start(job);
}

void
kms_job_fini(struct kms_job *job)
{
	secret_fini(&job->key);
	secret_fini(&job->passphrase);
}
