#!/bin/bash
# krbd-crypt.t: encrypted volumes on both mappers, with dm-crypt: their life, growth, what ceph-csi
# has encrypted, keys that do not fit, and headers that are not as the metadata say
# shellcheck disable=SC2154 # the variables of crypt.sh and volume.sh
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"
# shellcheck source=crypt.sh
. "$(dirname "$0")/crypt.sh"
is_crypt() { [[ $(findmnt -no SOURCE "$point") =~ ^/dev/(dm-|mapper/) ]]; }

# ---- a key of its own, on both mappers -------------------------------------------------------

with_passphrase "a passphrase"
encrypted own-keys
ok "a volume is made" make own || bail "no volume"
is "it is prepared" "$(meta encrypted)" encryptionPrepared
ok "staged" stage
is "it is encrypted" "$(meta encrypted)" encrypted
ok "and mounted by dm-crypt" is_crypt
ok "written to" write "a secret text"
ok "staged once more" stage
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
no_plain_text() { ceph_tool rbd export "$image" - 2>/dev/null >"$work/export" && ! grep -q "a secret text" "$work/export"; }
ok "what is in the image is not what was written" no_plain_text
ok "staged by the other mapper" stage_by userspace
ok "the data are there" has "a secret text"
ok "written to" write more
ok "unstaged" unstage
ok "staged by krbd again" stage_by rbd
ok "the data are there" has more

ok "a larger image" ceph_tool rbd resize -s 256M "$image"
before=$(stat -fc %b "$point")
ok "the node takes it over" call Node/NodeExpandVolume \
	"{\"volumeId\": \"$id\", \"volumePath\": \"$point\", \"stagingTargetPath\": \"$staging\"}"
ok "the file system is larger" test "$(stat -fc %b "$point")" -gt "$before"
ok "the data are there" has more
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

ok "staged" stage
boot() { umount "$point" && cryptsetup -q close "luks-rbd-$id" && device=/dev/rbd0 unmap; }
target_has() { [[ $(<"$target/file") == "$1" ]]; }
ok "a boot leaves its stash only" boot
RBD_CSI_SECRETS=$secrets
fails_with INVALID_ARGUMENT "published without a passphrase it is not staged anew" publish
like "which is told" "$error" "encryptionPassphrase"
with_passphrase "a passphrase"
ok "with one it is" publish
ok "the data are there" target_has more
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

with_passphrase "a wrong one"
fails_with FAILED_PRECONDITION "a wrong passphrase" stage
like "is told" "$error" "encryptionPassphrase is not the one"
ok "nothing is left on the node" nothing_left
with_passphrase "a passphrase"
ok "unpublished from the node" detach
ok "deleted" delete

# ---- one key for all, and what ceph-csi encrypts ---------------------------------------------

encrypted default
ok "a volume is made" make all || bail "no volume"
RBD_CSI_SECRETS=$secrets
fails_with INVALID_ARGUMENT "without a passphrase it is not staged" stage
with_passphrase "a passphrase"
ok "mapped" map
ok "ceph-csi encrypts it" luks luksFormat --type luks2 --hash sha256 --luks2-metadata-size 4096k \
	--luks2-keyslots-size 8192k --pbkdf-memory 32768 --pbkdf-force-iterations 4 "$device"
ok "opens it" luks luksOpen "$device" "luks-rbd-$id" --disable-keyring
ok "and formats it" mkfs.ext4 -q "/dev/mapper/luks-rbd-$id"
ok "closes it" cryptsetup -q luksClose "luks-rbd-$id"
ok "unmapped" unmap
ok "and is killed" ceph_tool rbd image-meta set "$image" rbd.csi.ceph.com/encrypted encrypted
ok "it is staged here" stage
ok "written to" write theirs
ok "unstaged" unstage
ok "ceph-csi has it again" map
ok "changes its key slot" quick_key
ok "opens it" luks luksOpen "$device" "luks-rbd-$id" --disable-keyring
ok "mounts it" mount --mkdir "/dev/mapper/luks-rbd-$id" "$work/theirs"
is "has the data" "$(<"$work/theirs/file")" theirs
ok "lets go of it" umount "$work/theirs"
ok "closes it" cryptsetup -q luksClose "luks-rbd-$id"
ok "unmapped" unmap
ok "nothing is left on the node" nothing_left

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
ok "the data are there" has theirs
ok "unstaged" unstage
ok "both are lost" ceph_tool rados -p rbd rm "${objects}0" "${objects}1"
for by in userspace rbd; do
	fails_with FAILED_PRECONDITION "metadata without a header, $by: nothing is formatted" stage_by "$by"
	like "which is told" "$error" "no LUKS header"
done
ok "they come back" both put
ok "the state is lost" ceph_tool rbd image-meta rm "$image" rbd.csi.ceph.com/encrypted
for by in userspace rbd; do
	fails_with FAILED_PRECONDITION "a header without metadata, $by: nothing is opened" stage_by "$by"
done
ok "the state is as before it was encrypted" ceph_tool rbd image-meta set "$image" \
	rbd.csi.ceph.com/encrypted encryptionPrepared
ok "a header that the key opens is taken" stage_by userspace
ok "the data are there" has theirs
is "and the state is mended" "$(meta encrypted)" encrypted
ok "unstaged" unstage
ok "staged by krbd" stage_by rbd
ok "the data are there" has theirs
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
