#!/bin/bash
# krbd-node.t: tests/integration/node.t with the kernel's own driver
mounter=rbd
. "$(dirname "$0")/../integration/node.t"
