#!/bin/bash
# node_faults.t: what can be wrong when a node is asked to stage or publish a volume, with the
# userspace mapper on a real cluster: each fault has its code and names its cause, other volumes
# go on meanwhile, and nothing is left of it.
. "$(dirname "$0")/lib.sh"

need_cluster
capability='{"mount": {"fsType": "ext4"}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'
jq '. + [{clusterID: "nowhere", monitors: ["127.0.0.1:1"]}]' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
start_daemon

# make NAME: creates and publishes a volume; sets volume (its requests' common part) and staging.
make() {
	call Controller/CreateVolume "$(jq -n --argjson capability "$capability" --arg name "$1" \
		--arg features "${features:-}" --arg cluster "$RBD_CSI_FSID" '{
			name: $name, capacityRange: {requiredBytes: "67108864"},
			volumeCapabilities: [$capability],
			parameters: ({clusterID: $cluster, pool: "rbd", mounter: "userspace"} +
				if $features == "" then {} else {imageFeatures: $features} end)
		}')" || return
	volume=$(jq '.volume | {volumeId, volumeContext}' <<<"$reply")
	call Controller/ControllerPublishVolume "$(request \
		". + {nodeId: \"test-node\", volumeCapability: $capability}")" || return
	volume=$(jq --argjson c "$(jq .publishContext <<<"$reply")" '.publishContext = $c' \
		<<<"$volume")
	id=$(jq -r .volumeId <<<"$volume")
	staging=$work/staging/$1
	target=$work/pods/$1/mount
	mkdir -p "$staging" "$work/pods/$1"
}

request() { jq "$1" <<<"$volume"; }

# stage_as FILTER: the request as a jq filter changes it
stage_as() {
	call Node/NodeStageVolume "$(request ". + {stagingTargetPath: \"$staging\",
		volumeCapability: $capability} | $1")"
}
stage() { stage_as .; }
publish() {
	call Node/NodePublishVolume "$(request ". + {stagingTargetPath: \"$staging\",
		targetPath: \"$target\", volumeCapability: $capability}")"
}
unpublish() { call Node/NodeUnpublishVolume "{\"volumeId\": \"$id\", \"targetPath\": \"$target\"}"; }
unstage() {
	call Node/NodeUnstageVolume "{\"volumeId\": \"$id\", \"stagingTargetPath\": \"$staging\"}"
}
remove() {
	call Controller/ControllerUnpublishVolume \
		"{\"volumeId\": \"$id\", \"nodeId\": \"test-node\"}" &&
		call Controller/DeleteVolume "{\"volumeId\": \"$id\"}"
}

# stage_with SECRETS-JSON: stage with these secrets instead of the cluster's
stage_with() {
	local RBD_CSI_SECRETS=$work/secrets.json
	printf '%s' "$1" >"$RBD_CSI_SECRETS"
	stage
}

loops() { grep -ls "^$work/" /sys/block/loop*/loop/backing_file | wc -l; }
mounts() { grep -c " $work/\(staging\|pods\)/" /proc/self/mountinfo; }
left() { echo "$(loops) loop devices, $(mounts) mounts, $(find "$work/staging" "$work/pods" -mindepth 2 | wc -l) files"; }
nothing="0 loop devices, 0 mounts, 0 files"

defer stop_attachds

ok "a volume is made and published to the node" make faults || bail "no volume"

# ---- stage -----------------------------------------------------------------------------------

user=$(jq -r .userID "$RBD_CSI_SECRETS")
key=$(jq -r .userKey "$RBD_CSI_SECRETS")
fails_with INVALID_ARGUMENT "stage without the user's name" stage_with "{\"userKey\": \"$key\"}"
like "names the field" "$error" "userID"
fails_with INVALID_ARGUMENT "stage without the key" stage_with "{\"userID\": \"$user\"}"
like "names the field" "$error" "userKey"
fails_with "(UNAUTHENTICATED|PERMISSION_DENIED)" "stage with a wrong key" \
	stage_with "{\"userID\": \"$user\", \"userKey\": \"AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==\"}"
like "names the user" "$error" "client\.$user"
fails_with NOT_FOUND "an image that is not there" \
	stage_as '.publishContext.image = "no-such-image" | .publishContext.imageId = "123456789abc"'
like "is named" "$error" "no-such-image"
fails_with NOT_FOUND "a pool that is not there, by name nor by id" stage_as '.publishContext.pool = "no-such-pool" |
	.volumeId |= .[:-53] + "00000000000ffff0" + .[-37:]'
like "is named" "$error" "no-such-pool"
fails_with "(INVALID_ARGUMENT|FAILED_PRECONDITION)" "a cluster that is not in config.json" \
	stage_as 'del(.publishContext) | .volumeId = "0001-0005-unset-" + .volumeId[-53:] |
		.volumeContext.clusterID = "unset"'
like "is named" "$error" '"unset"'
fails_with INVALID_ARGUMENT "a staging path that is not there" \
	stage_as ".stagingTargetPath = \"$work/staging/none\""
like "names the field" "$error" staging_target_path
fails_with INVALID_ARGUMENT "a file system that nobody knows" \
	stage_as '.volumeCapability.mount.fsType = "zonefs"'
like "names the field" "$error" "volume_capability.mount.fs_type"
is "nothing is left of all that" "$(left)" "$nothing"

# ---- a header that cannot be -----------------------------------------------------------------

image=$(request .publishContext.image | jq -r .)
header=rbd_header.$(request .publishContext.imageId | jq -r .)
# set_order OCTAL: what the image's header says
set_order() { printf '%b' "\\0$1" | timeout 60 rados -p rbd setomapval "$header" order; }
ok "the image's header is damaged" set_order 377
fails_with DATA_LOSS "stage: is told" stage
like "with the image" "$error" "$image"
set_order 1
fails_with DATA_LOSS "stage: an object size that librbd would take" stage
like "says what is wrong" "$error" 'object size 2\^1 '
fails_with DATA_LOSS "ControllerPublishVolume: is told, too" \
	call Controller/ControllerPublishVolume "$(request \
		". + {nodeId: \"test-node\", volumeCapability: $capability} | del(.publishContext)")"
set_order 26
is "nothing is left of it" "$(left)" "$nothing"

# ---- a cluster that does not answer ----------------------------------------------------------

# stage_nowhere SECONDS: the caller's deadline
stage_nowhere() {
	local begin=${EPOCHREALTIME/./}
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout "$1" \
		call Node/NodeStageVolume "$(request ". + {stagingTargetPath: \"$work/staging/nowhere\",
			volumeCapability: $capability} | del(.publishContext) |
			.volumeId = \"0001-0007-nowhere-\" + .volumeId[-53:] |
			.volumeContext.clusterID = \"nowhere\"")" 2>&1
	echo $(((${EPOCHREALTIME/./} - begin) / 1000)) >"$work/took"
}
mkdir -p "$work/staging/nowhere"
stages_nowhere() { "$build/rbd-csictl" --endpoint "$endpoint" ops | grep -q 'NodeStageVolume .*-nowhere-'; }
stage_nowhere 120 >"$work/waiting" &
nowhere=$!
ok "a volume of one that does not answer is being staged" wait_for 60 stages_nowhere
ok "while one cluster does not answer a volume of another is staged" stage
ok "and published" publish
ok "and unpublished" unpublish
ok "and unstaged" unstage
ok "which went on meanwhile" stages_nowhere
stage_nowhere 4 >"$work/nowhere"
took=$(<"$work/took")
ok "unreachable monitors are answered within the caller's deadline ($took ms)" \
	test "$took" -ge 3500 -a "$took" -le 25000
like "with what is in the way" "$(<"$work/nowhere")" '^DEADLINE_EXCEEDED: .*NodeStageVolume'
pkill -KILL -P "$nowhere"
wait "$nowhere"
ok "the operation ends though nobody waits for it" wait_for 60 grep -q 'op.end method=NodeStageVolume.*UNAVAILABLE' "$work/csid.log"
like "and tells why" "$(grep op.end "$work/csid.log")" 'connect to monitors 127.0.0.1:1'
is "nothing is left" "$(left)" "$nothing"

# ---- publish ---------------------------------------------------------------------------------

point=$staging/$id
fails_with FAILED_PRECONDITION "publish: nothing is staged" publish
mkdir "$point"
fails_with FAILED_PRECONDITION "publish: the staging path is a directory and no mount" publish
ok "publish: the target was not made" test ! -e "$target"
mount -t tmpfs none "$point"
fails_with FAILED_PRECONDITION "publish: something else is mounted there" publish
fails_with FAILED_PRECONDITION "stage: something else is mounted there" stage
umount "$point"
mount --bind / "$point"
fails_with FAILED_PRECONDITION "publish: the root file system is mounted there" publish
ok "publish: the target was not made" test ! -e "$target"
umount "$point"
rmdir "$point"

mine=("$volume" "$id" "$staging" "$target")
ok "another volume is made" make other
ok "and staged" stage
other=("$volume" "$id" "$staging" "$target")
become() { volume=$1 id=$2 staging=$3 target=$4; }
become "${mine[@]}"
mkdir "$point"
mount --bind "${other[2]}/${other[1]}" "$point"
fails_with FAILED_PRECONDITION "publish: another volume is mounted there" publish
fails_with FAILED_PRECONDITION "stage: another volume is mounted there" stage
ok "publish: the target was not made" test ! -e "$target"
umount "$point"
ok "and the volume itself is staged after that" stage
ok "and published" publish
fails_with FAILED_PRECONDITION "a volume that is used is not deleted" \
	call Controller/DeleteVolume "{\"volumeId\": \"$id\"}"
fails_with FAILED_PRECONDITION "nor is it unstaged" unstage
like "and the target is named" "$error" "$target still shows"
ok "it is mounted as before" mountpoint -q "$point"
ok "it is unpublished" unpublish
ok "unstaged" unstage
ok "and deleted" remove
become "${other[@]}"
ok "so is the other one" unstage
ok "and deleted" remove
is "nothing is left" "$(left)" "$nothing"

# ---- what is formatted -------------------------------------------------------------------------

mark_key=.rbd.csi.ceph.com/filesystem
mark() { timeout 60 rbd -c "$CEPH_CONF" image-meta get "rbd/$image" "$mark_key" 2>&1; }
set_mark() { timeout 60 rbd -c "$CEPH_CONF" image-meta set "rbd/$image" "$mark_key" "$1"; }
no_mark() { timeout 60 rbd -c "$CEPH_CONF" image-meta remove "rbd/$image" "$mark_key"; }
rados() { timeout 60 rados -c "$CEPH_CONF" -p rbd "$@"; }
objects() { rados ls | grep -F "$prefix." | sort; }
# look: sets image and prefix, which its data objects begin with, of the volume that was made
look() {
	image=$(jq -r .volumeContext.imageName <<<"$volume") &&
		prefix=$(timeout 60 rbd -c "$CEPH_CONF" info --format json "rbd/$image" |
			jq -r .block_name_prefix)
}
cycle() { stage && publish && echo precious >"$target/file" && unpublish && unstage; }
has_precious() { stage && publish && [[ $(<"$target/file") == precious ]] && unpublish && unstage; }

ok "a volume is made" make marks || bail "no volume"
ok "and looked at" look
ok "it is staged and written to" cycle
is "its mark says that it is formatted" "$(mark)" ext4
ok "its first object is lost" rados rm "$prefix.0000000000000000"
before=$(objects)
fails_with FAILED_PRECONDITION "it is not formatted" stage
like "which the mark is the reason for" "$error" "$image is not formatted: .*ext4.*$mark_key"
ok "its mark is lost, too" no_mark
fails_with FAILED_PRECONDITION "it is not formatted" stage
like "because there are objects" "$error" "$image is not formatted: .*object [0-9]+.*$mark_key to .unfinished [0-9a-f]+.$"
is "they are still there" "$(objects)" "$before"
ok "a person gives it up" set_mark "$(sed -n 's/.*to "\(.*\)"$/\1/p' <<<"$error")"
ok "then it is formatted" cycle
is "and marked" "$(mark)" ext4
objects | while read -r object; do rados rm "$object"; done
is "all its objects are lost" "$(objects)" ""
fails_with FAILED_PRECONDITION "it is not formatted" stage
like "as the mark says" "$error" "$image is not formatted: .*ext4"
is "nothing is left on the node" "$(left)" "$nothing"
ok "deleted" remove

# Without an object map each object is asked for.
features=layering
ok "a volume without an object map is made" make zeros || bail "no volume"
ok "and looked at" look
head -c 4194304 /dev/zero >"$work/zeros"
ok "an object of zeros is written" rados put "$prefix.0000000000000003" "$work/zeros"
printf x | dd of="$work/zeros" bs=1 seek=4194303 conv=notrunc status=none
ok "and one with data at its end" rados put "$prefix.000000000000000f" "$work/zeros"
fails_with FAILED_PRECONDITION "it is not formatted" stage
like "because of the second" "$error" "object 15"
ok "without that" rados rm "$prefix.000000000000000f"
ok "it is" cycle
is "and marked" "$(mark)" ext4
ok "the data are there" has_precious
ok "deleted" remove
features=

stage_static() {
	stage_as ".volumeId = \"somebody\" | .volumeContext = {staticVolume: \"true\", pool: \"rbd\",
		clusterID: \"$RBD_CSI_FSID\", mounter: \"userspace\"} | del(.publishContext)"
}
exported() { timeout 60 rbd -c "$CEPH_CONF" export --no-progress rbd/somebody - | cmp - "$work/random"; }
head -c 8388608 /dev/urandom >"$work/random"
ok "an image is imported" timeout 60 rbd -c "$CEPH_CONF" import --no-progress "$work/random" rbd/somebody
fails_with FAILED_PRECONDITION "as a static volume it is not formatted" stage_static
like "as it says" "$error" "static volumes are not formatted"
ok "nothing in it has changed" exported
ok "it goes" timeout 60 rbd -c "$CEPH_CONF" rm --no-progress rbd/somebody
is "nothing is left on the node" "$(left)" "$nothing"

# ---- a node without ceph-worker --------------------------------------------------------------

ok "a formatted volume" make with-file-system
ok "is there" cycle
formatted=("$volume" "$id" "$staging" "$target")
ok "and one that is not" make without-file-system
ok "the daemon ends" stop_daemon
start_daemon --worker-path="$work/none"
fails_with UNAVAILABLE "without ceph-worker nothing is formatted" stage
like "which the error tells" "$error" "ask the cluster whether the volume may be formatted: .*start $work/none"
is "nothing is left on the node" "$(left)" "$nothing"
unformatted=("$volume" "$id" "$staging" "$target")
become "${formatted[@]}"
ok "a formatted volume is staged" has_precious
ok "the daemon ends" stop_daemon
start_daemon
ok "deleted" remove
become "${unformatted[@]}"
ok "with ceph-worker the other one is formatted" cycle
ok "deleted" remove

# ---- a static volume -------------------------------------------------------------------------

# Nothing but its handle tells at the target whose mount it is.
rbd -c "$CEPH_CONF" create --size 64 rbd/static-disk
capability='{"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'
volume=$(jq -n --arg cluster "$RBD_CSI_FSID" '{volumeId: "static-disk", volumeContext: {
	staticVolume: "true", clusterID: $cluster, pool: "rbd", mounter: "userspace"}}')
id=static-disk
staging=$work/staging/static
target=$work/pods/static/mount
mkdir -p "$staging" "$work/pods/static"
writable=$target
ok "a static volume is staged" stage
ok "and published" publish
target=$work/pods/static/ro
ok "and published read-only" call Node/NodePublishVolume "$(request ". + {readonly: true,
	stagingTargetPath: \"$staging\", targetPath: \"$target\", volumeCapability: $capability}")"
cannot_write() { ! dd if=/dev/zero of="$1" bs=4096 count=1 oflag=direct; }
ok "where it cannot be written" cannot_write "$target"
ok "only there" dd if=/dev/zero of="$writable" bs=4096 count=1 oflag=direct
id=static-dis fails_with FAILED_PRECONDITION "another one is not unpublished there" unpublish
ok "it is unpublished" unpublish
fails_with FAILED_PRECONDITION "and used by the other target" unstage
target=$writable
ok "unpublished there, too" unpublish
ok "unstaged" unstage
is "nothing is left" "$(left)" "$nothing"
rbd -c "$CEPH_CONF" rm --no-progress rbd/static-disk

ok "the daemon ends" stop_daemon
done_testing
