#!/bin/bash
# krbd-crypt-handover.t: a LUKS device that ceph-csi has opened, with I/O on it, is published, grown, and unstaged by us, also
# what it was killed over; and what we have staged is unstaged by its commands
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's; others are crypt.sh's and volume.sh's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"
# shellcheck source=crypt.sh
. "$(dirname "$0")/crypt.sh"
# shellcheck source=ceph_csi.sh
. "$(dirname "$0")/ceph_csi.sh"

# ---- a file system -----------------------------------------------------------------------------

with_passphrase "a passphrase"
encrypted default
ok "a volume is made" make theirs || bail "no volume"
ok "ceph-csi begins to stage it" they_note true
ok "maps it" they_map
ok "encrypts it" they_encrypt
quick_key
ok "opens it" they_open
ok "formats it" mkfs.ext4 -q -m0 -Enodiscard "$device"
ok "mounts it" they_mount
ok "publishes it" they_publish
ok "the pod writes" begin_io "$target/records"
before=$(mapping)
record=$(<"$staging/image-meta.json")
RBD_CSI_SECRETS=$secrets # which have no passphrase
ok "staging it is success, without a passphrase" stage
ok "publishing it, too" publish
is "it is mapped once" "$(mapped)" 1
is "and mounted at two places" "$(mounts)" 2
is "by the mapping that was there" "$(mapping)" "$before"
is "whose record is as it was" "$(<"$staging/image-meta.json")" "$record"
ok "it has statistics" call Node/NodeGetVolumeStats "$(with '. + {volumePath: $target, stagingTargetPath: $staging}' id)"
is "of a file system" "$(jq -c '[.usage[].unit]' <<<"$reply")" '["BYTES","INODES"]'
ok "and health" call Node/NodeGetVolumeHealth "$(with '. + {volumePublishPath: $target, stagingTargetPath: $staging}' id)"
is "which is good" "$(jq -c '.volumeHealth.healthStatuses // []' <<<"$reply")" "[]"
blocks=$(stat -fc %b "$target")
ok "it is made larger" expand_both $((256 * MIB))
ok "the file system, too" test "$(stat -fc %b "$target")" -gt "$blocks"
is "and the mapping" "$(cat /sys/block/dm-*/size)" $(((256 - 16) * MIB / 512))
ok "kill -9 of the daemon" stop_daemon KILL
start_daemon --kms-config="$kms"
ok "the next one publishes it for a second pod" eval 'target+=-2; publish; rc=$?; target=${target%-2}; ((rc == 0))'
ok "the first one writes all the while" goes_on
fails_with FAILED_PRECONDITION "what is published is not unstaged" unstage
like "the target is named" "$error" "still shows"
ok "the second pod goes" eval 'target+=-2; unpublish; rc=$?; target=${target%-2}; ((rc == 0))'
ok "the first one ends, without an error" end_io
ok "what it wrote is there" is_all_there "$target/records"
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
with_passphrase "a passphrase"
ok "staged by us" stage
ok "and published" publish
ok "what was written is there" is_all_there "$target/records"
has_their_stash true
ok "unpublished by ceph-csi" they_unpublish
ok "and unstaged" they_unstage
is "it is not mapped" "$(mapped)" 0
ok "unpublishing it is success" unpublish
ok "unstaging it, too" unstage
ok "nothing is left on the node" nothing_left

# ---- what ceph-csi was killed over -------------------------------------------------------------

open_by_them() { they_note true && they_map && they_open; }
ok "it is killed when the device is open" open_by_them
before=$(mapping)
RBD_CSI_SECRETS=$secrets
ok "staged, without a passphrase" stage
is "by the mapping that was there" "$(mapping)" "$before"
ok "with the data" is_all_there "$point/records"
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
with_passphrase "a passphrase"
ok "it is killed when the device is open" open_by_them
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "it is killed when all but its record is there" eval 'open_by_them && they_mount && rm "$staging/image-meta.json"'
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "it is killed over an unstage, when nothing is mounted" eval 'stage && umount "$point"'
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "it has unmapped, and is killed before it takes the record away" they_note true
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
