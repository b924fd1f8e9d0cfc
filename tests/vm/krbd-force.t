#!/bin/bash
# krbd-force.t: a volume of krbd whose cluster is gone for good is let go by force, if it was mapped so
# shellcheck disable=SC2016,SC2154 # the variables in single quotes are jq's, or eval's
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
. "$(dirname "$0")/volume.sh"

pause() { timeout 300 ceph -c "$CEPH_CONF" osd "$1" pause; }
defer pause unset
abort_volume() { "$build/rbd-csictl" --endpoint "$endpoint" abort "$(jq -r .volumeId <<<"$volume")" 2>&1; }
# stage_with OPTIONS
stage_with() {
	volume=$(jq -c --arg options "$1" '.volumeContext.mapOptions = $options' <<<"$volume")
	stage
}

use force ext4
ok "created" create force ext4 layering
ok "published to the node" attach
like "what is not mapped cannot be let go" "$(abort_volume)" "NOT_FOUND"
ok "staged" stage
like "nor what the kernel would wait for without end" "$(abort_volume)" "mapped without osd_request_timeout"
ok "unstaged" unstage
ok "staged with a bound" stage_with krbd:osd_request_timeout=10
ok "published" publish
ok "the cluster goes" pause set
dd if=/dev/zero of="$data" bs=64k count=4 conv=fsync status=none 2>/dev/null &
writer=$!
ok "the volume is let go by force" abort_volume
has_failed() { ! wait "$writer"; }
ok "what was being written has failed" has_failed
is "nothing is mapped" "$(mapped)" 0
like "the log says what is left behind" "$(grep -h krbd.force "$work/csid.log")" "image=$image requests="
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "the cluster comes back" pause unset
ok "staged again" stage
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "deleted" delete
done_testing
