/*
 * validate.h - the checks behind the method table: pure functions of one
 * request, whose text names the field. They refuse what can never work, not
 * what ceph-csi's users have working.
 */
#ifndef CSI_VALIDATE_H
#define CSI_VALIDATE_H

#include "base/err.h"

/* Each returns 0, or a negative errno with err set. */
int csi_validate_none(const void *request, struct err *err);
int csi_validate_create_volume(const void *request, struct err *err);
int csi_validate_delete_volume(const void *request, struct err *err);
int csi_validate_controller_publish(const void *request, struct err *err);
int csi_validate_controller_unpublish(const void *request, struct err *err);
int csi_validate_capabilities(const void *request, struct err *err);
int csi_validate_audit(const void *request, struct err *err);
int csi_validate_node_stage(const void *request, struct err *err);
int csi_validate_node_unstage(const void *request, struct err *err);
int csi_validate_node_publish(const void *request, struct err *err);
int csi_validate_node_unpublish(const void *request, struct err *err);
int csi_validate_node_stats(const void *request, struct err *err);

#endif
