/*
 * path.h - paths that a request names, made safe to work with.
 *
 * The rule that holds it together: a request's path is resolved once, by
 * path_resolve; from then on each step opens it with openat2 and no symbolic
 * links at all, so a link that is put into its way later is an error, never a
 * way elsewhere. May block: offload children only.
 */
#ifndef NODE_PATH_H
#define NODE_PATH_H

#include "base/err.h"
#include "base/str.h"

#include <limits.h>

/*
 * Writes the path without links. Links among the parents are followed where
 * nobody but root can have put them (each directory from / to the link belongs
 * to root, who alone may write there), as an operator's /var/lib/kubelet;
 * another one is FAILED_PRECONDITION, so is a parent that is no directory. The
 * last component is left as it is; parents may be missing.
 */
int path_resolve(
    const char *path, char out[PATH_MAX], struct err *err) must_check;

/* As open(2), but with -errno, O_CLOEXEC, and -ELOOP for any link. */
int path_open(const char *path, int flags) must_check;

/*
 * Opens the directory that a path is in, for the *at calls; *name is the last
 * component, within `path`. Returns a descriptor or -errno.
 */
int path_open_parent(const char *path, const char **name) must_check;

/* The directories above `path`, as mkdir -p makes them. */
int path_make_parents(const char *path, struct err *err) must_check;

/* Refuses a directory with something in it: a mount would hide that, and whoever unmounts could not remove it. */
int path_check_point(const char *path, struct err *err) must_check;

/*
 * Makes `path` an empty file or a directory, or takes the empty one there. What
 * is of the other kind and empty is replaced, anything else refused.
 */
int path_make_point(
    const char *path, bool file, unsigned mode, struct err *err) must_check;

/*
 * Removes an empty file or an empty directory; a missing one is success.
 * Whatever holds or is something else is FAILED_PRECONDITION and stays.
 */
int path_remove_point(const char *path, struct err *err) must_check;

#endif
