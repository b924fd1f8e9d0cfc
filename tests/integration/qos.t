#!/bin/bash
# qos.t: limits of a VolumeAttributesClass hold where the volume is used, and change while it is: with the userspace mapper
# by librbd, with the kernel's driver (tests/vm/krbd-qos.t) by the pod's cgroup
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cluster
mounter=${mounter:-userspace}
[[ $mounter == rbd ]] || defer stop_attachds
start_daemon
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"

uid=11111111-2222-4333-8444-555555555555
cgroup=/sys/fs/cgroup/kubepods
pod=$cgroup/burstable/pod$uid

remove_pod() { rmdir "$pod" "$cgroup/burstable" "$cgroup"; }
make_pod() {
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup || bail "no cgroups of version 2"
	mkdir -p "$pod"
	defer remove_pod
	local dir
	for dir in /sys/fs/cgroup "$cgroup" "$cgroup/burstable"; do
		echo +io >"$dir/cgroup.subtree_control" || bail "no io controller"
	done
}
in_pod() {
	[[ $mounter == rbd ]] || { "$@"; return; }
	bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$pod" "$@"
}

# rate if|of: requests of 4 KiB a second that the volume reads or writes, over 5 seconds
rate() {
	local other=/dev/zero
	[[ $1 == of ]] || other=/dev/null
	in_pod timeout -s INT 5 dd "$1=$target" "$([[ $1 == of ]] && echo if || echo of)=$other" bs=4k \
		"${1:0:1}flag=direct" count=262144 2>&1 | awk '/records out/ { print int($1 / 5) }'
}
# near WANTED if|of, above LEAST if|of: by one of some measurements, for a machine that is busy slows others down
near() { by_and_by '(($got * 10 >= $1 * 6 && $got * 10 <= $1 * 14))' "$@"; }
above() { by_and_by '(($got > $1))' "$@"; }
by_and_by() { # CONDITION NUMBER if|of
	local condition=$1 got try
	shift
	for ((try = 0; try < 6; try++)); do
		got=$(rate "$2")
		echo "${got:=0} a second"
		eval "$condition" && return
	done
	return 1
}
modify() {
	call Controller/ControllerModifyVolume "$(with ". + {mutableParameters: $1}" id)"
}
# What kubelet does about once a minute
look() { call Node/NodeGetVolumeStats "$(with '. + {volumePath: $target, stagingTargetPath: $staging}' id)"; }

[[ $mounter != rbd ]] || make_pod
use limited block
target=$work/pods/$uid/volumes/kubernetes.io~csi/pv/mount
ok "created with a limit" call Controller/CreateVolume "$(jq -nc --argjson cap "$cap" --arg cluster "$RBD_CSI_FSID" \
	--arg mounter "$mounter" '{name: "limited", capacityRange: {requiredBytes: "1073741824"}, volumeCapabilities: [$cap],
	parameters: {clusterID: $cluster, pool: "rbd", imageFeatures: "layering", mounter: $mounter},
	mutableParameters: {baseIops: "20"}}')"
volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' <<<"$reply")
ok "published to the node" attach
ok "staged" stage
ok "published" publish
[[ $mounter == rbd ]] || own_mounts=1
ok "it writes as fast as it may" near 20 of
ok "and reads" near 20 if
ok "another limit" modify '{baseIops: "0", baseWriteBps: "122880"}'
ok "kubelet looks" look
ok "it holds at once, for writes" near 30 of
ok "reads are as fast as they can be" above 45 if
ok "no limit" modify '{baseWriteBps: "0"}'
ok "kubelet looks" look
ok "writes are as fast as they can be" above 45 of
[[ $mounter != rbd ]] || is "the cgroup has nothing of it" "$(grep -c = "$pod/io.max")" 0
ok "a limit again" modify '{baseReadIops: "20"}'
ok "unpublished" unpublish
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "published to it anew" attach
ok "staged" stage
ok "published" publish
ok "the limit holds" near 20 if
ok "unpublished" unpublish
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
