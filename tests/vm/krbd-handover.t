#!/bin/bash
# krbd-handover.t: what ceph-csi has staged is published and unstaged by us, and the other way round. Its part is played by the
# commands that it runs.
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/ceph_csi.sh"
they_stage() { they_note false && they_map && mkfs.xfs -q "$device" && they_mount; }

# ---- both ways ---------------------------------------------------------------------------------

use theirs xfs
ok "created" create theirs xfs "$all_features"
ok "published to the node" attach
ok "staged by ceph-csi" they_stage
ok "and published" they_publish
ok "data is written" put_data theirs
ok "staging it is success" stage
is "it is mapped once" "$(mapped)" 1
ok "publishing it, too" publish
ok "it has statistics" call Node/NodeGetVolumeStats "$(with '. + {volumePath: $target, stagingTargetPath: $staging}' id)"
ok "and health" call Node/NodeGetVolumeHealth "$(with '. + {volumePublishPath: $target, stagingTargetPath: $staging}' id)"
is "which is good" "$(jq -c '.volumeHealth.healthStatuses // []' <<<"$reply")" "[]"
ok "the image is made larger" call Controller/ControllerExpandVolume "$(with ". + {
	capacityRange: {requiredBytes: \"$((2048 * MIB))\"}, volumeCapability: \$cap}" id)"
ok "it grows" expand $((2048 * MIB))
ok "the data is there" has_data
target=$target-2
ok "published a second time" publish
ok "and taken away there" unpublish
target=${target%-2}
fails_with FAILED_PRECONDITION "what is published is not unstaged" unstage
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

ok "staged" stage
ok "published" publish
data=$target/data
ok "with the data" has_data
has_their_stash false
ok "unpublished by ceph-csi" they_unpublish
ok "and unstaged" they_unstage
is "it is not mapped" "$(mapped)" 0
ok "unstaging it is success" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
