/*
 * kube.h - questions to Kubernetes, which rbd-csi-kube asks: a secret that
 * config.json names, and whether a node is out of service.
 */
#ifndef DAEMON_KUBE_H
#define DAEMON_KUBE_H

#include "core/child.h"
#include "daemon/credentials.h"

/* Where there is no Kubernetes (KUBERNETES_SERVICE_HOST), nobody asks it. */
bool kube_is_there(void);

/* `dir` has the service account's files. Both live as long as the process. */
void kube_init(const char *program, const char *dir);

/* Embed it; zeroed is valid. One question at a time. */
struct kube_ask {
	/* the answer */
	struct err err;                 /* of a negative rc */
	struct credentials credentials; /* for the caller to end */
	bool out_of_service;

	/* private */
	bool of_node;
	const char *name_space, *name;
	struct tool tool;
	struct wake ended;
	struct wake *waiter;
};

/*
 * userID and userKey of a Secret, else adminID and adminKey. NOT_FOUND,
 * UNAVAILABLE: names the secret and says why, never what is in it.
 *
 * Without a namespace it is about a node: is it out of service, has it the
 * taint of that name? One that Kubernetes does not know (any more) is not: an
 * address is shut out by the word of an administrator only.
 */
void kube_ask_start(struct kube_ask *ask, const char *name_space,
    const char *name, struct wake *waiter);

#endif
