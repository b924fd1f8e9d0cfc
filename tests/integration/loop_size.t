#!/bin/bash
# loop_size.t: who asks the kernel for a loop device's size (a child of rbd-csid that binds one or lets it grow) is killed while
# rbd-attachd does not answer: the device is bound and has no size, and reads of it end at once, without an error. The next call
# gives it its size, whether the device is staged or only bound.
. "$(dirname "$0")/lib.sh"

need_cluster
size=67108864
capability='{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
mkdir -p "$work/staging"

defer stop_attachds
start_daemon
ok "a volume" call Controller/CreateVolume "$(jq -n --arg cluster "$RBD_CSI_FSID" --argjson capability "$capability" \
	'{name: "loop-size", capacity_range: {required_bytes: '$size'}, volume_capabilities: [$capability], parameters: {
	clusterID: $cluster, pool: "rbd", imageFeatures: "layering", mounter: "userspace"}}')"
request=$(jq -c --arg staging "$work/staging" --arg target "$work/target" --argjson capability "$capability" \
	'.volume | {volume_id: .volumeId, volume_context: .volumeContext, volume_capability: $capability,
	staging_target_path: $staging, target_path: $target}' <<<"$reply")
id=$(jq -r .volume_id <<<"$request")
stage() { call Node/NodeStageVolume "$(jq -c 'del(.target_path)' <<<"$request")"; }
publish() { call Node/NodePublishVolume "$request"; }
unpublish() { call Node/NodeUnpublishVolume "$(jq -c '{volume_id, target_path}' <<<"$request")"; }
unstage() { call Node/NodeUnstageVolume "$(jq -c '{volume_id, staging_target_path}' <<<"$request")"; }
sectors() { cat "/sys/block/$loop/size"; }

# asks: a process that waits for rbd-attachd, as it asks for the size: pid. What the kernel was told a moment ago it does not
# ask for.
asks() {
	losetup -c "/dev/$loop" &
	pid=$!
	until is_gone "$pid"; do
		! grep -qs fuse "/proc/$pid/stack" || return 0
	done
	wait "$pid"
	return 1
}

# The size is asked for by a process that waits for rbd-attachd and is killed.
lose_size() {
	local pid pids
	mapfile -t pids < <(attachds)
	kill -STOP "${pids[@]}"
	wait_for 60 asks
	kill -KILL "$pid"
	wait "$pid"
	kill -CONT "${pids[@]}"
	[[ $(sectors) == 0 ]]
}

ok "it is staged" stage
device=$work/staging/$id
loop=$(losetup -l -n -O NAME,MAJ:MIN | awk -v n="$(printf '%d:%d' "0x$(stat -c %t "$device")" "0x$(stat -c %T "$device")")" \
	'$2 == n { print substr($1, 6) }')
is "as $loop, with its size" "$(sectors)" $((size / 512))
ok "data is written" bash -c "echo kept | dd of=$device bs=4k conv=sync oflag=direct status=none"

# as who binds one and lets it grow: the size is read by the file's path, and then nobody waits for rbd-attachd
grows_alone() {
	local pids rc
	mapfile -t pids < <(attachds)
	stat "$(<"/sys/block/$loop/loop/backing_file")"
	kill -STOP "${pids[@]}"
	timeout -s KILL 4 losetup -c "/dev/$loop"
	rc=$?
	kill -CONT "${pids[@]}"
	return "$rc"
}
ok "who has just read the size is not in rbd-attachd's hands when the device takes it over" grows_alone
is "which keeps it" "$(sectors)" $((size / 512))
ok "the size is lost" lose_size
ok "it is staged once more" stage
is "and has its size again" "$(sectors)" $((size / 512))
ok "the size is lost" lose_size
ok "it is published" publish
is "and has its size again" "$(sectors)" $((size / 512))
is "and its data" "$(dd if="$work/target" bs=4k count=1 iflag=direct status=none | tr -d '\0')" kept
ok "it is unpublished" unpublish

ok "the size is lost, and the mount" eval "lose_size && umount '$device'"
ok "it is staged" stage
is "on the same device, which has its size again" "$(sectors) $(losetup -l -n -O BACK-FILE | grep -c "${id: -36}")" \
	"$((size / 512)) 1"

ok "it is unstaged" unstage
ok "and deleted" call Controller/DeleteVolume "$(jq -c '{volume_id}' <<<"$request")"
done_testing
