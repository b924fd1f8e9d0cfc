/*
 * image_resize.h - reading the size of an image whose header has changed.
 */
#ifndef ATTACH_IMAGE_RESIZE_H
#define ATTACH_IMAGE_RESIZE_H

#include "attach/image.h"

/*
 * Reads the size of a served image; puts another one into its slot and calls
 * `resized`. One that is running reads once more.
 */
void image_resize_begin(struct image *image, struct ceph_connection *conn,
    void (*resized)(const struct image *image));

#endif
