#!/bin/bash
# krbd-many.t: tests/integration/node_many.t with the kernel's own driver: fewer volumes, since an emulated processor takes
# seconds for each
mounter=rbd
many=${RBD_CSI_MANY:-90} callers=4
. "$(dirname "$0")/../integration/node_many.t"
