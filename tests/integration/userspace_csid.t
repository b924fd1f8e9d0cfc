#!/bin/bash
# userspace_csid.t: a volume on the userspace mapper through rbd-csid itself, while rbd-csid and
# rbd-attachd are killed and replaced under verified I/O in the staged file system.
. "$(dirname "$0")/lib.sh"
need_cluster
address=unix://$work/metrics.sock
start_daemon --metrics-address="$address"

capability='{"mount": {"fsType": "ext4"}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'
staging=$work/staging
mkdir -p "$staging"

# request FIELDS...: a request about the volume with these fields more, each NAME=JSON.
request() {
	local filter=. field
	for field; do filter+=" | .${field%%=*} = ${field#*=}"; done
	jq "$filter" <<<"$volume"
}

stage() {
	call Node/NodeStageVolume "$(request "stagingTargetPath=\"$staging\"" \
		"volumeCapability=$capability" "publishContext=$context")"
}

replaced() {
	local now
	now=$(attachds) && [[ $now != "$1" ]]
}

# The daemon dies without a word and is started again.
kill_daemon() {
	kill -KILL "$csid_pid"
	wait "$csid_pid" 2>/dev/null
	start_daemon --metrics-address="$address"
}

ok "CreateVolume" call Controller/CreateVolume "$(jq -n --argjson capability "$capability" \
	--arg cluster "$RBD_CSI_FSID" '{
		name: "pvc-userspace",
		capacityRange: {requiredBytes: "1073741824"},
		volumeCapabilities: [$capability],
		parameters: {clusterID: $cluster, pool: "rbd", mounter: "userspace",
			imageFeatures: "layering,exclusive-lock"}
	}')" || bail "no volume"
volume=$(jq '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' <<<"$reply")
ok "ControllerPublishVolume" call Controller/ControllerPublishVolume \
	"$(request 'nodeId="test-node"' "volumeCapability=$capability")"
context=$(jq .publishContext <<<"$reply")
ok "NodeStageVolume" stage
mounted=$staging/$(jq -r .volumeId <<<"$volume")	# where ceph-csi mounts it, too
ok "mounts it" mountpoint -q "$mounted"
like "from a loop device" "$(findmnt -no SOURCE "$mounted")" '^/dev/loop'
is "of one rbd-attachd" "$(attachds | wc -l)" 1
first=$(attachds)

metric() { http_get "$address" /metrics | awk -v s="$1" 'index($0, s " ") == 1 { print $NF }'; }
metric_is() { [[ $(metric "$1") == "$2" ]]; }
count() { metric "rbd_csi_userspace_request_duration_seconds_count{operation=\"$1\"}"; }
is "the image is counted" "$(metric 'rbd_csi_images_attached{mapper="userspace"}')" 1
is "and its rbd-attachd" "$(metric 'rbd_csi_process_starts_total{program="rbd-attachd"}')" 1
ok "reads and writes, too" test "$(count read)" -gt 10 -a "$(count write)" -gt 10
ok "with their bytes" test "$(metric 'rbd_csi_userspace_bytes_total{operation="write"}')" -gt 100000
written=$(count write)

timeout 200 fio --name=v --filename="$mounted/file" --size=192M --rate=,24m \
	--verify_state_save=0 --ioengine=libaio --direct=1 \
	--iodepth=16 --rw=randwrite --bssplit=4k/60:64k/30:1m/10 --verify=crc32c --verify_fatal=1 \
	--fsync=32 --output="$work/fio" >"$work/fio.out" 2>&1 &
fio=$!
for _ in 1 2; do
	sleep 1
	ok "rbd-csid is killed and comes back" kill_daemon
	ok "the volume is still staged" stage
	kill -KILL "$(attachds)"
	ok "rbd-attachd is killed and replaced" wait_for 60 attachds
done
before=$(attachds)
ok "which serves" wait_for 60 grep -q "userspace.ready .* pid=$before " "$work/csid.log"
kill -USR2 "$csid_pid"
ok "SIGUSR2 replaces rbd-attachd" wait_for 60 replaced "$before"
ok "no I/O error, all data verified" wait "$fio"
ok "its counters outlive it and rbd-csid" test "$(count write)" -gt "$((written + 1000))"
is "three took over" "$(metric rbd_csi_userspace_takeovers_total)" 3
is "two of them from one that was killed" "$(metric rbd_csi_userspace_fences_total)" 2
is "no request has failed" "$(metric 'rbd_csi_userspace_request_failures_total{operation="write"}')" 0
ok "none is left in flight" wait_for 60 metric_is rbd_csi_userspace_requests_in_flight 0
ok "by another rbd-attachd" test "$(attachds)" != "$first"

ok "NodeUnstageVolume" call Node/NodeUnstageVolume \
	"$(request "stagingTargetPath=\"$staging\"" | jq 'del(.volumeContext)')"
is "leaves no loop device" "$(grep -ls "^$work/" /sys/block/loop*/loop/backing_file | wc -l)" 0
ok "ControllerUnpublishVolume" call Controller/ControllerUnpublishVolume \
	"$(request 'nodeId="test-node"' | jq 'del(.volumeContext)')"
ok "DeleteVolume: nobody watches the image any more" \
	call Controller/DeleteVolume "$(jq '{volumeId}' <<<"$volume")"

# Without rbd-csid and without an image rbd-attachd ends by itself; not waited for here.
stop_daemon
pid=$(attachds) && kill -TERM "$pid" && wait_for 60 is_gone "$pid"
umount "$(awk -v d="$work/state/attach/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)"
done_testing
