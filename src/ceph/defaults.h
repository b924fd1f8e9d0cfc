/*
 * defaults.h - what an image gets whose creator does not say: librbd's
 * defaults as this cluster has them set, so that a volume of ours has the
 * features that it would have had from librbd.
 */
#ifndef CEPH_DEFAULTS_H
#define CEPH_DEFAULTS_H

#include "ceph/connection.h"

/*
 * Option rbd_default_features, from ceph.conf or the monitors: a number or
 * names. 61 if it says nothing that we understand.
 */
uint64_t defaults_image_features(const struct ceph_connection *conn);

/* Reads that option's text; false: it has a name that we do not know. */
bool defaults_features_parse(const char *text, uint64_t *features);

#endif
