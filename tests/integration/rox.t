#!/bin/bash
# rox.t: a volume for many readers that was restored from a snapshot of a volume in use, whose journal
# is to be replayed: once, by one node, and not while anybody else has the image open for writing. Here
# with the userspace mapper; tests/vm/krbd-rox.t runs the same with the kernel's driver.
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cluster
mounter=${mounter:-userspace}
fallback=none
[[ $mounter == rbd ]] || {
	defer stop_attachds
	fallback=userspace
}
start_daemon --mounter-fallback=$fallback
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"
mode=MULTI_NODE_READER_ONLY
bytes=$((320 << 20))

# snapshot NAME: of the volume, sets snap
snapshot() {
	call Controller/CreateSnapshot "$(with '{name: "'"$1"'", sourceVolumeId: .volumeId}')" &&
		snap=$(jq -r .snapshot.snapshotId <<<"$reply")
}
# restore NAME FSTYPE FEATURES: from snap, for readers
restore() {
	call Controller/CreateVolume "$(jq -nc --arg name "$1" --argjson cap "$(capability "$2" "$mode")" --arg snap "$snap" \
		--arg features "$3" --arg cluster "$RBD_CSI_FSID" --arg mounter "$mounter" --arg bytes "$bytes" '{
			name: $name, capacityRange: {requiredBytes: $bytes}, volumeCapabilities: [$cap],
			volumeContentSource: {snapshot: {snapshotId: $snap}}, parameters: {clusterID: $cluster,
				pool: "rbd", imageFeatures: $features, mounter: $mounter}}')" &&
		volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' <<<"$reply") &&
		image=$(jq -r .volumeContext.imageName <<<"$volume")
}
# begin_watch, end_watch: another client that has the image open for writing; beside the cluster, until
# an object tells it to end
watch='
import subprocess, sys, time
header, end = sys.argv[1:]
watch = subprocess.Popen(["rados", "-p", "rbd", "watch", header], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
for _ in range(2000):
    if subprocess.run(["rados", "-p", "rbd", "stat", end], capture_output=True).returncode == 0:
        break
    time.sleep(0.2)
watch.communicate(b"\n")
sys.exit(watch.returncode)'
# A guest has programs that run beside the cluster, by their names.
beside=python3
[[ -z ${RBD_CSI_HOST:-} ]] || {
	beside=$work/python3
	ln -s "$(readlink -f "$(command -v rados)")" "$beside"
}
watchers() { timeout 60 rados -p rbd listwatchers "$header"; }
begin_watch() {
	header=rbd_header.$(timeout 60 rbd info --format json "$image" | jq -r .id)
	"$beside" -c "$watch" "$header" "end.$image" &
	watcher=$!
	wait_for 120 eval '[[ $(watchers) ]]'
}
end_watch() {
	timeout 60 rados -p rbd create "end.$image" && wait "$watcher" && timeout 60 rados -p rbd rm "end.$image"
}
# replays: how often a journal was replayed until now
replays() { grep -c " stage.replayed " "$work/csid.log"; }
read_only() { ! touch "$target/new" 2>/dev/null && has_data; }

replayed=0
# readers NAME FSTYPE FEATURES
readers() {
	echo "# $2, $3"
	use "$1" "$2"
	ok "$2: created" create "$@"
	ok "published to the node" attach
	ok "staged" stage
	ok "published" publish
	[[ $mounter == rbd ]] || own_mounts=1
	ok "data is written" put_data "$1"
	ok "a snapshot is made, while it is in use" snapshot "$1"
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "unpublished from the node" detach
	source=$volume

	use "$1-many" "$2" "$mode"
	ok "restored, for many readers" restore "$1-many" "$2" "$3"
	ok "published to the node" attach
	ok "another client opens it" begin_watch
	fails_with FAILED_PRECONDITION "then its journal is left alone" stage
	like "which says why" "$error" "journal .* cannot be replayed now: image $image is open for writing by 2 clients"
	ok "nothing is left" nothing_left
	ok "that client closes it" end_watch
	ok "staged, the journal is replayed" stage
	is "which the log says" "$(replays)" $((++replayed))
	ok "published" publish
	ok "what was written is there, and can only be read" read_only
	is "nobody has it open for writing" "$(watchers)" ""
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "staged again" stage
	is "there was nothing to replay" "$(replays)" "$replayed"
	ok "unstaged" unstage
	ok "nothing is left" nothing_left
	ok "unpublished from the node" detach
	ok "deleted" delete
}

# all_nodes NAME: three nodes, which all find the journal at the same moment, and a controller for all
all_nodes() {
	local node left=() failed=0 one
	local -A daemon
	ok "no daemon but these" stop_daemon
	for node in a b c; do
		endpoint=unix://$work/$node.sock
		mkdir -p "$work/state/$node"
		start_daemon --controllerserver=false --nodeid="node-$node" --statedir="$work/state/$node"
		daemon[$node]=$csid_pid
	done
	endpoint=unix://$work/csi.sock
	start_daemon --nodeserver=false
	daemon[controller]=$csid_pid
	use "$1" ext4 "$mode"
	ok "restored once more" restore "$1" ext4 layering
	for node in a b c; do
		mkdir -p "$staging.$node"
		ok "published to node $node" call Controller/ControllerPublishVolume \
			"$(with '. + {nodeId: "node-'$node'", volumeCapability: $cap}')"
		context=$(jq -c .publishContext <<<"$reply")
		stage_by_kubelet "$node" &
		left+=($!)
	done
	for one in "${left[@]}"; do wait "$one" || ((++failed)); done
	is "each node stages it" "$failed" 0
	ok "after a replay, which who comes late may do once more: there is nothing left then" test "$(replays)" -gt "$replayed"
	diag "refused meanwhile: $(grep -c . "$work"/*.refused | sed 's/.*refused://' | xargs)"
	for node in a b c; do
		data=$staging.$node/$(jq -r .volumeId <<<"$volume")/data
		ok "node $node has what was written" has_data
		endpoint=unix://$work/$node.sock
		ok "unstaged" call Node/NodeUnstageVolume "$(with '. + {stagingTargetPath: ($staging + ".'$node'")}' id)"
		csid_pid=${daemon[$node]}
		ok "and the node ends" stop_daemon
	done
	endpoint=unix://$work/csi.sock
	csid_pid=${daemon[controller]}
	for node in a b c; do
		ok "unpublished from node $node" call Controller/ControllerUnpublishVolume \
			"$(with '. + {nodeId: "node-'$node'"}' id)"
	done
	ok "deleted" delete
}
# stage_by_kubelet NODE: repeats the call until it has been done
stage_by_kubelet() {
	local n
	endpoint=unix://$work/$1.sock
	work=$work/$1.d
	mkdir "$work"
	for ((n = 0; n < 200; n++)); do
		call Node/NodeStageVolume "$(with '. + {stagingTargetPath: ($staging + ".'"$1"'"),
			volumeCapability: $cap, publishContext: $context}')" >>"${work%.d}.refused" && return
		sleep 0.$((RANDOM % 9 + 1))
	done
	return 1
}

# forget: what the first half of `readers` has made
forget() {
	ok "the snapshot is deleted" call Controller/DeleteSnapshot "{\"snapshotId\": \"$snap\"}"
	volume=$source
	ok "the first volume is deleted" delete
}

readers rox-xfs xfs layering
forget
readers rox-ext4 ext4 "$all_features"
[[ $mounter == rbd ]] || all_nodes rox-all
forget

done_testing
