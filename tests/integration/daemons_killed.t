#!/bin/bash
# daemons_killed.t: rbd-csid dies together with its ceph-worker in front of each write of each Controller
# RPC; another rbd-csid, asked for the same, does it, and an audit finds nothing at the end.
. "$(dirname "$0")/lib.sh"

need_cluster
pool=t-daemons-killed-$$
ceph osd pool create "$pool" 8 >/dev/null 2>&1
timeout 60 rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it

declare -A pid
# serve NAME WORKER: a daemon of its own at $work/NAME.sock
serve() {
	# No child of this shell, which would tell of each that is killed.
	pid[$1]=$("$build/rbd-csid" --type=rbd --controllerserver --nodeid="$1" --endpoint="unix://$work/$1.sock" \
		--config="$RBD_CSI_CONFIG" --statedir="$work/state.$1" --worker-path="$build/$2" \
		--drivername=rbd.csi.ceph.com >>"$work/$1.log" 2>&1 & echo $!)
	wait_for 60 ask "$1" Identity/Probe '{}'
}
end_of() {
	kill "${pid[$1]}" 2>/dev/null
	wait_for 60 is_gone "${pid[$1]}" || kill -KILL "${pid[$1]}"
}
# ask NAME METHOD JSON: the answer goes to $work/answer.NAME
ask() {
	"$build/rbd-csictl" --endpoint "unix://$work/$1.sock" --secrets "$RBD_CSI_SECRETS" \
		--timeout 60 call "$2" "$3" >"$work/answer.$1" 2>"$work/error.$1"
}

# sweep WHAT METHOD REQUEST...: the request is that of `REQUEST N`, about something else each time
sweep() {
	local what=$1 method=$2 n json killed=0 not_done='' answered
	for ((n = 1; n <= 60; n++)); do
		json=$("${@:3}" "$n")
		RBD_CSI_TEST_KILL_PARENT=1 RBD_CSI_TEST_KILL_AT=$n serve c tests/integration/worker_hooked ||
			not_done+=" no daemon at $n;"
		answered=1
		ask c "$method" "$json" || {
			answered=0
			((++killed))
			wait_for 60 is_gone "${pid[c]}" || not_done+=" not killed at $n;"
		}
		if ask a "$method" "$json"; then
			jq -r '.volume.volumeId // .snapshot.snapshotId // empty' "$work/answer.a" >>"$work/made.$what"
		else
			not_done+=" $n: $(head -n 1 "$work/error.a");"
		fi
		((answered)) && break # it had fewer writes than that; a purge may have more
	done
	end_of c
	is "$what: another daemon does it wherever the first was killed" "$not_done" ""
	ok "$what: of $killed kills" test "$killed" -ge 1 -a "$n" -le 60
}

access='{"block": {}, "accessMode": {"mode": "MULTI_NODE_MULTI_WRITER"}}'
create() { # NAME [JSON]
	jq -nc --arg name "$1" --arg pool "$pool" --arg cluster "$RBD_CSI_FSID" --argjson access "$access" \
		--argjson more "${2:-null}" '{name: $name, capacityRange: {requiredBytes: "8388608"},
		volumeCapabilities: [$access], parameters: {clusterID: $cluster, pool: $pool,
		imageFeatures: "layering,exclusive-lock,object-map,fast-diff"}} * ($more // {})'
}
new_volume() { create "new-$1"; }
clone() { create "clone-$1" "{\"volumeContentSource\": {\"volume\": {\"volumeId\": \"$base\"}}}"; }
restore() { create "restore-$1" "{\"volumeContentSource\": {\"snapshot\": {\"snapshotId\": \"$shot\"}}}"; }
snapshot() { echo "{\"name\": \"shot-$1\", \"sourceVolumeId\": \"$base\"}"; }
expand() { echo "{\"volumeId\": \"$base\", \"capacityRange\": {\"requiredBytes\": \"$((8388608 + $1 * 4194304))\"}}"; }
publish() { echo "{\"volumeId\": \"$base\", \"nodeId\": \"node-$1\", \"volumeCapability\": $access, \"volumeContext\": {}}"; }
unpublish() { echo "{\"volumeId\": \"$base\", \"nodeId\": \"node-$1\"}"; }
# delete KEY WHAT N: the N-th of those that `sweep WHAT` has made
delete() { echo "{\"$1\": \"$(sed -n "$3p" "$work/made.$2")\"}"; }

serve a ceph-worker || bail "no daemon: $(<"$work/a.log")"
defer end_of a
ask a Controller/CreateVolume "$(create base)" || bail "$(<"$work/error.a")"
base=$(jq -r .volume.volumeId "$work/answer.a")
ask a Controller/CreateSnapshot "$(snapshot base)" || bail "$(<"$work/error.a")"
shot=$(jq -r .snapshot.snapshotId "$work/answer.a")

sweep create Controller/CreateVolume new_volume
sweep snapshot Controller/CreateSnapshot snapshot
sweep restore Controller/CreateVolume restore
sweep clone Controller/CreateVolume clone
sweep expand Controller/ControllerExpandVolume expand
sweep publish Controller/ControllerPublishVolume publish
for ((n = 1; n <= 9; n++)); do ask a Controller/ControllerPublishVolume "$(publish "$n")"; done
sweep unpublish Controller/ControllerUnpublishVolume unpublish
for ((n = 1; n <= 60; n++)); do ask a Controller/ControllerUnpublishVolume "$(unpublish "$n")"; done

# More than a sweep takes: as many as there may be writes.
for ((n = 1; n <= 25; n++)); do
	for what in create clone; do
		[[ $what == create ]] && json=$(new_volume "$n") || json=$(clone "$n")
		ask a Controller/CreateVolume "$json" && jq -r .volume.volumeId "$work/answer.a" >>"$work/more.$what"
	done
	ask a Controller/CreateSnapshot "$(snapshot "$n")" && jq -r .snapshot.snapshotId "$work/answer.a" >>"$work/more.snapshot"
done
for what in create clone snapshot; do mv "$work/more.$what" "$work/made.$what"; done
sweep unsnapshot Controller/DeleteSnapshot delete snapshotId snapshot
sweep delete Controller/DeleteVolume delete volumeId create
sweep delete_clone Controller/DeleteVolume delete volumeId clone

# ---- all goes ----------------------------------------------------------------------------------

left=''
for id in $(cat "$work/made.clone" "$work/made.restore" "$work/made.create") "$base"; do
	ask a Controller/DeleteVolume "{\"volumeId\": \"$id\"}" || left+=" $(<"$work/error.a")"
done
for id in $(cat "$work/made.snapshot") "$shot"; do
	ask a Controller/DeleteSnapshot "{\"snapshotId\": \"$id\"}" || left+=" $(<"$work/error.a")"
done
is "all are deleted" "$left" ""
# What the killed ones have begun to purge the next that starts goes on with; a parent after its clones.
purged() {
	end_of a
	serve a ceph-worker
	ask a Controller/CreateVolume "$(create base)" && ask a Controller/DeleteVolume "$(jq '{volumeId: .volume.volumeId}' "$work/answer.a")"
	wait_for 5 all_gone
}
all_gone() { [[ -z $(timeout 60 rbd ls "$pool")$(timeout 60 rbd trash ls --all "$pool") ]]; }
ok "and purged" wait_for 300 purged
ok "and an audit finds nothing" "$build/rbd-csictl" --endpoint "unix://$work/a.sock" --secrets "$RBD_CSI_SECRETS" \
	audit --cluster "$RBD_CSI_FSID" --pool "$pool"
done_testing
