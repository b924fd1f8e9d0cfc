#!/bin/bash
# krbd-integrity.t: integrityMode, dm-integrity below dm-crypt: made, killed while all of it is written, opened by
# ceph-csi's command, changed behind its back, and not made larger
# shellcheck disable=SC2154 # the variables of crypt.sh and volume.sh
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"
# shellcheck source=crypt.sh
. "$(dirname "$0")/crypt.sh"

is_wiping() { has_mapping _wipe; }
has_integrity() { has_mapping && has_mapping _dif; }
top() {
	local name
	for name in /sys/block/dm-*/dm/name; do
		[[ $(<"$name") == "luks-rbd-$id" ]] && cut -d/ -f4 <<<"$name"
	done
}
read_all() { dd if="/dev/$(top)" of=/dev/null bs=1M iflag=direct status=none; }
fails_to() { ! "$@"; }

with_passphrase "a passphrase"
bytes=41943040
encrypted default '{"encryptionCipher": "aes-xts-plain64", "integrityMode": "hmac-sha256"}'
ok "a volume is made" make whole || bail "no volume"
ok "killed while all of it is written" killed_when is_wiping
ok "staged" wait_for 500 stage
is "it is encrypted" "$(meta encrypted)" encrypted
ok "it lies on dm-integrity" has_integrity
ok "each sector can be read" read_all
ok "written to" write precious
fails_with FAILED_PRECONDITION "it cannot grow" call Node/NodeExpandVolume \
	"{\"volumeId\": \"$id\", \"volumePath\": \"$point\", \"stagingTargetPath\": \"$staging\"}"
like "which is told" "$error" "integrityMode"
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

ok "ceph-csi has it" map
ok "changes its key slot" quick_key
ok "opens it" luks luksOpen "$device" "luks-rbd-$id" --disable-keyring
ok "mounts it" mount --mkdir "/dev/mapper/luks-rbd-$id" "$work/theirs"
is "has the data" "$(<"$work/theirs/file")" precious
ok "lets go of it" umount "$work/theirs"
ok "closes it" cryptsetup -q luksClose "luks-rbd-$id"
ok "somebody changes what is in the image" dd if=/dev/urandom of="$device" bs=1M seek=30 count=2 oflag=direct status=none
ok "unmapped" unmap

ok "staged" wait_for 500 stage
ok "the data are there" has precious
ok "what was changed cannot be read" fails_to read_all
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
