/*
 * admin.h - the RPCs of the Admin service that the daemon runs itself.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "csi/rpc.h"

extern const struct csi_impl list_operations_impl;

#endif
