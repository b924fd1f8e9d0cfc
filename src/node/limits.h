/*
 * limits.h - how fast a pod may read and write a volume that its mapper does
 * not hold to its limits by itself (krbd): io.max of the pod's cgroup, version
 * 2 (Linux: Documentation/admin-guide/cgroup-v2.rst). Blocking, for offload
 * children only.
 *
 * The rule that holds it together: nothing is remembered. Which pod it is the
 * target path tells, as kubelet makes it; what holds now the cgroup tells; and
 * both go with the pod.
 */
#ifndef NODE_LIMITS_H
#define NODE_LIMITS_H

#include "node/attachment.h"

#define LIMITS_NONE "rbps=max wbps=max riops=max wiops=max"
#define LIMITS_SIZE 128

struct limits {
	char file[PATH_MAX]; /* io.max of the pod; "": there is none */
	dev_t devno;
	char now[LIMITS_SIZE]; /* in the form of LIMITS_NONE */
};

/*
 * What holds for the volume at `target`. No file: its mapper obeys the image's
 * limits, the path is no pod's, or the pod's cgroup has no io.max.
 */
void limits_look(
    const char *target, const struct attachment *at, struct limits *out);

/* Sets them, if they are others; `text` as LIMITS_NONE; NULL or "": nothing is set. */
int limits_set(
    const struct limits *limits, const char *text, struct err *err) must_check;

#endif
