#!/bin/bash
# two_daemons.t: two whole rbd-csid with a ceph-worker each serve one pool as controllers, as two leaders
# would: they are asked for the same at the same time.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-two-daemons rounds=3 tries=20
ceph osd pool create "$pool" 8 >/dev/null 2>&1
rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it

# a and b live; their endpoints are $work/NAME.sock.
declare -A pid
# serve NAME: a daemon of its own. False: it does not answer.
serve() {
	mkdir -p "$work/state.$1"
	"$build/rbd-csid" --type=rbd --controllerserver --nodeid="$1" --endpoint="unix://$work/$1.sock" \
		--config="$RBD_CSI_CONFIG" --statedir="$work/state.$1" \
		--worker-path="$build/ceph-worker" --drivername=rbd.csi.ceph.com \
		>>"$work/$1.log" 2>&1 &
	pid[$1]=$!
	wait_for 120 answers "$1"
}
# ask NAME SERVICE/METHOD JSON: the answer, or "CODE: text" to stderr.
ask() {
	"$build/rbd-csictl" --endpoint "unix://$work/$1.sock" --secrets "$RBD_CSI_SECRETS" \
		--timeout 120 call "$2" "$3"
}
answers() { ask "$1" Identity/Probe '{}' >/dev/null 2>&1; }
end_of() {
	kill "${pid[$1]}" 2>/dev/null
	wait_for 120 is_gone "${pid[$1]}" || kill -KILL "${pid[$1]}"
}

volume() { # NAME [JSON]
	jq -nc --arg name "$1" --arg pool "$pool" --arg cluster "$RBD_CSI_FSID" --argjson more "${2:-null}" '{
		name: $name, capacityRange: {requiredBytes: 16777216},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool}} * ($more // {})'
}
snapshot() { jq -nc --arg name "$1" --arg id "$2" '{name: $name, sourceVolumeId: $id}'; }
of_volume() { jq -nc --arg id "$1" '{volumeContentSource: {volume: {volumeId: $id}}}'; }
of_snapshot() { jq -nc --arg id "$1" '{volumeContentSource: {snapshot: {snapshotId: $id}}}'; }
id_in() { jq -r '.volume.volumeId // .snapshot.snapshotId' "$1"; }

# insist NAME FILE SERVICE/METHOD JSON: asks until it is done; who meets the other may be refused for
# a moment, but with ABORTED only.
insist() {
	local n
	for ((n = 0; n < tries; n++)); do
		ask "$1" "$3" "$4" >"$2" 2>"$2.error" && return
		grep -q '^ABORTED: ' "$2.error" || break
	done
	cat "$2.error" >>"$work/refused"
}
# both KEY SERVICE/METHOD JSON: of both daemons at once, in the background; $work/KEY.a and .b.
both() {
	local one
	for one in a b; do
		insist "$one" "$work/$1.$one" "$2" "$3" &
		waits+=($!)
	done
}
# same TEST KEY: all answers of rounds KEY.1 to KEY.N are there, and the same from both.
same() {
	local i good=0
	((${#waits[@]} == 0)) || wait "${waits[@]}"
	waits=()
	for ((i = 1; i <= rounds; i++)); do
		[[ -s $work/$2.$i.a ]] && cmp -s "$work/$2.$i.a" "$work/$2.$i.b" && ((good++))
	done
	is "$1" "$good" "$rounds"
}
images() { rbd ls "$pool"; }
trash_is_empty() { [[ -z $(rbd trash ls --all "$pool") ]]; }
audit_is_clean() {
	"$build/rbd-csictl" --endpoint "unix://$work/a.sock" --secrets "$RBD_CSI_SECRETS" audit \
		--cluster "$RBD_CSI_FSID" --pool "$pool" >"$work/audit" 2>&1 || {
		diag "$(<"$work/audit")"
		return 1
	}
}

for one in a b; do
	serve "$one" || bail "rbd-csid $one does not answer: $(tail -3 "$work/$one.log")"
	defer end_of "$one"
done

# ---- the same of both --------------------------------------------------------------------------

waits=()
: >"$work/refused"
for ((i = 1; i <= rounds; i++)); do both "volume.$i" Controller/CreateVolume "$(volume "same-$i")"; done
same "two daemons make the same volumes" volume
for ((i = 1; i <= rounds; i++)); do
	both "snap.$i" Controller/CreateSnapshot "$(snapshot "same-$i" "$(id_in "$work/volume.$i.a")")"
done
same "and the same snapshots of them" snap
for ((i = 1; i <= rounds; i++)); do
	both "restore.$i" Controller/CreateVolume \
		"$(volume "restored-$i" "$(of_snapshot "$(id_in "$work/snap.$i.a")")")"
	both "clone.$i" Controller/CreateVolume \
		"$(volume "cloned-$i" "$(of_volume "$(id_in "$work/volume.$i.a")")")"
done
same "and the same volumes of those" restore
same "and the same clones" clone
is "nothing is made twice" "$(images | grep -c '^csi-vol-[0-9a-f-]*$')" "$((3 * rounds))"

for ((i = 1; i <= rounds; i++)); do
	for kind in restore clone volume; do
		both "gone.$kind.$i" Controller/DeleteVolume \
			"$(jq -nc --arg id "$(id_in "$work/$kind.$i.a")" '{volumeId: $id}')"
	done
	both "gone.snap.$i" Controller/DeleteSnapshot \
		"$(jq -nc --arg id "$(id_in "$work/snap.$i.a")" '{snapshotId: $id}')"
done
for kind in restore clone volume snap; do same "all $kind are deleted by both" "gone.$kind"; done
is "nobody was refused" "$(<"$work/refused")" ""
is "no image is left" "$(images)" ""
ok "nor one in the trash" wait_for 300 trash_is_empty
ok "and an audit finds nothing" audit_is_clean

done_testing
