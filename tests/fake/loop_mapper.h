/*
 * loop_mapper.h - a mapper for tests: image IMAGE of pool POOL is the file
 * DIR/POOL/IMAGE, mapped by a loop device. It stands in for krbd where the
 * kernel has none, so everything above the mapper is tested for real.
 */
#ifndef FAKE_LOOP_MAPPER_H
#define FAKE_LOOP_MAPPER_H

#include "node/mapper.h"

/* Calls itself "krbd", so that requests and stashes need nothing special. */
extern const struct mapper loop_mapper;

/* Where the pools are; set it before anything else. */
extern const char *loop_mapper_dir;

/* The child that maps dies before (1) or after (2) it has mapped. */
extern int loop_mapper_die;

/* Loop devices on files below loop_mapper_dir. */
int loop_mapper_count(void);

#endif
