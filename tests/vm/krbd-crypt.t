#!/bin/bash
# krbd-crypt.t: encrypted volumes on both mappers, with dm-crypt: their life, growth, what ceph-csi
# has encrypted, keys that do not fit, and headers that are not as the metadata say
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
ok "dm-crypt is there" modprobe dm-crypt
kms=$work/kms.json
echo '{"own-keys": {"encryptionKMSType": "metadata"}}' >"$kms"
defer stop_attachds
start_daemon --kms-config="$kms"
plain=$RBD_CSI_SECRETS
with_passphrase() {
	RBD_CSI_SECRETS=$work/secrets.json
	jq --arg p "$1" '. + {encryptionPassphrase: $p}' "$plain" >"$RBD_CSI_SECRETS"
}
ceph_tool() { timeout 60 "$1" --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" "${@:2}"; }
meta() { ceph_tool rbd image-meta get "$image" "rbd.csi.ceph.com/$1"; }
cap='{"mount": {"fsType": "ext4"}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'

# make NAME KMS: creates a volume and publishes it to the node; sets what the functions below are about.
make() {
	call Controller/CreateVolume "$(jq -nc --arg name "$1" --argjson cap "$cap" --arg kms "$2" \
		--arg cluster "$RBD_CSI_FSID" '{
			name: $name, capacityRange: {requiredBytes: "134217728"},
			volumeCapabilities: [$cap],
			parameters: {clusterID: $cluster, pool: "rbd", imageFeatures: "layering",
				encrypted: "true", encryptionKMSID: $kms}}')" || return
	volume=$(jq -c '.volume | {volumeId, volumeContext}' <<<"$reply")
	id=$(jq -r .volumeId <<<"$volume")
	image=$(jq -r .volumeContext.imageName <<<"$volume")
	staging=$work/staging/$1
	point=$staging/$id
	mkdir -p "$staging"
	call Controller/ControllerPublishVolume \
		"$(jq -c --argjson cap "$cap" '. + {nodeId: "test-node", volumeCapability: $cap}' \
			<<<"$volume")" &&
		context=$(jq -c .publishContext <<<"$reply")
}
# stage [MOUNTER]
stage() {
	call Node/NodeStageVolume "$(jq -c --argjson cap "$cap" --argjson context "$context" \
		--arg staging "$staging" --arg mounter "${1:-rbd}" '. + {stagingTargetPath: $staging,
		volumeCapability: $cap, publishContext: $context} | .volumeContext.mounter = $mounter' \
		<<<"$volume")"
}
unstage() { call Node/NodeUnstageVolume "{\"volumeId\": \"$id\", \"stagingTargetPath\": \"$staging\"}"; }
nothing_left() {
	[[ -z $(ls /sys/bus/rbd/devices) && -z $(ls -A "$staging") ]] &&
		! grep -qF " $work/staging" /proc/self/mountinfo && ! ls /sys/block/dm-* >/dev/null 2>&1
}
has() { [[ $(<"$point/file") == "$1" ]]; }
write() { echo "$1" >"$point/file" && sync -f "$point/file"; }
is_crypt() { [[ $(findmnt -no SOURCE "$point") == /dev/dm-* || $(findmnt -no SOURCE "$point") == /dev/mapper/* ]]; }

# ---- a key of its own, on both mappers -------------------------------------------------------

with_passphrase "a passphrase"
ok "a volume is made" make own own-keys || bail "no volume"
is "it is prepared" "$(meta encrypted)" encryptionPrepared
ok "staged" stage
is "it is encrypted" "$(meta encrypted)" encrypted
ok "and mounted by dm-crypt" is_crypt
ok "written to" write "a secret text"
ok "staged once more" stage
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
no_plain_text() { ! ceph_tool rbd export "$image" - 2>/dev/null | grep -q "a secret text"; }
ok "what is in the image is not what was written" no_plain_text
ok "staged by the other mapper" stage userspace
ok "the data are there" has "a secret text"
ok "written to" write more
ok "unstaged" unstage
ok "staged by krbd again" stage
ok "the data are there" has more

ok "a larger image" ceph_tool rbd resize -s 256M "$image"
before=$(stat -fc %b "$point")
ok "the node takes it over" call Node/NodeExpandVolume \
	"{\"volumeId\": \"$id\", \"volumePath\": \"$point\", \"stagingTargetPath\": \"$staging\"}"
ok "the file system is larger" test "$(stat -fc %b "$point")" -gt "$before"
ok "the data are there" has more
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

with_passphrase "a wrong one"
fails_with FAILED_PRECONDITION "a wrong passphrase" stage
like "is told" "$error" "encryptionPassphrase is not the one"
ok "nothing is left on the node" nothing_left
with_passphrase "a passphrase"

# ---- metadata and header that do not agree ---------------------------------------------------

# LUKS2 has two headers, 4 MiB apart: one object each.
objects=$(ceph_tool rbd info --format json "$image" | jq -r .block_name_prefix).000000000000000
both() { # get|put: of both objects
	local n
	for n in 0 1; do ceph_tool rados -p rbd "$1" "$objects$n" "$work/object$n" || return; done
}
ok "its headers are kept" both get
ok "one is lost" ceph_tool rados -p rbd rm "${objects}0"
ok "then the other one serves" stage
ok "the data are there" has more
ok "unstaged" unstage
ok "both are lost" ceph_tool rados -p rbd rm "${objects}0" "${objects}1"
fails_with FAILED_PRECONDITION "metadata without a header: nothing is formatted" stage
like "which is told" "$error" "no LUKS header"
ok "they come back" both put
ok "the state is lost" ceph_tool rbd image-meta rm "$image" rbd.csi.ceph.com/encrypted
fails_with FAILED_PRECONDITION "a header without metadata: nothing is opened" stage
ok "the state is as before it was encrypted" ceph_tool rbd image-meta set "$image" \
	rbd.csi.ceph.com/encrypted encryptionPrepared
ok "a header that the key opens is taken" stage
ok "the data are there" has more
is "and the state is mended" "$(meta encrypted)" encrypted
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

# ---- one key for all, and what ceph-csi encrypts ---------------------------------------------

ok "a volume is made" make all default || bail "no volume"
RBD_CSI_SECRETS=$plain
fails_with INVALID_ARGUMENT "without a passphrase it is not staged" stage
with_passphrase "a passphrase"
map() {
	echo "$RBD_CSI_MONITORS name=$RBD_CSI_USER,secret=$(<"$RBD_CSI_KEYFILE") rbd $image -" \
		>/sys/bus/rbd/add_single_major && device=/dev/rbd$(ls /sys/bus/rbd/devices)
}
unmap() { echo "${device#/dev/rbd}" >/sys/bus/rbd/remove_single_major; }
luks() { printf 'a passphrase' | cryptsetup -q "$@" -d -; }
ok "mapped" map
ok "ceph-csi encrypts it" luks luksFormat --type luks2 --hash sha256 --luks2-metadata-size 4096k \
	--luks2-keyslots-size 8192k --pbkdf-memory 32768 "$device"
ok "opens it" luks luksOpen "$device" "luks-rbd-$id" --disable-keyring
ok "and formats it" mkfs.ext4 -q "/dev/mapper/luks-rbd-$id"
ok "closes it" cryptsetup -q luksClose "luks-rbd-$id"
ok "unmapped" unmap
ok "and is killed" ceph_tool rbd image-meta set "$image" rbd.csi.ceph.com/encrypted encrypted
ok "it is staged here" stage
ok "written to" write theirs
ok "unstaged" unstage
ok "ceph-csi has it again" map
ok "and opens it" luks luksOpen "$device" "luks-rbd-$id" --disable-keyring
ok "mounts it" mount --mkdir "/dev/mapper/luks-rbd-$id" "$work/theirs"
is "has the data" "$(<"$work/theirs/file")" theirs
ok "lets go of it" umount "$work/theirs"
ok "closes it" cryptsetup -q luksClose "luks-rbd-$id"
ok "unmapped" unmap
ok "nothing is left on the node" nothing_left

done_testing
