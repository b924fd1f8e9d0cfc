#!/bin/bash
# krbd-shown.t: a block volume on the kernel's rbd driver whose device node some mount shows: it is not
# unmapped, its number is not another volume's, and a read-only target cannot be written
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
# shellcheck source=volume.sh
. "$(dirname "$0")/volume.sh"

number_of() { stat -c %Hr:%Lr "$1"; }
first_bytes() { dd if="$1" bs=8 count=1 iflag=nocache status=none; }
ro_publish() {
	rpc Node/NodePublishVolume "$(with '. + {stagingTargetPath: $staging, readonly: true,
		targetPath: ($target + "-ro"), volumeCapability: $cap, publishContext: $context}')"
}
ro_unpublish() { rpc Node/NodeUnpublishVolume "$(with '. + {targetPath: ($target + "-ro")}' id)"; }
cannot_write() {
	blockdev --setrw "$1"
	! dd if=/dev/zero of="$1" bs=4096 count=1 oflag=direct conv=notrunc
}
use shown block
ok "created" create shown block layering
ok "published to the node" attach
ok "staged" stage
ok "published" publish
ok "data is written" put_data shown
first=("$volume" "$context" "$staging" "$target" "$cap")
fails_with FAILED_PRECONDITION "it is not unstaged" unstage
like "the target is named" "$error" "$target still shows"
staging=$work/none fails_with FAILED_PRECONDITION "nor by a path that does not exist" unstage
is "it is mapped" "$(mapped)" 1
ok "published read-only, too" ro_publish
ok "it cannot be written there" cannot_write "$target-ro"
is "but read" "$(first_bytes "$target-ro")" precious
ok "at the other target it can be written" put_data again
is "it has one layer" "$(grep -l '^/dev/rbd' /sys/block/loop*/loop/backing_file | wc -l)" 1
ok "unpublished" ro_unpublish
is "the layer is gone" "$(grep -ls '^/dev/rbd' /sys/block/loop*/loop/backing_file | wc -l)" 0
echo "# a number that is shown"
old=$(number_of "$target")
touch "$work/shown"
ok "somebody else has a mount of its node" mount --bind "$target" "$work/shown"
ok "unpublished" unpublish
fails_with FAILED_PRECONDITION "it is not unstaged" unstage
like "that mount is named" "$error" "$work/shown still shows"
ok "staging is unmounted by hand" umount "$staging/$(jq -r .volumeId <<<"$volume")"
ok "and the image unmapped" eval 'basename /sys/bus/rbd/devices/* >/sys/bus/rbd/remove_single_major'
use other block
ok "another volume is created" create other block layering
ok "published to the node" attach
ok "staged" stage
is "mapped once" "$(mapped)" 1
is "the mount shows the old number" "$(number_of "$work/shown")" "$old"
ok "which the volume has not got" eval \
	'[[ $(number_of "$staging/$(jq -r .volumeId <<<"$volume")") != "$old" ]]'
ok "nothing can be read there" eval '! first_bytes "$work/shown"'
ok "that mount goes" umount "$work/shown"
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "deleted" delete
volume=${first[0]} context=${first[1]} staging=${first[2]} target=${first[3]} cap=${first[4]}
ok "the first is unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
