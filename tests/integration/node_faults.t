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
		--arg cluster "$RBD_CSI_FSID" '{
			name: $name, capacityRange: {requiredBytes: "67108864"},
			volumeCapabilities: [$capability],
			parameters: {clusterID: $cluster, pool: "rbd", mounter: "userspace"}
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
attachds() { pgrep -f "^$build/rbd-attachd $work/state/"; }

# At the end: every rbd-attachd of ours, and what it had mounted.
stop_attachds() {
	local pid point
	for pid in $(attachds); do
		kill -TERM "$pid"
		wait_for 10 is_gone "$pid" || kill -KILL "$pid"
	done
	while read -r point; do
		umount "$point" || return
	done < <(awk -v d="$work/state/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)
}
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
fails_with NOT_FOUND "a pool that is not there" stage_as '.publishContext.pool = "no-such-pool"'
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

# ---- a cluster that does not answer ----------------------------------------------------------

stage_nowhere() {
	local begin=${EPOCHREALTIME/./}
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 4 \
		call Node/NodeStageVolume "$(request ". + {stagingTargetPath: \"$work/staging/nowhere\",
			volumeCapability: $capability} | del(.publishContext) |
			.volumeId = \"0001-0007-nowhere-\" + .volumeId[-53:] |
			.volumeContext.clusterID = \"nowhere\"")" 2>&1
	echo $(((${EPOCHREALTIME/./} - begin) / 1000)) >"$work/took"
}
mkdir -p "$work/staging/nowhere"
stage_nowhere >"$work/nowhere" &
nowhere=$!
sleep 0.5
ok "while one cluster does not answer a volume of another is staged" stage
ok "and published" publish
ok "and unpublished" unpublish
ok "and unstaged" unstage
ok "which went on meanwhile" test -d "/proc/$nowhere"
wait "$nowhere"
took=$(<"$work/took")
ok "unreachable monitors are answered within the caller's deadline ($took ms)" \
	test "$took" -ge 3500 -a "$took" -le 6000
like "with what is in the way" "$(<"$work/nowhere")" '^DEADLINE_EXCEEDED: .*NodeStageVolume'
ok "the operation ends though nobody waits for it" wait_for 20 grep -q 'op.end method=NodeStageVolume.*UNAVAILABLE' "$work/csid.log"
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
ok "it is unpublished" unpublish
ok "unstaged" unstage
ok "and deleted" remove
become "${other[@]}"
ok "so is the other one" unstage
ok "and deleted" remove
is "nothing is left" "$(left)" "$nothing"

ok "the daemon ends" stop_daemon
done_testing
