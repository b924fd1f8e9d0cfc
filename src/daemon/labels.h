/*
 * labels.h - the labels of this node, which tell where it is: in topology
 * domains and in the CRUSH hierarchy. They come from a file, read once.
 *
 * The rule that holds it together: no Kubernetes API is asked. The file has a
 * label a line, KEY=VALUE or KEY="VALUE", as a downward API volume has the
 * labels of its pod, to which Kubernetes copies the topology labels of the
 * node; anything else can write the same.
 */
#ifndef DAEMON_LABELS_H
#define DAEMON_LABELS_H

#include "base/arena.h"
#include "base/err.h"

struct labels;

/* "" is no file, and no label. FAILED_PRECONDITION: it cannot be read. */
struct labels *labels_read(const char *path, struct err *err);
void labels_free(struct labels *labels);

/*
 * Topology segments, as ceph-csi has them (its internal/util/topology.go): for
 * each label of the comma list `names` topology.DRIVER/NAME, NAME without the
 * label's prefix, and the value; one after the other in `tell`.
 * FAILED_PRECONDITION names a label that the node does not have.
 */
int labels_topology(const struct labels *labels, const char *names,
    const char *driver, struct arena *arena,
    void (*tell)(void *arg, const char *key, const char *value), void *arg,
    struct err *err) must_check;

/*
 * The place in the CRUSH hierarchy, "host:a|zone:b", as krbd takes it: by the
 * labels of the comma list that the node has, as ceph-csi does (its
 * internal/util/read_affinity.go): "hostname" is the type "host", dots in a
 * value become dashes. "" if it has none of them.
 */
const char *labels_crush_location(
    const struct labels *labels, const char *names, struct arena *arena);

#endif
