/*
 * credentials.h - the credentials that the driver itself has for a cluster,
 * from --credentials-dir: for requests which have none, as CSI gives no
 * secrets to lists, and ceph-csi's PersistentVolumes none to publishing.
 *
 * DIR/CLUSTERID/userID and DIR/CLUSTERID/userKey, as a mounted Secret has
 * them. They are read each time that a request needs them, so that a rotated
 * key is seen by the next request: two small files of a tmpfs.
 */
#ifndef DAEMON_CREDENTIALS_H
#define DAEMON_CREDENTIALS_H

#include "base/err.h"
#include "base/secret.h"

struct credentials {
	char *user; /* without "client." */
	struct secret key;
};

/*
 * Reads those of a cluster; credentials_fini() ends them. Both files are of
 * one version of the Secret. Blanks and line ends around the values are no
 * part of them. -ENOENT: the cluster has no directory; else
 * FAILED_PRECONDITION, with `err` naming the file and never its content.
 */
int credentials_read(const char *dir, const char *cluster_id,
    struct credentials *credentials, struct err *err) must_check;

/* Wipes and frees; zeroed ones are fine. */
void credentials_fini(struct credentials *credentials);

#endif
