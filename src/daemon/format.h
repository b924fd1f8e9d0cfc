/*
 * format.h - what the Node service asks a cluster about formatting: passed on
 * to the ceph-worker of the volume's session.
 */
#ifndef DAEMON_FORMAT_H
#define DAEMON_FORMAT_H

#include "node/node.h"

/* node_config's format_start. */
void format_start(struct node_format *ask, struct wake *waiter);

#endif
