#!/bin/bash
# krbd-qos.t: tests/integration/qos.t with the kernel's own driver
mounter=rbd
. "$(dirname "$0")/../integration/qos.t"
