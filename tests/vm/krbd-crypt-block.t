#!/bin/bash
# krbd-crypt-block.t: krbd-crypt-handover.t with a block volume
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's; others are crypt.sh's and volume.sh's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"
# shellcheck source=crypt.sh
. "$(dirname "$0")/crypt.sh"
# shellcheck source=ceph_csi.sh
. "$(dirname "$0")/ceph_csi.sh"

# ---- a block volume ----------------------------------------------------------------------------

with_passphrase "a passphrase"
encrypted default
ok "a block volume is made" make raw block || bail "no volume"
bind_by_them() { they_note true && they_map && they_encrypt && quick_key && they_open && they_bind && they_publish; }
ok "ceph-csi encrypts, stages and publishes it" bind_by_them
ok "the pod writes" begin_io "$target"
before=$(mapping)
ok "staging it is success" stage
ok "publishing it, too" publish
is "and mounted at two places" "$(mounts)" 2
is "by the mapping that was there" "$(mapping)" "$before"
ok "it has statistics" call Node/NodeGetVolumeStats "$(with '. + {volumePath: $target, stagingTargetPath: $staging}' id)"
is "of what is in it beside the header" "$(jq -c '[.usage[] | [.unit, .total]]' <<<"$reply")" "[[\"BYTES\",\"$(((128 - 16) * MIB))\"]]"
ok "it is made larger" expand_both $((256 * MIB))
is "which the pod's device is, too" "$(blockdev --getsize64 "$target")" $(((256 - 16) * MIB))
ok "the pod ends, without an error" end_io
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "staged by us" stage
ok "and published" publish
ok "what was written is there" is_all_there "$target"
has_their_stash true
ok "unpublished by ceph-csi" they_unpublish
ok "and unstaged" they_unstage
ok "unstaging it is success" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
