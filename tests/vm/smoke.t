#!/bin/bash
# smoke.t: can this guest do at all what the other tests ask of it? No part of rbd-csi runs here.
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
image=smoke-$RANDOM

map() {
	printf '%s name=%s,secret=%s rbd %s -' "$RBD_CSI_MONITORS" "$RBD_CSI_USER" \
		"$(<"$RBD_CSI_KEYFILE")" "$image" >/sys/bus/rbd/add_single_major
}

unmap() { echo 0 >/sys/bus/rbd/remove_single_major; }

ok "an image is made as the restricted user" \
	rbd --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" create --size 1G \
	--image-feature layering,exclusive-lock,object-map,fast-diff,deep-flatten "$image"
ok "the kernel maps it" map
is "the device has the image's size" "$(blockdev --getsize64 /dev/rbd0)" $((1 << 30))
ok "it takes a file system" mkfs.ext4 -q /dev/rbd0
mkdir "$work/mnt"
ok "which mounts" mount /dev/rbd0 "$work/mnt"
ok "and holds data" sh -c "echo hello >$work/mnt/file && sync $work/mnt/file"
ok "and unmounts" umount "$work/mnt"
ok "the kernel unmaps it" unmap
ok "and maps it again" map
ok "with its file system" mount -o ro /dev/rbd0 "$work/mnt"
is "and its data" "$(cat "$work/mnt/file")" hello
ok "unmounted" umount "$work/mnt"
ok "and unmapped for good" unmap
ok "the image goes" rbd --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" rm --no-progress "$image"
done_testing
