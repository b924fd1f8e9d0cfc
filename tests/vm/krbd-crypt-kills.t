#!/bin/bash
# krbd-crypt-kills.t: a kill at each step of encrypting and opening a volume: the next call goes on from there, nothing
# that has data is formatted, and no LUKS header that was whole is made anew
# shellcheck disable=SC2154 # the variables of crypt.sh and volume.sh
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"
# shellcheck source=crypt.sh
. "$(dirname "$0")/crypt.sh"

is_making() { is_told stage.mkfs; }
luks_uuid() { cryptsetup luksUUID /dev/rbd0; }
# what the dead daemon had forked has ended
is_alone() { [[ $(ours rbd-csid) == "$csid_pid" ]]; }

with_passphrase "a passphrase"
encrypted own-keys
ok "a volume is made" make killed || bail "no volume"
ok "killed when the image has a device" killed_when is_mapped
ok "killed when there is half a LUKS header" killed_when has_writes
is "no state says that it is encrypted" "$(meta encrypted)" encryptionPrepared
ok "killed when it is open, before it has a file system" killed_when has_mapping
uuid=$(luks_uuid)
is "it is noted" "$(meta encrypted)" encrypted
ok "killed in mkfs" killed_when is_making
ok "killed when it is mounted" killed_when is_mounted
ok "staged" wait_for 300 stage
is "the header is the same" "$(luks_uuid)" "$uuid"
ok "written to" write precious
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "killed when the image has a device again" killed_when is_mapped
ok "killed when it is open again" killed_when has_mapping
ok "killed when it is mounted again" killed_when is_mounted
ok "staged" wait_for 300 stage
ok "the data are there" has precious
is "the header is the same" "$(luks_uuid)" "$uuid"
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete

ok "a volume is made" make orphan || bail "no volume"
ok "the daemon alone is killed while the LUKS header is made" killed_when has_writes only
# The child lives on, but nobody hears of it.
ok "which is made whole all the same" wait_for 300 is_alone
uuid=$(luks_uuid)
is "and not noted" "$(meta encrypted)" encryptionPrepared
ok "staged" wait_for 300 stage
is "the header that was whole is not made anew" "$(luks_uuid)" "$uuid"
is "it is noted" "$(meta encrypted)" encrypted
ok "written to" write precious
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
