#!/bin/bash
# both_killed.t: rbd-csid and rbd-attachd are killed together, as when their container ends, with
# volumes staged and published. The next identical NodeStageVolume repairs each of them at once,
# so do NodePublishVolume for another pod, NodeUnstageVolume and NodeUnpublishVolume; statistics
# tell a dead volume; what was synced is there, and after the deletes nothing is left.
. "$(dirname "$0")/lib.sh"

need_cluster

mounted='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
block='{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'

images() { timeout 60 rbd -c "$CEPH_CONF" ls --pool rbd | grep -c .; }
images_are() { [[ $(images) == "$1" ]]; }

declare -A id staging target stage_json publish_json

# make NAME ACCESS: creates and publishes a volume at the controller; its node calls' JSON.
make() {
	local context publish
	call Controller/CreateVolume "$(jq -n --arg name "both-$1" --arg cluster "$RBD_CSI_FSID" \
		--argjson access "$2" '{name: $name, capacity_range: {required_bytes: 67108864},
		volume_capabilities: [$access], parameters: {clusterID: $cluster, pool: "rbd",
		mounter: "userspace"}}')" || return
	id[$1]=$(jq -r .volume.volumeId <<<"$reply")
	context=$(jq -c .volume.volumeContext <<<"$reply")
	call Controller/ControllerPublishVolume "$(jq -n --arg id "${id[$1]}" --argjson access "$2" \
		'{volume_id: $id, node_id: "test-node", volume_capability: $access}')" || return
	publish=$(jq -c .publishContext <<<"$reply")
	staging[$1]=$work/staging-$1
	target[$1]=$work/target-$1
	mkdir -p "${staging[$1]}"
	stage_json[$1]=$(jq -n --arg id "${id[$1]}" --arg staging "${staging[$1]}" \
		--argjson access "$2" --argjson context "$context" --argjson publish "$publish" \
		'{volume_id: $id, staging_target_path: $staging, volume_capability: $access,
		volume_context: $context, publish_context: $publish}')
	publish_json[$1]=$(jq --arg target "${target[$1]}" '. + {target_path: $target}' \
		<<<"${stage_json[$1]}")
}

stage() { call Node/NodeStageVolume "${stage_json[$1]}"; }
publish() { call Node/NodePublishVolume "${publish_json[$1]}"; }
unpublish() {
	call Node/NodeUnpublishVolume "{\"volume_id\": \"${id[$1]}\", \"target_path\": \"${target[$1]}\"}"
}
unstage() {
	call Node/NodeUnstageVolume \
		"{\"volume_id\": \"${id[$1]}\", \"staging_target_path\": \"${staging[$1]}\"}"
}
delete() {
	call Controller/ControllerUnpublishVolume \
		"{\"volume_id\": \"${id[$1]}\", \"node_id\": \"test-node\"}" &&
		call Controller/DeleteVolume "{\"volume_id\": \"${id[$1]}\"}"
}
use() { stage "$1" && publish "$1"; }

# in_time COMMAND...: within the time of an attach, with much to spare on a busy machine; waiting
# for the end of a dead client's watch takes 30 s.
in_time() {
	local begin=${EPOCHREALTIME/./}
	"$@" || return
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "$took ms"
	((took < 20000))
}

# Stopped first: neither sees the other one's end.
kill_both() {
	local pids
	mapfile -t pids < <(attachds)
	kill -STOP "$csid_pid" "${pids[@]}"
	kill -KILL "$csid_pid" "${pids[@]}"
	wait_for 60 no_attachd || return
	stop_daemon KILL
	start_daemon --log-level=info
}

# The next rbd-csid finds rbd-attachd, which dies before it has answered.
kill_while_joining() {
	local pids
	mapfile -t pids < <(attachds)
	kill -STOP "${pids[@]}"
	kill -KILL "$csid_pid"
	stop_daemon KILL
	start_daemon --log-level=info
	kill -KILL "${pids[@]}"
}

# Ours, wherever their FUSE directory is by now.
loops() {
	local uuids
	uuids=$(printf '%s\n' "${id[@]}" | grep -oE '.{36}$' | paste -sd'|')
	grep -lsE -- "($uuids)\$" /sys/block/loop*/loop/backing_file | wc -l
}
loops_are() { [[ $(loops) == "$1" ]]; }
fuse_mounts() { grep -c " $work/state/attach/" /proc/self/mountinfo; }

images_before=$(images)
start_daemon --log-level=info
for name in a b c; do
	ok "volume $name" make "$name" "$mounted"
	ok "is staged and published" use "$name"
	ok "with data" bash -c "echo $name >${target[$name]}/file && sync -f ${target[$name]}/file"
done
ok "volume d, a block device" make d "$block"
ok "is staged and published" use d
ok "with data" bash -c "echo d | dd of=${target[d]} bs=4k conv=sync oflag=direct status=none"

sleep 300 3<"${target[a]}/file" &
user=$!
defer eval "kill $user 2>/dev/null || :"
ok "both processes are killed while a file is open" kill_both
ok "the next rbd-csid unmounts the dead FUSE directory" \
	wait_for 60 bash -c "! grep -q ' $work/state/attach/' /proc/self/mountinfo"

# keyless METHOD JSON: as kubelet calls where the PersistentVolume names no secret.
echo '{}' >"$work/no-secrets"
keyless() { RBD_CSI_SECRETS=$work/no-secrets call "$@"; }
# condition NAME: what the statistics of a volume say of it.
condition() {
	call Node/NodeGetVolumeStats "{\"volume_id\": \"${id[$1]}\",
		\"volume_path\": \"${target[$1]}\", \"staging_target_path\": \"${staging[$1]}\"}" &&
		jq -r '.volumeCondition | "\(.abnormal // false) \(.message)"' <<<"$reply"
}
for name in a d; do
	like "the statistics of $name say that it is dead" "$(condition "$name")" '^true .*is dead'
done
is "with a usage, or kubelet would not look" "$(condition a >/dev/null; jq '.usage | length' <<<"$reply")" 1
other() { jq --arg t "$work/other-$1" '.target_path = $t' <<<"${publish_json[$1]}"; }
fails_with FAILED_PRECONDITION "a volume is not published from a dead staging without a key" \
	keyless Node/NodePublishVolume "$(other a)"
like "which says what to do" "$error" 'node-publish-secret-name.*gone, stage it again'
ok "nothing is mounted there" test ! -e "$work/other-a"

ok "b is published for another pod, and staged anew for that" \
	in_time call Node/NodePublishVolume "$(other b)"
diag "$took ms"
is "with its data" "$(<"$work/other-b/file")" b
ok "it can be written" bash -c "echo b >$work/other-b/file && sync -f $work/other-b/file"
ok "and unpublished" call Node/NodeUnpublishVolume \
	"{\"volume_id\": \"${id[b]}\", \"target_path\": \"$work/other-b\"}"
ok "c, too, without a secret, by the session that is there now" \
	in_time keyless Node/NodePublishVolume "$(other c)"
is "with its data" "$(<"$work/other-c/file")" c
ok "and unpublished" call Node/NodeUnpublishVolume \
	"{\"volume_id\": \"${id[c]}\", \"target_path\": \"$work/other-c\"}"

ok "a is staged anew by the same call" in_time stage a
diag "$took ms"
ok "the client that died is fenced" grep -q "takeover.fenced" "$work/csid.log"
ok "it is published over the dead mount" publish a
is "with its data" "$(<"${target[a]}/file")" a
is "its statistics say that it is well" "$(condition a)" "false the volume is well"
ok "it can be written" bash -c "echo more >${target[a]}/file && sync -f ${target[a]}/file"
is "the dead mount is kept by the open file" "$(loops)" 7
kill "$user"
ok "and goes with it" wait_for 60 loops_are 6
# As when it is bound or grown while both die.
dead=$(stat -c %Lr "${target[d]}")
ok "d's dead device loses its size" bash -c "losetup -c /dev/loop$dead && [[ \$(</sys/block/loop$dead/size) == 0 ]]"
ok "d, the block device, is staged anew" in_time stage d
old=$(stat -c %Lr:%Hr "${target[d]}")
ok "the dead device that its target shows stays bound" \
	grep -q "${id[d]: -36}" "/sys/block/loop${old%:*}/loop/backing_file"
ok "volume e, another block device" make e "$block"
ok "is staged and published" use e
ok "with data" bash -c "echo e | dd of=${target[e]} bs=4k conv=sync oflag=direct status=none"
ok "by another device than d's old one" test "$(stat -c %Lr:%Hr "${target[e]}")" != "$old"
fails_with FAILED_PRECONDITION "d is not unstaged while a dead target shows it" unstage d
like "which is named" "$error" "${target[d]} still shows"
ok "and published over the dead one" publish d
is "with its data" "$(dd if="${target[d]}" bs=4k count=1 iflag=direct status=none | tr -d '\0')" d
ok "b is unpublished" unpublish b
ok "and unstaged" in_time unstage b
ok "and deleted" delete b
ok "c is staged" in_time stage c

ok "both are killed once more" kill_both
ok "c, whose target is dead twice, is staged anew" in_time stage c
ok "and published" publish c
is "with its data" "$(<"${target[c]}/file")" c
ok "rbd-csid is killed, then rbd-attachd before it has answered the next one" kill_while_joining
ok "c is not dead: the next one held it already" timeout 60 sync -f "${target[c]}/file"
is "with its data" "$(<"${target[c]}/file")" c
ok "a is unpublished while it is dead" unpublish a
ok "a is unstaged" unstage a
ok "d is unpublished while it is dead" unpublish d
ok "d is unstaged" unstage d
ok "c is still staged" in_time stage c
ok "and published" publish c
for name in a c d e; do
	ok "$name is unpublished" unpublish "$name"
	ok "$name is unstaged" unstage "$name"
	ok "$name is deleted" delete "$name"
	is "its staging directory is empty" "$(ls -A "${staging[$name]}")" ""
done

is "no loop device is left" "$(loops)" 0
ok "no image is left" wait_for 60 images_are "$images_before"
is "no dead client's address is left" "$(compgen -G "$work/state/attach/.dead-*")" ""
ok "the daemon ends on SIGTERM" stop_daemon
for pid in $(attachds); do kill "$pid"; done
ok "rbd-attachd, too" wait_for 60 no_attachd
is "which takes its address with it" "$(compgen -G "$work/state/attach/*/address")" ""
is "one FUSE mount is left, that of the living session" "$(fuse_mounts)" 1
ok "which can be taken away" \
	umount "$(awk -v d="$work/state/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)"

done_testing
