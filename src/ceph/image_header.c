/*
 * image_header.c - whether an image's header is fit for librbd. Pure.
 */
#include "ceph/image.h"

#include <string.h>

/*
 * librbd makes an object's name in 96 bytes (RBD_MAX_OBJ_NAME_SIZE): prefix,
 * '.', 16 digits, NUL.
 */
#define DATA_PREFIX "rbd_data."
#define DATA_PREFIX_MAX (96 - 18)

int
image_header_check(const struct image_info *info, struct err *err)
{
	/* It is a format string for librbd. */
	size_t plain = strspn(info->prefix,
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	    "._-");

	if (!str_starts(info->prefix, DATA_PREFIX) ||
	    info->prefix[plain] != '\0' || plain > DATA_PREFIX_MAX)
		return err_set(err, ERR_DATA_LOSS,
		    "header of image id %s: object prefix of %zu bytes",
		    info->id, strlen(info->prefix));
	if (layout_check_stored(
		&info->layout, info->size_bytes, info->features, err) < 0) {
		err_prefix(err, "header of image id %s", info->id);
		return err->rc;
	}
	return 0;
}
