#!/bin/bash
# stage_killed.t: kill -9 of rbd-csid and of rbd-attachd in the middle of NodeStageVolume
# and NodeUnstageVolume, at many moments: the same call again succeeds, the data are there, and
# after the delete nothing is left.
. "$(dirname "$0")/lib.sh"

need_cluster

access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
staging=$work/staging
target=$work/target
mkdir -p "$staging"

images() { timeout 60 rbd -c "$CEPH_CONF" ls --pool rbd | grep -c .; }
images_are() { [[ $(images) == "$1" ]]; }

# make NAME: creates and publishes a volume; sets id and the JSON of its node calls.
make() {
	local context publish
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg cluster "$RBD_CSI_FSID" \
		--argjson access "$access" '{name: $name, capacity_range: {required_bytes: 67108864},
		volume_capabilities: [$access], parameters: {clusterID: $cluster, pool: "rbd"}}')" || return
	id=$(jq -r .volume.volumeId <<<"$reply")
	context=$(jq -c .volume.volumeContext <<<"$reply")
	call Controller/ControllerPublishVolume "$(jq -n --arg id "$id" --argjson access "$access" \
		'{volume_id: $id, node_id: "test-node", volume_capability: $access}')" || return
	publish=$(jq -c .publishContext <<<"$reply")
	stage_json=$(jq -n --arg id "$id" --arg staging "$staging" --argjson access "$access" \
		--argjson context "$context" --argjson publish "$publish" '{volume_id: $id,
		staging_target_path: $staging, volume_capability: $access, volume_context: $context,
		publish_context: $publish}')
	publish_json=$(jq --arg target "$target" '. + {target_path: $target}' <<<"$stage_json")
}

unpublish() { call Node/NodeUnpublishVolume "{\"volume_id\": \"$id\", \"target_path\": \"$target\"}"; }
unstage_json() { echo "{\"volume_id\": \"$id\", \"staging_target_path\": \"$staging\"}"; }

# kill_attachd [SIGNAL]: KILL; there may be none yet.
kill_attachd() {
	local pid
	for pid in $(attachds); do kill "-${1:-KILL}" "$pid"; done
}

kill_csid() {
	stop_daemon KILL
	start_daemon --log-level=info
}

# disturb WHO DELAY METHOD JSON: the call, with a kill in its middle, and the same call again.
disturb() {
	local caller
	call "$3" "$4" &
	caller=$!
	sleep "$2"
	"kill_$1"
	wait "$caller"
	call "$3" "$4"
}

# life WHO DELAY: a volume's life with kills while it is staged, staged again and unstaged.
life() {
	make "$1-$2" || return
	disturb "$1" "$2" Node/NodeStageVolume "$stage_json" || return
	call Node/NodePublishVolume "$publish_json" || return
	echo "$1-$2" >"$target/file" || return
	unpublish || return
	disturb "$1" "$2" Node/NodeUnstageVolume "$(unstage_json)" || return
	disturb "$1" "$2" Node/NodeStageVolume "$stage_json" || return
	call Node/NodePublishVolume "$publish_json" || return
	[[ $(<"$target/file") == "$1-$2" ]] || return
	unpublish || return
	call Node/NodeUnstageVolume "$(unstage_json)" || return
	call Controller/ControllerUnpublishVolume \
		"{\"volume_id\": \"$id\", \"node_id\": \"test-node\"}" || return
	call Controller/DeleteVolume "{\"volume_id\": \"$id\"}"
}

# The first mkfs of all waits for the file "go": so it outlives the daemon that has started it.
mkdir "$work/bin"
cat >"$work/bin/mkfs.ext4" <<-END
	#!/bin/bash
	if mkdir "$work/first" 2>/dev/null; then
		echo \$\$ >"$work/mkfs.pid"
		until [[ -e $work/go ]]; do sleep 0.05; done
	fi
	PATH=$PATH exec mkfs.ext4 "\$@"
END
chmod +x "$work/bin/mkfs.ext4"

# life_in_mkfs: the daemon is killed while mkfs runs, and that mkfs goes on late: when the volume
# is mounted and has data.
life_in_mkfs() {
	local caller
	make in-mkfs || return
	call Node/NodeStageVolume "$stage_json" &
	caller=$!
	wait_for 60 test -s "$work/mkfs.pid" || return
	kill_csid
	wait "$caller"
	call Node/NodeStageVolume "$stage_json" || return
	call Node/NodePublishVolume "$publish_json" || return
	echo precious >"$target/file" || return
	sync -f "$target"
	touch "$work/go"
	wait_for 60 is_gone "$(<"$work/mkfs.pid")" || return
	unpublish || return
	call Node/NodeUnstageVolume "$(unstage_json)" || return
	call Node/NodeStageVolume "$stage_json" || return
	call Node/NodePublishVolume "$publish_json" || return
	[[ $(<"$target/file") == precious ]] || return
	unpublish || return
	call Node/NodeUnstageVolume "$(unstage_json)" || return
	call Controller/ControllerUnpublishVolume \
		"{\"volume_id\": \"$id\", \"node_id\": \"test-node\"}" || return
	call Controller/DeleteVolume "{\"volume_id\": \"$id\"}"
}

# life_in_open: the daemon is killed while rbd-attachd opens the image on a cluster that does not
# answer; the call to the next daemon waits for that open.
is_opening() {
	"$build/rbd-csictl" --endpoint "$endpoint" ops --json |
		jq -e 'any(.[]; .name == "NodeStageVolume" and .state == "STAGE_OPENED")' >/dev/null
}
life_in_open() {
	local caller rc=0
	make in-open || return
	kill -STOP "${osds[@]}"
	call Node/NodeStageVolume "$stage_json" &
	caller=$!
	wait_for 60 is_opening || rc=1
	kill_csid
	wait "$caller"
	call Node/NodeStageVolume "$stage_json" &
	caller=$!
	wait_for 60 is_opening || rc=1
	kill -CONT "${osds[@]}"
	wait "$caller" || rc=1
	call Node/NodeUnstageVolume "$(unstage_json)" || return
	call Controller/ControllerUnpublishVolume "{\"volume_id\": \"$id\", \"node_id\": \"test-node\"}" || return
	call Controller/DeleteVolume "{\"volume_id\": \"$id\"}" || return
	return "$rc"
}

images_before=$(images)
PATH=$work/bin:$PATH
start_daemon --log-level=info
ok "kill -9 of csid in mkfs, which goes on when the volume is mounted" life_in_mkfs
for victims in csid attachd; do
	for delay in 0.005 0.030 0.060 0.110 0.200; do
		ok "kill -9 of $victims after $delay s" life "$victims" "$delay"
	done
done
mapfile -t osds < <(cat "$RBD_CSI_CLUSTER_DIR"/run/osd.*.pid)
defer kill -CONT "${osds[@]}"
ok "kill -9 of csid while rbd-attachd opens: the next call waits for that" life_in_open
is "no loop device is left" "$(grep -ls "^$work/" /sys/block/loop*/loop/backing_file | wc -l)" 0
is "the staging directory is empty" "$(ls -A "$staging")" ""
ok "no image is left" wait_for 60 images_are "$images_before"
ok "the daemon ends on SIGTERM" stop_daemon
kill_attachd TERM
ok "rbd-attachd, too" wait_for 60 no_attachd
mapfile -t mounts < <(awk -v d="$work/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)
is "one mount is left, the mapper's own" "${#mounts[@]}" 1
ok "which can be taken away" umount "${mounts[0]}"

done_testing
