#!/bin/bash
# userspace_takeover.t: what dies under verified I/O; the sections of userspace.t that take longer
exec "$(dirname "$0")/userspace.t" takeover stuck dead
