#!/bin/bash
# krbd-format.t: with the kernel's own rbd driver: what is formatted and what is not, and volumes
# that ceph-csi has staged encrypted
# shellcheck disable=SC2154 # the variables of volume.sh
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
# shellcheck source=volume.sh
. "$(dirname "$0")/volume.sh"
bytes=134217728
ceph_tool() { timeout 60 "$1" --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" "${@:2}"; }
mark() { ceph_tool rbd image-meta get "$image" .rbd.csi.ceph.com/filesystem; }

# ---- what is formatted -----------------------------------------------------------------------

ok "a volume is made" make plain || bail "no volume"
ok "staged" stage
is "and marked" "$(mark)" ext4
ok "written to" write plain
ok "unstaged" unstage
object=$(ceph_tool rbd info --format json "$image" | jq -r .block_name_prefix).0000000000000000
ok "its first object is kept" ceph_tool rados -p rbd get "$object" "$work/object"
ok "and lost" ceph_tool rados -p rbd rm "$object"
fails_with FAILED_PRECONDITION "it is not formatted" stage
ok "nothing is left on the node" nothing_left
ok "the object comes back" ceph_tool rados -p rbd put "$object" "$work/object"
ok "it is staged" stage
ok "and has its data" has plain
ok "unstaged" unstage
ok "it can be detached" detach
ok "and deleted" delete

# ---- encrypted by ceph-csi -------------------------------------------------------------------

# luks COMMAND...: with the passphrase that a KMS would give
luks() { printf passphrase | cryptsetup -q "$@" -d -; }
map() {
	echo "$RBD_CSI_MONITORS name=$RBD_CSI_USER,secret=$key rbd $image -" \
		>/sys/bus/rbd/add_single_major &&
		device=/dev/rbd$(ls /sys/bus/rbd/devices)
}
unmap() { echo "${device#/dev/rbd}" >/sys/bus/rbd/remove_single_major; }
stash() {
	printf '{"Version":3,"pool":"rbd","radosNamespace":"","image":"%s","unmapOptions":"",' "$image"
	printf '"accessType":false,"encrypted":true,"device":"","logDir":"","logFileStrategy":"remove"}'
}
open_luks() { luks luksOpen "$device" "${1:-luks-rbd-$id}" --disable-keyring; }
# encrypted_stage: what ceph-csi leaves on a node
encrypted_stage() {
	map && stash >"$staging/image-meta.json" && open_luks && mkdir -p "$point" &&
		mount "/dev/mapper/luks-rbd-$id" "$point"
}
has_mapping() { grep -qsx "$1" /sys/block/dm-*/dm/name; }
no_mapping() { ! has_mapping "luks-rbd-$id"; }

ok "dm-crypt is there" modprobe dm-crypt
ok "a volume is made" make secret || bail "no volume"
ok "mapped" map
ok "encrypted" luks luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$device"
ok "opened" open_luks
ok "given a file system" mkfs.ext4 -q "/dev/mapper/luks-rbd-$id"
ok "closed" cryptsetup -q luksClose "luks-rbd-$id"
ok "unmapped" unmap
fails_with FAILED_PRECONDITION "the LUKS header is not formatted" stage
ok "nothing is left on the node" nothing_left

ok "ceph-csi stages it" encrypted_stage
ok "it is written to" write secret
ok "it is unstaged" unstage
ok "the mapping is closed" no_mapping
ok "nothing is left on the node" nothing_left
ok "it is unstaged once more" unstage
ok "ceph-csi stages it again" encrypted_stage
ok "the data are there" has secret
ok "ceph-csi dies in unstage" umount "$point"
ok "it is unstaged" unstage
ok "the mapping is closed" no_mapping
ok "nothing is left on the node" nothing_left
ok "ceph-csi stages it again" encrypted_stage
ok "the stash is lost" rm "$staging/image-meta.json"
ok "it is unstaged" unstage
ok "the mapping is closed" no_mapping
ok "nothing is left on the node" nothing_left

ok "ceph-csi stages it again" encrypted_stage
mkdir "$work/elsewhere"
ok "it is mounted elsewhere, too" mount --bind "$point" "$work/elsewhere"
fails_with FAILED_PRECONDITION "then it is not unstaged" unstage
ok "the data are there" has secret
ok "it is mounted elsewhere no more" umount "$work/elsewhere"
ok "it is unstaged" unstage
ok "nothing is left on the node" nothing_left

ok "it is mapped" map
ok "and opened by somebody else under a name of his own" open_luks somebody
stash >"$staging/image-meta.json"
fails_with "(FAILED_PRECONDITION|ABORTED)" "what he holds is not taken away" unstage
ok "his mapping is there" has_mapping somebody
ok "he closes it" cryptsetup -q luksClose somebody
ok "it is unstaged" unstage
ok "nothing is left on the node" nothing_left

plain=$volume
volume=$(jq -c '.volumeContext.encrypted = "true"' <<<"$plain")
fails_with FAILED_PRECONDITION "the controller says that no image is encrypted" attach
volume=$plain
ok "as ceph-csi has marked it" ceph_tool rbd image-meta set "$image" \
	rbd.csi.ceph.com/encrypted encrypted
fails_with FAILED_PRECONDITION "nor is it published when the volume_context does not tell" attach
ok "it can be detached" detach
ok "and deleted" delete
ok "the daemon ends" stop_daemon
done_testing
