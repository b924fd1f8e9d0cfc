#!/bin/bash
# full_pool.t: a pool is full by its quota of objects, a data pool by its quota of bytes, all pools
# by the full ratio; and a cluster answers nothing at all. What needs room is refused at once and
# names the pool, what gives room goes on, no lock is kept, and with room again all goes on.
. "$(dirname "$0")/lib.sh"

need_cluster
admin() { timeout 60 ceph -c "$CEPH_CONF" "$@"; }
pool=full-$$
data=full-data-$$

for name in "$pool" "$data"; do
	defer admin osd pool rm "$name" "$name" --yes-i-really-really-mean-it
	{
		admin osd pool create "$name" 8 && admin osd pool application enable "$name" rbd
	} >"$work/out" 2>&1 || bail "no pool: $(<"$work/out")"
done
flagged() { admin osd pool ls detail -f json | jq -e --arg name "$1" \
	'.[] | select(.pool_name == $name) | .flags_names | split(",") | index("full")' >/dev/null; }
unflagged() { ! flagged "$1"; }
objects() { timeout 60 rados -c "$CEPH_CONF" -p "$1" ls | sort; }

access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
declare -A id stage_json

# create NAME PARAMETERS: as JSON; more than clusterID and mounter.
create() {
	call Controller/CreateVolume "$(jq -n --arg name "$pool-$1" --arg cluster "$RBD_CSI_FSID" \
		--argjson access "$access" --argjson more "$2" '{name: $name,
		capacity_range: {required_bytes: 67108864}, volume_capabilities: [$access],
		parameters: ({clusterID: $cluster, mounter: "userspace"} + $more)}')" || return
	id[$1]=$(jq -r .volume.volumeId <<<"$reply")
	stage_json[$1]=$(jq --arg staging "$work/staging-$1" --argjson access "$access" \
		'{volume_id: .volume.volumeId, staging_target_path: $staging,
		volume_capability: $access, volume_context: .volume.volumeContext}' <<<"$reply")
}
publish() {
	call Controller/ControllerPublishVolume "$(jq -n --arg id "${id[$1]}" \
		--argjson access "$access" \
		'{volume_id: $id, node_id: "test-node", volume_capability: $access}')"
}
unpublish() {
	call Controller/ControllerUnpublishVolume \
		"{\"volume_id\": \"${id[$1]}\", \"node_id\": \"test-node\"}"
}
delete() { call Controller/DeleteVolume "{\"volume_id\": \"${id[$1]}\"}"; }
stage() {
	mkdir -p "$work/staging-$1"
	call Node/NodeStageVolume "${stage_json[$1]}"
}
unstage() {
	call Node/NodeUnstageVolume \
		"{\"volume_id\": \"${id[$1]}\", \"staging_target_path\": \"$work/staging-$1\"}"
}
nothing_to_purge() {
	[[ -z $(timeout 60 rbd -c "$CEPH_CONF" trash ls --all --pool "$pool") ]] &&
		[[ -z $(timeout 60 rados -c "$CEPH_CONF" -p "$pool" listomapkeys rbd_trash) ]]
}

# is_full POOL: the monitors say so, and every OSD knows it: a new client has their map, and a
# placement group answers it when it has that map, too. A listing asks each of them.
is_full() { flagged "$1" && objects "$1" >/dev/null; }

# in_time COMMAND...: without a time-out of librados, which is 30 s.
in_time() {
	local begin=${EPOCHREALTIME/./} rc=0
	"$@" || rc=$?
	((${EPOCHREALTIME/./} - begin < 25000000)) && return "$rc"
	error="LATE: $error"
	return 99
}

plain=$(jq -n --arg pool "$pool" '{pool: $pool}')
apart=$(jq -n --arg pool "$pool" --arg data "$data" '{pool: $pool, dataPool: $data}')
journaled=$(jq -n --arg pool "$pool" \
	'{pool: $pool, imageFeatures: "layering,exclusive-lock,journaling"}')

start_daemon --log-level=info
for name in a b c; do
	ok "volume $name" create "$name" "$plain"
done
ok "volume j, for librbd" create j "$journaled"
ok "volume d, with its data in another pool" create d "$apart"
ok "a is published" publish a

admin osd pool set-quota "$pool" max_objects 1 >"$work/out" 2>&1
ok "the pool is full by its quota of objects" wait_for 90 is_full "$pool"
before=$(objects "$pool")
fails_with RESOURCE_EXHAUSTED "a volume is not made" in_time create new "$plain"
like "which names the pool" "$error" "pool $pool: .*the pool is full"
is "and nothing of it is left" "$(objects "$pool")" "$before"
fails_with RESOURCE_EXHAUSTED "nor one for librbd" in_time create new-j "$journaled"
is "and nothing of it is left" "$(objects "$pool")" "$before"
ok "one that is there is found" in_time create a "$plain"
ok "b is published: a record takes no room" in_time publish b
fails_with RESOURCE_EXHAUSTED "a is not staged" in_time stage a
like "which names the pool" "$error" "pool $pool: the pool is full"
ok "it is unstaged" in_time unstage a
ok "j is deleted, though there was no trash yet" in_time delete j
ok "b is unpublished" in_time unpublish b
ok "and deleted" in_time delete b
ok "and purged" wait_for 60 nothing_to_purge

admin osd pool set-quota "$pool" max_objects 0 >"$work/out" 2>&1
ok "the pool has room again" wait_for 90 unflagged "$pool"
# what an OSD or a client still takes for full is refused once more
ok "the volume that was refused is made" wait_for 60 create new "$plain"
ok "a is staged" stage a
ok "and unstaged" unstage a

ok "something is in the data pool" \
	timeout 60 rados -c "$CEPH_CONF" -p "$data" put something "$0"
admin osd pool set-quota "$data" max_bytes 1 >"$work/out" 2>&1
ok "the data pool is full by its quota of bytes" wait_for 90 is_full "$data"
fails_with RESOURCE_EXHAUSTED "a volume with its data there is not made" \
	in_time create new-d "$apart"
like "which names the data pool" "$error" "dataPool: pool $data: the pool is full"
fails_with RESOURCE_EXHAUSTED "one that is there is not staged" in_time stage d
like "which names the data pool" "$error" "pool $data: the pool is full"
ok "c, of the same pool, is staged" stage c
ok "and unstaged" unstage c
ok "d is deleted" in_time delete d
admin osd pool set-quota "$data" max_bytes 0 >"$work/out" 2>&1

ratios() {
	admin osd set-nearfull-ratio "$1" && admin osd set-backfillfull-ratio "$2" &&
		admin osd set-full-ratio "$3"
}
defer ratios 0.85 0.9 0.95
ratios 0.0000001 0.0000002 0.0000003 >"$work/out" 2>&1
ok "the OSDs are full" wait_for 90 is_full "$pool"
fails_with RESOURCE_EXHAUSTED "a volume is not made" in_time create full "$plain"
like "which names the pool" "$error" "pool $pool: .*the pool is full"
ok "one is published" in_time publish new
fails_with RESOURCE_EXHAUSTED "and not staged" in_time stage new
ok "it is unpublished" in_time unpublish new
ok "and deleted" in_time delete new
ok "and purged" wait_for 60 nothing_to_purge
ratios 0.85 0.9 0.95 >"$work/out" 2>&1
ok "the OSDs have room again" wait_for 90 unflagged "$pool"
ok "a volume is made" wait_for 60 create full "$plain"
ok "and staged" stage full
ok "and unstaged" unstage full

# answer NAME COMMAND...: the answer of a call in the background.
answer() {
	local answer=$work/answer-$1 work=$work/in-$1
	shift
	mkdir -p "$work"
	error=
	"$@" >"$work/out"
	echo "${error:-OK}" >"$answer"
	echo "$(((${EPOCHREALTIME/./} - begin) / 1000)) ms" >"$answer.took"
}
# the OSDs hear of it a moment later than the one who says it
is_paused() {
	local epoch osd
	epoch=$(admin osd dump -f json | jq -e 'select(.flags_set | index("pauserd")) | .epoch') &&
		for osd in $(admin osd ls); do
			admin tell "osd.$osd" status | jq -e ".newest_map >= $epoch" >/dev/null || return
		done
}
defer admin osd unset pause
admin osd set pause >"$work/out" 2>&1
ok "the cluster answers nothing" wait_for 60 is_paused
begin=${EPOCHREALTIME/./}
pids=()
for call in "create late" "publish c" "unpublish a" "delete full"; do
	read -r verb name <<<"$call"
	answer "$verb" "$verb" "$name" "$plain" &
	pids+=($!)
done
answer stage stage a &
pids+=($!)
wait "${pids[@]}"
took=$(((${EPOCHREALTIME/./} - begin) / 1000))
for verb in create publish unpublish delete stage; do
	diag "$verb: $(<"$work/answer-$verb.took")"
	like "$verb is given up" "$(<"$work/answer-$verb")" \
		'^UNAVAILABLE: .*the cluster does not answer'
done
# librados gives an operation up after 30 s. No call waits for a second one.
ok "within one of their time-outs" test "$took" -lt 55000
ok "the cluster answers again" admin osd unset pause
ok "what was being made is made" in_time create late "$plain"
ok "what was being published is" in_time publish c
ok "and unpublished" in_time unpublish c
ok "a is staged" wait_for 60 stage a
ok "and unstaged" unstage a
for name in a c late full; do
	ok "$name is unpublished" in_time unpublish "$name"
	ok "and deleted" in_time delete "$name"
done
ok "all is purged" wait_for 60 nothing_to_purge
ok "no volume is left" test -z "$(timeout 60 rbd -c "$CEPH_CONF" ls --pool "$pool")"
is "no journal entry" "$(objects "$pool" | grep -c '^csi\.volume\.')" 0

ok "the daemon ends" stop_daemon
ok "rbd-attachd, too, and its FUSE mount can be taken away" stop_attachds
done_testing
