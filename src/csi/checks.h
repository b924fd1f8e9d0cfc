/*
 * checks.h - the checks of the definitions: pure functions of one request,
 * whose text names the field. They refuse what can never work, not what
 * ceph-csi's users have working.
 */
#ifndef CSI_CHECKS_H
#define CSI_CHECKS_H

#include "csi/definitions.h"

/* Each is the check() of a definition. */
int csi_check_create_volume(struct csi_request *in, struct err *err);
int csi_check_volume(struct csi_request *in, struct err *err);
int csi_check_snapshot(struct csi_request *in, struct err *err);
int csi_check_controller_expand(struct csi_request *in, struct err *err);
int csi_check_modify_volume(struct csi_request *in, struct err *err);
int csi_check_controller_publish(struct csi_request *in, struct err *err);
int csi_check_controller_unpublish(struct csi_request *in, struct err *err);
int csi_check_capabilities(struct csi_request *in, struct err *err);
int csi_check_create_snapshot(struct csi_request *in, struct err *err);
int csi_check_get_capacity(struct csi_request *in, struct err *err);
int csi_check_list_health(struct csi_request *in, struct err *err);
int csi_check_list_snapshots(struct csi_request *in, struct err *err);
int csi_check_list_volumes(struct csi_request *in, struct err *err);
int csi_check_audit(struct csi_request *in, struct err *err);
int csi_check_log_level(struct csi_request *in, struct err *err);
int csi_check_abort(struct csi_request *in, struct err *err);
int csi_check_node_stage(struct csi_request *in, struct err *err);
int csi_check_node_unstage(struct csi_request *in, struct err *err);
int csi_check_node_publish(struct csi_request *in, struct err *err);
int csi_check_node_unpublish(struct csi_request *in, struct err *err);
int csi_check_node_stats(struct csi_request *in, struct err *err);
int csi_check_node_health(struct csi_request *in, struct err *err);
int csi_check_node_expand(struct csi_request *in, struct err *err);

/* ValidateVolumeCapabilities without secrets. */
const void *csi_capabilities_unasked(const void *request, struct arena *arena);

#endif
