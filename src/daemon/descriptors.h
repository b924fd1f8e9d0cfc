/*
 * descriptors.h - the descriptors of all services of rbd-csid, for server
 * reflection: a serialized google.protobuf.FileDescriptorSet that the build
 * makes from the .proto files.
 */
#ifndef DAEMON_DESCRIPTORS_H
#define DAEMON_DESCRIPTORS_H

#include <stddef.h>

extern const unsigned char descriptors_set[];
extern const size_t descriptors_set_bytes;

#endif
