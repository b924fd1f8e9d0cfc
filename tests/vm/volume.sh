# shellcheck shell=bash
# volume.sh: one volume as the tests here and tests/integration/node.t call it, on the mounter $mounter,
# and what is there of it on the node; after lib.sh, with a cluster and a daemon.
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's; others are the tests'

all_features=layering,exclusive-lock,object-map,fast-diff,deep-flatten
key=$(<"$RBD_CSI_KEYFILE")
volume=
context=
mounter=${mounter:-rbd}
bytes=1073741824
parameters={} # of CreateVolume, beside those that `create` gives
own_mounts=0 # of the daemon

# ---- one volume ------------------------------------------------------------------------------

# capability FSTYPE [MODE]: FSTYPE "block" is a raw device.
capability() {
	local kind
	[[ $1 == block ]] && kind='{"block": {}}' || kind="{\"mount\": {\"fsType\": \"$1\"}}"
	jq -nc --argjson kind "$kind" --arg mode "${2:-SINGLE_NODE_WRITER}" \
		'$kind + {accessMode: {mode: $mode}}'
}

# use NAME FSTYPE [MODE]: the volume and the paths that the functions below are about.
use() {
	staging=$work/staging/$1
	target=$work/pods/$1/mount
	data=$target/data
	[[ $2 == block ]] && data=$target
	cap=$(capability "$2" "${3:-}")
	mkdir -p "$staging"
}

# create NAME FSTYPE FEATURES [CLUSTER]
create() {
	call Controller/CreateVolume "$(jq -nc --arg name "$1" --argjson cap "$(capability "$2")" \
		--arg features "$3" --arg cluster "${4:-$RBD_CSI_FSID}" --arg mounter "$mounter" \
		--arg bytes "$bytes" --argjson more "$parameters" '{
			name: $name, capacityRange: {requiredBytes: $bytes},
			volumeCapabilities: [$cap], parameters: ({clusterID: $cluster, pool: "rbd",
				imageFeatures: $features, mounter: $mounter} + $more)}')" &&
		volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' \
			<<<"$reply") &&
		image=$(jq -r .volumeContext.imageName <<<"$volume")
}

# make NAME [FSTYPE]: a volume that is published to this node and to be staged only, at $point
make() {
	use "$1" "${2:-ext4}" && create "$1" "${2:-ext4}" layering && attach || return
	id=$(jq -r .volumeId <<<"$volume")
	point=$staging/$id
}

# with FILTER [id]: the volume's fields and more; "id": without the volume_context.
with() {
	jq -c --argjson cap "$cap" --argjson context "${context:-null}" --arg staging "$staging" \
		--arg target "$target" "$1${2:+ | del(.volumeContext)}" <<<"$volume"
}

attach() {
	call Controller/ControllerPublishVolume \
		"$(with '. + {nodeId: "test-node", volumeCapability: $cap}')" &&
		context=$(jq -c .publishContext <<<"$reply")
}
stage() {
	rpc Node/NodeStageVolume "$(with '. + {stagingTargetPath: $staging,
		volumeCapability: $cap, publishContext: $context}')"
}
publish() {
	rpc Node/NodePublishVolume "$(with '. + {stagingTargetPath: $staging, targetPath: $target,
		volumeCapability: $cap, publishContext: $context}')"
}
stats() { rpc Node/NodeGetVolumeStats "$(with '. + {volumePath: $target}' id)"; }
# expand BYTES [FILTER]: by the staging path, unless the filter changes that
expand() {
	call Node/NodeExpandVolume "$(with '. + {volumePath: $target, stagingTargetPath: $staging,
		capacityRange: {requiredBytes: "'"$1"'"}} | '"${2:-.}" id)"
}
unpublish() { rpc Node/NodeUnpublishVolume "$(with '. + {targetPath: $target}' id)"; }
unstage() { rpc Node/NodeUnstageVolume "$(with '. + {stagingTargetPath: $staging}' id)"; }
detach() { call Controller/ControllerUnpublishVolume "$(with '. + {nodeId: "test-node"}' id)"; }
delete() { call Controller/DeleteVolume "$(with . id)"; }

# ---- what is there ---------------------------------------------------------------------------

mapped() {
	if [[ $mounter == userspace ]]; then
		grep -ls "^$work/" /sys/block/loop*/loop/backing_file | wc -l
	else
		find /sys/bus/rbd/devices/ -mindepth 1 | wc -l
	fi
}
attribute() { cat /sys/bus/rbd/devices/*/"$1"; }
mounts() { grep -cF " $work/" /proc/self/mountinfo; }
no_key() { ! grep -qF -- "$key" /sys/bus/rbd/devices/*/config_info; }
no_key_in_keyrings() { ! grep -w ceph /proc/keys; }
# write WORD, has WORD: a file of what is staged
write() { echo "$1" >"$point/file" && sync -f "$point/file"; }
has() { [[ $(<"$point/file") == "$1" ]]; }
put_data() { echo "precious $1" | dd of="$data" conv=fsync,notrunc status=none; }
has_data() { dd if="$data" bs=9 count=1 status=none | grep -q "^precious"; }
nothing_left() {
	[[ $(mapped) == 0 && $(mounts) == "$own_mounts" && ! -e $target && -z $(ls -A "$staging") ]] &&
		! compgen -G '/sys/block/dm-*' >/dev/null
}

# started COMMAND...: tells how many processes and threads (the kernel's too) the system started
# for its RPC, beyond what calling the daemon takes, and the time from call to answer.
started() {
	local started=1
	"$@"
}
processes() { awk '/^processes/ { print $2 }' /proc/stat; }
rpc() {
	local before after begin rc=0
	((started)) || { call "$@"; return; }
	before=$(processes)
	call Identity/Probe '{}' >/dev/null
	after=$(processes)
	begin=${EPOCHREALTIME/./}
	call "$@" || rc=$?
	told="${1#*/}: $((($(processes) - after) - (after - before))) processes and threads, \
$(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
	return "$rc"
}
started=0
told=
