#!/bin/bash
# node.t: Node RPCs on volumes in use, on a real cluster: growing. Here with the userspace mapper;
# tests/vm/krbd-node.t runs the same with the kernel's driver.
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cluster
mounter=${mounter:-userspace}
[[ $mounter == rbd ]] || defer stop_attachds
labels=$work/labels
printf '%s\n' 'topology.kubernetes.io/zone="z.1"' 'kubernetes.io/hostname="a.b"' >"$labels"
options=(--node-labels-file="$labels" --domainlabels=topology.kubernetes.io/zone --max-volumes-per-node=77
	--enable-read-affinity "--crush-location-labels=kubernetes.io/hostname,topology.kubernetes.io/zone,none")
jq '.[].readAffinity = {enabled: true}' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
fallback=none
[[ $mounter == rbd ]] || fallback=userspace
start_daemon --mounter-fallback=$fallback "${options[@]}"
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"
MIB=1048576

# enlarge MIB [LIMIT]: the image, by the controller
enlarge() {
	call Controller/ControllerExpandVolume "$(with ". + {capacityRange: {requiredBytes: \"$(($1 * MIB))\",
		limitBytes: \"$((${2:-0} * MIB))\"}, volumeCapability: \$cap}" id)"
}
image_size() { timeout 60 rbd info --format json "$image" | jq .size; }
capacity() { jq -r .capacityBytes <<<"$reply"; }
device_size() { blockdev --getsize64 "$target"; }

# ---- the node ---------------------------------------------------------------------------------

ok "the node tells of itself" call Node/NodeGetInfo '{}'
is "how many volumes it takes" "$(jq -r .maxVolumesPerNode <<<"$reply")" 77
is "and where it is" "$(jq -c .accessibleTopology.segments <<<"$reply")" '{"topology.rbd.csi.ceph.com/zone":"z.1"}'
no_label() {
	! timeout 20 "$build/rbd-csid" --type=rbd --nodeserver --nodeid=n --endpoint="unix://$work/other.sock" \
		--statedir="$work/other" --config="$RBD_CSI_CONFIG" --node-labels-file="$labels" \
		--domainlabels=rack 2>"$work/other.log" && grep -q 'has no label rack' "$work/other.log"
}
ok "a label that it does not have ends the program, with its name" no_label

# ---- growing ---------------------------------------------------------------------------------

# grow NAME FSTYPE FEATURES
grow() {
	echo "# growing: $2"
	use "$1" "$2"
	ok "$2: created" create "$@"
	ok "published to the node" attach
	fails_with NOT_FOUND "what is not staged is not grown" expand $((2048 * MIB))
	ok "staged" stage
	ok "published" publish
	if [[ $mounter == rbd ]]; then
		like "mapped with read affinity" "$(attribute config_info)" \
			'read_from_replica=localize,crush_location=host:a-b\|zone:z-1'
	else
		own_mounts=1
	fi
	ok "data is written" put_data "$1"
	fails_with OUT_OF_RANGE "more than the image has is refused" expand $((2048 * MIB))
	like "which says what it has" "$error" "has 1073741824 bytes"
	ok "the image is made larger" enlarge 1100
	is "the answer has its size, in whole GiB" "$(capacity)" $((2048 * MIB))
	is "and says whether the node has to do something" "$(jq ".nodeExpansionRequired // false" <<<"$reply")" \
		"$([[ $2 == block ]] && echo false || echo true)"
	is "the image has it" "$(image_size)" $((2048 * MIB))
	ok "it does not shrink" enlarge 1024
	is "but stays" "$(capacity)" $((2048 * MIB))
	fails_with OUT_OF_RANGE "below what it has is no limit" enlarge 1024 2000
	ok "grown, while it is in use" expand $((2048 * MIB))
	is "the answer has the capacity" "$(capacity)" $((2048 * MIB))
	ok "expanding again is success" expand $((2048 * MIB))
	ok "larger still" enlarge 3072
	ok "grown by its target, without a staging path" expand 1 'del(.stagingTargetPath)'
	is "to what the image has" "$(capacity)" $((3072 * MIB))
	if [[ $2 == block ]]; then
		is "the device has it" "$(device_size)" $((3072 * MIB))
	else
		ok "the file system has it" eval '(($(stat -f -c "%b * %S" "$target") > 2800 * MIB))'
	fi
	ok "as kubelet asks before it publishes" expand 1 '.volumePath = $staging | del(.stagingTargetPath)'
	fails_with NOT_FOUND "a volume that is not there is not found" expand 1 \
		'.volumeId |= .[:-1] + (if .[-1:] == "0" then "1" else "0" end)'
	ok "the data is there" has_data
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "nothing is left on the node" nothing_left
	ok "unpublished from the node" detach
	ok "deleted" delete
}

grow grow-xfs xfs "$all_features"
grow grow-block block layering
[[ $mounter != rbd ]] || grow grow-ext4 ext4 "$all_features"

# grows_idle NAME FSTYPE: it grows while nobody reads or writes it: the first request afterwards, the program's or that of
# NodeExpandVolume itself, is for what was not there before.
grows_idle() {
	local size
	echo "# growing, idle: $2"
	use "$1" "$2"
	ok "$2: created" create "$1" "$2" layering
	ok "published to the node" attach
	ok "staged" stage
	if [[ $2 == block ]]; then
		ok "published" publish
	else
		ok "published read-only" call Node/NodePublishVolume "$(with '. + {stagingTargetPath: $staging, targetPath: $target,
			volumeCapability: $cap, publishContext: $context, readonly: true}')"
	fi
	for size in 1100 2100; do
		ok "made larger" enlarge $size
		size=$(capacity)
		ok "grown, by its target" expand "$size" 'del(.stagingTargetPath)'
		[[ $2 == block ]] || ok "the file system, too" eval '(($(stat -f -c "%b * %S" "$target") > size * 9 / 10))'
		[[ $2 != block ]] ||
			ok "what it has more is written at once" dd if=/dev/zero of="$target" bs=4k count=1 seek=$((size / 4096 - 1)) \
				oflag=direct status=none
	done
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "unpublished from the node" detach
	ok "deleted" delete
}
grows_idle idle-block block
grows_idle idle-xfs xfs

# ---- statistics and health ---------------------------------------------------------------------

volume_health() {
	call Node/NodeGetVolumeHealth "$(with '. + {volumePublishPath: $target,
		stagingTargetPath: $staging}' id)"
}
stats_of() { call Node/NodeGetVolumeStats "$(with '. + {volumePath: $target, stagingTargetPath: $staging}' id)"; }
# usage OF: of the block volume's bytes
usage() { jq -r --arg of "$1" '.usage[0][$of] // "0"' <<<"$reply"; }
reasons() { jq -r '[(.volumeHealth.healthStatuses // [])[] | .status + " " + .reason] | join(",")' <<<"$reply"; }

echo "# what of a block volume is used"
use used block
ok "created" create used block "$all_features"
ok "published to the node" attach
ok "staged" stage
ok "published" publish
ok "data is written, into three objects" dd if=/dev/urandom of="$target" bs=4M count=3 oflag=direct status=none
ok "statistics" stats_of
is "the total" "$(usage total)" 1073741824
is "what is used" "$(usage used)" $((12 * MIB))
is "what is available" "$(usage available)" $((1012 * MIB))
ok "an object is freed" blkdiscard -o $((4 * MIB)) -l $((4 * MIB)) "$target"
ok "statistics" stats_of
is "it is used no more" "$(usage used)" $((8 * MIB))
ok "the volume is well" volume_health
is "which has no entry" "$(reasons)" ""
ok "so is the storage" call Node/NodeGetStorageHealth '{}'
is "which has no entry either" "$(jq -c '.backendHealth // []' <<<"$reply")" "[]"
pause() { timeout 300 ceph -c "$CEPH_CONF" osd "$1" pause; }
defer pause unset
ok "the cluster takes no more I/O" pause set
# A client hears of the pause a moment later.
write() { until [[ -e $work/enough ]]; do dd if=/dev/urandom of="$target" bs=4k count=1 oflag=direct status=none || exit 1; done; }
write &
writer=$!
stuck() { volume_health && [[ $(reasons) == "INACCESSIBLE RequestsStuck" ]]; }
ok "which the volume's health tells, once there is some" wait_for 60 stuck
ok "statistics do not wait for it" stats
touch "$work/enough"
ok "the cluster takes it again" pause unset
ok "no write has failed" wait "$writer"
well() { volume_health && [[ -z $(reasons) ]]; }
ok "and the volume is well" well
fails_with NOT_FOUND "the health of nothing" call Node/NodeGetVolumeHealth \
	"$(with '. + {volumePublishPath: "/nowhere"}' id)"
ok "unpublished" unpublish
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "deleted" delete

done_testing
