/*
 * rules.h - what names and options of a volume may be, so that every step of
 * its life can use them: asked when it is created, and again by whoever uses
 * them. Pure.
 *
 * `field` is what the text calls the value. Each returns 0 or
 * INVALID_ARGUMENT.
 */
#ifndef BASE_RULES_H
#define BASE_RULES_H

#include "base/err.h"
#include "base/str.h"

#define RULES_NAME_MAX 255 /* bytes; stash, tables and lookups hold so much */
#define RULES_MKFS_OPTIONS_MAX 64

/* Can we make and check it? Names are in lower case. */
bool rules_fs_type_is_known(const char *fs_type);
#define RULES_FS_TYPES "ext4, ext3, xfs and btrfs"

/*
 * Names as the kernel's rbd can be told: "MONS name=USER,OPTIONS POOL IMAGE".
 * RBD itself takes neither "/" nor "@" in the name of an image. A name is one
 * word: not empty, not too long, and without the bytes that are forbidden.
 */
#define RULES_BLANKS " \f\n\r\t\v"
#define RULES_POOL RULES_BLANKS
#define RULES_IMAGE RULES_BLANKS "@/"
#define RULES_NAMESPACE RULES_BLANKS ","
#define RULES_USER RULES_BLANKS ","
int rules_name(const char *field, const char *name, const char *forbidden,
    struct err *err) must_check;

/* "a,b=c" for the kernel: no blanks, nothing that the driver sets itself. */
int rules_krbd_options(
    const char *field, const char *options, struct err *err) must_check;

/* Does a comma list name an option? *value points to what follows "=". */
bool rules_option_find(
    const char *options, const char *name, const char **value);

/*
 * A comma list for mount(8), values in double quotes as it has them: nothing
 * that is about other mounts than the volume's, or about another device.
 */
int rules_mount_flags(
    const char *field, const char *flags, struct err *err) must_check;

/* Blank separated words of a command line. */
int rules_mkfs_options(
    const char *field, const char *options, struct err *err) must_check;

#endif
