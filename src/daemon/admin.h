/*
 * admin.h - the RPCs of the Admin service that the daemon runs itself;
 * ListOperations is in operations.h.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "csi/rpc.h"

extern const struct csi_impl list_sessions_impl;
extern const struct csi_impl metrics_impl;
extern const struct csi_impl set_log_level_impl;
extern const struct csi_impl trace_impl;

#endif
