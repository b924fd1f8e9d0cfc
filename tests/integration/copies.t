#!/bin/bash
# copies.t: volumes from snapshots and volumes through rbd-csid: files that were in the source, also in
# a larger copy and for readers only; many at once; a source that is deleted meanwhile; what a source
# may not be. worker_copies.c compares what is on the cluster.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-copies-csid
many=200
ceph osd pool create "$pool" 8 >/dev/null 2>&1
rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
defer stop_attachds
start_daemon --metrics-address="unix://$work/metrics.sock"
staging=$work/staging
target=$work/target

# request NAME SOURCE JSON: a CreateVolume of 320 MiB with a file system, changed by JSON.
request() {
	jq -nc --arg name "$1" --arg pool "$pool" --arg cluster "$RBD_CSI_FSID" \
		--argjson source "$2" --argjson more "${3:-{\}}" '{
		name: $name, capacityRange: {requiredBytes: 335544320},
		volumeCapabilities: [{mount: {fsType: "xfs"}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, imageFeatures: "layering"},
		volumeContentSource: $source} * $more'
}
of_volume() { jq -nc --arg id "$1" '{volume: {volumeId: $id}}'; }
of_snapshot() { jq -nc --arg id "$1" '{snapshot: {snapshotId: $id}}'; }
create() { # NAME SOURCE JSON
	call Controller/CreateVolume "$(request "$@")" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
trash_is_empty() { [[ -z $(rbd trash ls --all "$pool") ]]; }

readers='{"volumeCapabilities": [{"mount": {"fsType": "xfs"}, "accessMode": {"mode": "MULTI_NODE_READER_ONLY"}}]}'

# use VOLUME [JSON]: attached, mounted at $target.
use() {
	local json
	json=$(jq -nc --arg id "$1" --arg staging "$staging" --arg target "$target" \
		--arg cluster "$RBD_CSI_FSID" --arg pool "$pool" --arg image "csi-vol-${1: -36}" \
		--argjson more "${2:-{\}}" '{volumeId: $id, nodeId: "test-node",
		stagingTargetPath: $staging, targetPath: $target,
		volumeCapability: ($more.volumeCapabilities // [{mount: {fsType: "xfs"},
			accessMode: {mode: "SINGLE_NODE_WRITER"}}])[0],
		volumeContext: {clusterID: $cluster, pool: $pool, imageName: $image, mounter: "userspace"}}')
	mkdir -p "$staging"
	call Controller/ControllerPublishVolume \
		"$(jq -c 'del(.stagingTargetPath, .targetPath)' <<<"$json")" &&
		call Node/NodeStageVolume "$(jq -c 'del(.nodeId, .targetPath)' <<<"$json")" &&
		call Node/NodePublishVolume "$(jq -c 'del(.nodeId)' <<<"$json")"
}
leave() {
	call Node/NodeUnpublishVolume "{\"volumeId\": \"$1\", \"targetPath\": \"$target\"}" &&
		call Node/NodeUnstageVolume "{\"volumeId\": \"$1\", \"stagingTargetPath\": \"$staging\"}" &&
		call Controller/ControllerUnpublishVolume "{\"volumeId\": \"$1\", \"nodeId\": \"test-node\"}"
}

# As ceph-csi's CreateSnapshot lays it out. Sets snapshot.
snapshot_of() { # VOLUME
	local uuid=5aa05aa0-0000-4000-8000-000000000001 source=csi-vol-${1: -36} snap
	snap=csi-snap-$uuid
	snapshot=${1:0:-36}$uuid
	rbd snap create --no-progress "$pool/$source@$snap" &&
		rbd clone --rbd-default-clone-format 2 "$pool/$source@$snap" "$pool/$snap" &&
		rbd snap rm --no-progress "$pool/$source@$snap" &&
		rbd snap create --no-progress "$pool/$snap@$snap" &&
		rados -p "$pool" setomapval "csi.snap.$uuid" csi.snapname name &&
		rados -p "$pool" setomapval "csi.snap.$uuid" csi.imagename "$snap" &&
		rados -p "$pool" setomapval "csi.snap.$uuid" csi.source "$source"
}

# ---- files -----------------------------------------------------------------------------------

ok "a volume" create source null || bail "no volume"
source=$volume
ok "is used" use "$source" || bail "$error"
head -c 3000000 /dev/urandom >"$target/file"
want=$(md5sum <"$target/file")
sync -f "$target/file"
ok "while it is in use it is cloned" create clone "$(of_volume "$source")"
clone=$volume
echo changed >"$target/file"
ok "and is used no more" leave "$source"
ok "a snapshot is made" snapshot_of "$source" || bail "no snapshot"

ok "the clone is used" use "$clone"
is "it has the file as it was" "$(md5sum <"$target/file")" "$want"
ok "and is used no more" leave "$clone"

ok "a larger volume is restored" create larger "$(of_snapshot "$snapshot")" \
	'{"capacityRange": {"requiredBytes": 536870912}}'
larger=$volume
is "its size is told" "$(jq -r .volume.capacityBytes <<<"$reply")" 536870912
is "so is its source" "$(jq -rc .volume.contentSource <<<"$reply")" "$(of_snapshot "$snapshot")"
ok "it is used" use "$larger"
is "it has the file as it was" "$(<"$target/file")" changed
ok "its file system is as large as it" \
	test "$(df --output=size -B1M "$target" | tail -1)" -gt 400
ok "and is used no more" leave "$larger"

fails_with INVALID_ARGUMENT "a volume for readers only needs a source" create readers null "$readers"
ok "with one it is made" create readers "$(of_snapshot "$snapshot")" "$readers"
readers_volume=$volume
ok "it is used" use "$readers_volume" "$readers"
is "it has the file" "$(<"$target/file")" changed
ok "which nobody can change" bash -c "! touch '$target/file' 2>/dev/null"
ok "and is used no more" leave "$readers_volume"

# ---- what is no source -------------------------------------------------------------------------

fails_with NOT_FOUND "a snapshot that is not there" create none \
	"$(of_snapshot "${snapshot:0:-1}9")"
fails_with NOT_FOUND "a volume that is none" create none "$(of_volume "no-such-volume")"
fails_with INVALID_ARGUMENT "a volume of another cluster" create none \
	"$(of_volume "0001-0005-other-0000000000000001-${source: -36}")"
fails_with OUT_OF_RANGE "a size below the source's" create none "$(of_snapshot "$snapshot")" \
	'{"capacityRange": {"requiredBytes": 1048576}}'
fails_with ALREADY_EXISTS "a volume that was made from another one" create larger "$(of_volume "$source")"

# ---- many at once ------------------------------------------------------------------------------

# make NAME JSON: a CreateVolume without any other program; its volume goes to $work/made.NAME.
make() {
	local said
	said=$("$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" \
		call Controller/CreateVolume "${2/NAME/"$1"}" 2>"$work/error.$1") || return
	[[ $said =~ \"volumeId\":\ *\"([^\"]*)\" ]] && echo "${BASH_REMATCH[1]}" >"$work/made.$1"
}
remove() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" \
		call Controller/DeleteVolume "{\"volumeId\": \"$(<"$1")\"}"
}
# joined PID...: prints how many of them have failed.
joined() {
	local pid failed=0
	for pid; do
		wait "$pid" || ((++failed))
	done
	echo "$failed"
}

json=$(request NAME "$(of_snapshot "$snapshot")")
pids=()
begin=${EPOCHREALTIME/./}
for ((i = 1; i <= many; i++)); do
	make "many-$i" "$json" &
	pids+=($!)
done
joined "${pids[@]}" >"$work/failed"
is "$many are restored from one snapshot at once" "$(<"$work/failed")" 0 ||
	diag "$(cat "$work"/error.many-* | sort | uniq -c | head -5)"
diag "in $(((${EPOCHREALTIME/./} - begin) / 1000)) ms, with a process for each call"
is "each of them is another one" "$(cat "$work"/made.many-* | sort -u | wc -l)" "$many"
pids=()
for file in "$work"/made.many-*; do
	remove "$file" >/dev/null 2>&1 &
	pids+=($!)
done
joined "${pids[@]}" >"$work/failed"
is "they are deleted at once" "$(<"$work/failed")" 0

# ---- a source that goes meanwhile ----------------------------------------------------------------

for volume in "$larger" "$readers_volume" "$clone"; do
	ok "a copy is deleted" delete "$volume"
done
ok "all copies are purged" wait_for 60 trash_is_empty
rbd snap rm --no-progress "$pool/csi-snap-${snapshot: -36}@csi-snap-${snapshot: -36}"
rbd rm --no-progress "$pool/csi-snap-${snapshot: -36}"

json=$(request NAME "$(of_volume "$source")")
pids=()
for i in 1 2 3 4 5; do
	make "clone-$i" "$json" &
	pids+=($!)
done
has_clone() { compgen -G "$work/made.clone-*" >/dev/null; }
ok "a volume is cloned several times at once" wait_for 60 has_clone
ok "and deleted meanwhile" delete "$source"
joined "${pids[@]}" >"$work/failed"
is "each clone is made, or finds no source any more" \
	"$(($(<"$work/failed") + $(cat "$work"/made.clone-* | wc -l)))" 5
is "for no other reason" "$(cat "$work"/error.clone-* | grep -vc '^NOT_FOUND: ')" 0
for file in "$work"/made.clone-*; do
	volume=$(<"$file")
	ok "a clone is used" use "$volume"
	is "it has the file" "$(<"$target/file")" changed
	ok "and is used no more" leave "$volume"
	ok "it is deleted" delete "$volume"
done
ok "all is purged" wait_for 60 trash_is_empty
is "and nothing is left" "$(rbd ls "$pool")" ""

done_testing
