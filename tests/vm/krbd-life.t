#!/bin/bash
# krbd-life.t: volumes through their whole life with the kernel's own rbd driver
# shellcheck disable=SC2016 # the variables in single quotes are jq's, or eval's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
all_features=layering,exclusive-lock,object-map,fast-diff,deep-flatten
key=$(<"$RBD_CSI_KEYFILE")
volume=
context=

# ---- one volume ------------------------------------------------------------------------------

# capability FSTYPE [MODE]: FSTYPE "block" is a raw device.
capability() {
	local kind
	[[ $1 == block ]] && kind='{"block": {}}' || kind="{\"mount\": {\"fsType\": \"$1\"}}"
	jq -nc --argjson kind "$kind" --arg mode "${2:-SINGLE_NODE_WRITER}" \
		'$kind + {accessMode: {mode: $mode}}'
}

# use NAME FSTYPE [MODE]: the volume and the paths that the functions below are about.
use() {
	staging=$work/staging/$1
	target=$work/pods/$1/mount
	data=$target/data
	[[ $2 == block ]] && data=$target
	cap=$(capability "$2" "${3:-}")
	mkdir -p "$staging"
}

# create NAME FSTYPE FEATURES [CLUSTER]
create() {
	call Controller/CreateVolume "$(jq -nc --arg name "$1" --argjson cap "$(capability "$2")" \
		--arg features "$3" --arg cluster "${4:-$RBD_CSI_FSID}" '{
			name: $name, capacityRange: {requiredBytes: "1073741824"},
			volumeCapabilities: [$cap],
			parameters: {clusterID: $cluster, pool: "rbd", imageFeatures: $features}}')" &&
		volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' \
			<<<"$reply") &&
		image=$(jq -r .volumeContext.imageName <<<"$volume")
}

# with FILTER [id]: the volume's fields and more; "id": without the volume_context.
with() {
	jq -c --argjson cap "$cap" --argjson context "${context:-null}" --arg staging "$staging" \
		--arg target "$target" "$1${2:+ | del(.volumeContext)}" <<<"$volume"
}

attach() {
	call Controller/ControllerPublishVolume \
		"$(with '. + {nodeId: "test-node", volumeCapability: $cap}')" &&
		context=$(jq -c .publishContext <<<"$reply")
}
stage() {
	rpc Node/NodeStageVolume "$(with '. + {stagingTargetPath: $staging,
		volumeCapability: $cap, publishContext: $context}')"
}
publish() {
	rpc Node/NodePublishVolume "$(with '. + {stagingTargetPath: $staging, targetPath: $target,
		volumeCapability: $cap, publishContext: $context}')"
}
stats() { rpc Node/NodeGetVolumeStats "$(with '. + {volumePath: $target}' id)"; }
unpublish() { rpc Node/NodeUnpublishVolume "$(with '. + {targetPath: $target}' id)"; }
unstage() { rpc Node/NodeUnstageVolume "$(with '. + {stagingTargetPath: $staging}' id)"; }
detach() { call Controller/ControllerUnpublishVolume "$(with '. + {nodeId: "test-node"}' id)"; }
delete() { call Controller/DeleteVolume "$(with . id)"; }

# ---- what is there ---------------------------------------------------------------------------

mapped() { find /sys/bus/rbd/devices/ -mindepth 1 | wc -l; }
attribute() { cat /sys/bus/rbd/devices/*/"$1"; }
mounts() { grep -cF " $work/" /proc/self/mountinfo; }
no_key() { ! grep -qF -- "$key" /sys/bus/rbd/devices/*/config_info; }
no_key_in_keyrings() { ! grep -w ceph /proc/keys; }
put_data() { echo "precious $1" | dd of="$data" conv=fsync,notrunc status=none; }
has_data() { dd if="$data" bs=9 count=1 status=none | grep -q "^precious"; }
nothing_left() { [[ $(mapped) == 0 && $(mounts) == 0 && ! -e $target && -z $(ls -A "$staging") ]]; }

# started COMMAND...: tells how many processes and threads (the kernel's too) the system started
# for its RPC, beyond what calling the daemon takes, and the time from call to answer.
started() {
	local started=1
	"$@"
}
processes() { awk '/^processes/ { print $2 }' /proc/stat; }
rpc() {
	local before after begin rc=0
	((started)) || { call "$@"; return; }
	before=$(processes)
	call Identity/Probe '{}' >/dev/null
	after=$(processes)
	begin=${EPOCHREALTIME/./}
	call "$@" || rc=$?
	told="${1#*/}: $((($(processes) - after) - (after - before))) processes and threads, \
$(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
	return "$rc"
}
started=0
told=

# ---- lives -----------------------------------------------------------------------------------

# life NAME FSTYPE FEATURES [CLUSTER]
life() {
	local what="$2, ${3//,/+}${4:+, in a namespace}"
	echo "# $what"
	use "$1" "$2"
	ok "created: $what" create "$@"
	ok "published to the node" attach
	ok "staged: mapped${2:+, made}, mounted" stage
	is "one device is mapped" "$(mapped)" 1
	is "it is the volume's image" "$(attribute name)" "$image"
	is "in the right namespace" "$(attribute pool_ns)" "${4:+ns1}"
	ok "the key is not in config_info" no_key
	ok "the key is in no keyring" no_key_in_keyrings
	ok "staging again is success" stage
	is "and maps nothing twice" "$(mapped)" 1
	ok "published" publish
	ok "data is written" put_data "$1"
	ok "statistics are told" stats
	fails_with FAILED_PRECONDITION "a volume in use is not deleted" delete
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "nothing is left on the node" nothing_left
	ok "staged again" started stage
	diag "$told"
	ok "published" started publish
	diag "$told"
	ok "the data is there" has_data
	ok "unpublished" started unpublish
	diag "$told"
	ok "unstaged" started unstage
	diag "$told"
	ok "nothing is left on the node" nothing_left
	ok "unpublished from the node" detach
	ok "deleted" delete
}

life ext4-all ext4 "$all_features"
life xfs-ns xfs layering "$RBD_CSI_FSID-ns1"
life block-all block "$all_features"

# ---- restarts --------------------------------------------------------------------------------

echo "# the daemon is killed"
use restarts ext4
ok "created" create restarts ext4 layering
ok "published to the node" attach
ok "staged" stage
ok "published" publish
ok "data is written" put_data restarts
ok "kill -9 of the daemon" stop_daemon KILL
start_daemon --mounter-fallback=none
ok "the new one stages what is staged" stage
is "and maps nothing twice" "$(mapped)" 1
ok "and publishes what is published" publish
is "and binds nothing twice" "$(mounts)" 2
ok "the data is there" has_data
ok "unpublished" unpublish
ok "unmounted behind the daemon's back" umount "$staging/$(jq -r .volumeId <<<"$volume")"
ok "staging finds the mapping that is there" stage
is "and maps nothing twice" "$(mapped)" 1
ok "the record of it is lost" rm "$staging/image-meta.json"
ok "kill -9 of the daemon" stop_daemon KILL
start_daemon --mounter-fallback=none
ok "the new one unstages it all the same" unstage
ok "nothing is left on the node" nothing_left

echo "# mapped by somebody else"
map_elsewhere() {
	echo "$RBD_CSI_MONITORS name=$RBD_CSI_USER,secret=$key rbd $image -" \
		>/sys/bus/rbd/add_single_major
}
ok "the image is mapped behind the daemon's back" map_elsewhere
ok "staged" stage
is "with the mapping that is there" "$(mapped)" 1
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

echo "# read-only"
use restarts ext4 MULTI_NODE_READER_ONLY
ok "staged read-only" stage
is "mapped read-only" "$(cat /sys/block/rbd*/ro)" 1
ok "published" publish
ok "nothing can be written" eval '! touch "$target/x" 2>/dev/null'
ok "the data can be read" has_data
ok "unpublished" unpublish
ok "unstaged" unstage

echo "# growing"
use restarts ext4
ok "the image is made larger" rbd --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" \
	resize --no-progress --size 2G "$image"
ok "staged" stage
ok "published" publish
ok "the file system has grown" eval '(($(stat -f -c "%b * %S" "$target") > 1900000000))'
ok "the data is there" has_data
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

echo "# a block device that is shown"
restarts=("$volume" "$context")
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

echo "# refusals"
use restarts ext4
volume=${restarts[0]} context=${restarts[1]}
good=$context
context=$(jq -c '.image = "no-such-image" | del(.imageId)' <<<"$good")
fails_with NOT_FOUND "an image that does not exist" stage
like "says so" "$error" "does not exist"
context=$(jq -c '.pool = "no-such-pool"' <<<"$good")
fails_with NOT_FOUND "a pool that does not exist" stage
context=$good
jq '.userKey |= (.[:30] + (if .[30:31] == "A" then "B" else "A" end) + .[31:])' \
	"$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with "(PERMISSION_DENIED|UNAUTHENTICATED)" "a wrong key" stage
jq '.userKey = "AAAA"' "$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with INVALID_ARGUMENT "a key that is none" stage
# of 32 random bytes, as Ceph 20.2.4 makes them
new_key=$({ printf '\2\0\0\0\0\0\0\0\0\0\40\0'; head -c 32 /dev/urandom; } | base64 -w 0)
jq --arg key "$new_key" '.userKey = $key' "$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with FAILED_PRECONDITION \
	"a key of a type that this kernel does not know" stage
like "says type, kernel, and what to do" "$error" \
	"its type is 2 \(aes256k\), which Linux $(uname -r) cannot use: take Linux 7.0 or later, or"
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
ok "the key is not in the log" eval '! grep -qF -- "$key" "$work/csid.log"'
done_testing
