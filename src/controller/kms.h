/*
 * kms.h - key services (KMS): where the keys of encrypted volumes come from,
 * by the name that `encryptionKMSID` and a volume's journal entry have, as
 * with ceph-csi (internal/kms).
 *
 * The rule that holds it together: a kind of service is two functions, get and
 * put, in one table; whoever wants a key knows nothing else. Kinds here:
 *
 *	default   the passphrase of the request's secrets is the key of each
 *		  volume; nothing is kept
 *	metadata  each volume has a key of its own, which its image's metadata
 *		  keep, encrypted with that passphrase (dek.h)
 *
 * "default" needs no configuration; others are sections of --kms-config, which
 * is read each time, so that what is changed there counts at once.
 */
#ifndef CONTROLLER_KMS_H
#define CONTROLLER_KMS_H

#include "controller/lane.h"
#include "csi/rpc.h"

#define KMS_DEFAULT "default"

/* Embed it; zeroed is valid; kms_job_fini() at the end. */
struct kms_job {
	/* set by the caller; the strings live until the wake */
	const struct csi_rpc *rpc; /* its secrets have the passphrase */
	const char *kms_id;
	const char *volume_id; /* CSI's identifier of the volume or snapshot */
	/* get: what the image's metadata have, or NULL */
	const char *text;

	/* put: which key is to be kept, none: a new one; then the answer */
	struct secret key;

	/* the answer */
	struct err err;
	const char *kept; /* put: for the metadata, in the arena; NULL: none */

	/* private */
	struct wake *waiter;
	struct wake done;
	struct secret passphrase;
	struct lane_key of;
	struct lane_job lane;
};

/*
 * Gets the key, or puts it. Wakes `waiter` with 0 or a negative errno and job->err. INVALID_ARGUMENT:
 * the secrets have no passphrase, or the service cannot keep this key.
 * FAILED_PRECONDITION: as kms_check(), or it has no such key.
 */
void kms_job_start(struct kms_job *job, bool put, struct wake *waiter);
void kms_job_fini(struct kms_job *job);

/*
 * Is there such a service, of a kind that we know? FAILED_PRECONDITION, naming
 * it and what is missing.
 */
int kms_check(const char *kms_id, struct err *err) must_check;

#endif
