#!/bin/bash
# userspace_lost.t: who holds the descriptors, and sessions that are lost; sections of userspace.t
exec "$(dirname "$0")/userspace.t" alone lost
