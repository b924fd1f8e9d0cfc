#!/bin/bash
# userspace_lost.t: who holds the descriptors, sessions that are lost, images that are no good,
# memory limits; sections of userspace.t
exec "$(dirname "$0")/userspace.t" alone lost bad crashes memory hang
