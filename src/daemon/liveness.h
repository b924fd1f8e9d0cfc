/*
 * liveness.h - --type=liveness, as ceph-csi's manifests run it beside the
 * driver: asks the driver at --endpoint for Identity/Probe again and again,
 * and serves csi_liveness to whoever scrapes.
 */
#ifndef DAEMON_LIVENESS_H
#define DAEMON_LIVENESS_H

#include "daemon/options.h"

/*
 * Asks at once, and then every --polltime; the driver need not be there.
 * Serves --metricspath on $POD_IP (all addresses, if that is not set) and
 * --metricsport. 0, or the errors of http_serve().
 */
int liveness_begin(const struct options *o, struct err *err) must_check;
void liveness_stop(void);

#endif
