#!/bin/bash
# krbd-stuck.t: tests/integration/node_stuck.t with the kernel's own driver
mounter=rbd
. "$(dirname "$0")/../integration/node_stuck.t"
