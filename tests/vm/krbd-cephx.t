#!/bin/bash
# krbd-cephx.t: tests/integration/cephx.t with the kernel's own driver: a node's own user maps, reads, writes, discards and
# resizes its volume, with parents and without, and is refused on all else in the pool
# shellcheck disable=SC2034 # for cephx.t
mounter=rbd
short=yes
mkdir -p /run/python
ln -sf /run/on-host /run/python/python3
python=/run/python/python3
. "$(dirname "$0")/../integration/cephx.t"
