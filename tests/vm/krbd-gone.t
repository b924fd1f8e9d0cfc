#!/bin/bash
# krbd-gone.t: tests/integration/node_gone.t with the kernel's own driver
mounter=rbd
. "$(dirname "$0")/../integration/node_gone.t"
