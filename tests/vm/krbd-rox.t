#!/bin/bash
# krbd-rox.t: tests/integration/rox.t with the kernel's own driver
mounter=rbd
. "$(dirname "$0")/../integration/rox.t"
