#!/bin/bash
# admin.t: `rbd-csictl ops`, `sessions`, `trace` and `log-level`: what the daemon does and has done,
# also while the cluster does not answer; and `abort`, the way out for a volume whose unmount hangs.
. "$(dirname "$0")/lib.sh"
need_cluster
defer stop_attachds
start_daemon --metrics-address=127.0.0.1:0 --status-page
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
page_has() { http_get "$address" / | grep -qF -- "$1"; }

# listed FILTER: an operation that the filter selects is running.
listed() {
	"$build/rbd-csictl" --endpoint "$endpoint" ops --json |
		jq -e "map(select($1)) | length > 0" >/dev/null
}

ctl 0 "volumes of a node that has none" volumes --json
# mine: of the answer, what is this test's; other daemons of this node may have volumes, too
mine() { jq -c --arg work "$work/" 'map(select(.mounts | any(startswith($work))))' <<<"$reply"; }
is "are none" "$(mine)" '[]'
ctl 0 "ops of a daemon at rest" ops
is "is a line of names" "$(wc -l <<<"$reply")" 1
ctl 0 "as JSON" ops --json
is "it is an empty list" "$(jq -c . <<<"$reply")" '[]'
ctl 2 "ops takes no argument" ops x
ctl 2 "nor another format" ops -o yaml
ctl 0 "its usage may be asked for" ops --help
ctl 2 "a level is one of four" log-level
ctl 1 "which are named" log-level loud
like "to who does not know them" "$error" 'INVALID_ARGUMENT: level: has to be error, warn, info or debug'
ctl 0 "sessions of a daemon at rest" sessions --json
is "are none" "$(jq -c . <<<"$reply")" '[]'
ctl 0 "nor has it a trace" trace no-such-volume
is "of what was never asked" "$reply" ""
ctl 2 "abort wants a volume" abort
ctl 0 "its usage may be asked for, too" abort --help
ctl 1 "a volume that is not here cannot be aborted" abort no-such-volume
is "and that is said" "$error" 'NOT_FOUND: volume no-such-volume has no device on this node whose I/O can be ended'
ctl 1 "what is no volume's name neither" abort a/b
like "which is said" "$error" '^INVALID_ARGUMENT: volume_id: '

# ---- a volume ----------------------------------------------------------------------------------

mapfile -t osds < <(cat "$RBD_CSI_CLUSTER_DIR"/run/osd.*.pid)
((${#osds[@]})) || bail "no OSD of our own"
capability='{"mount": {"fsType": "ext4"}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'
staging=$work/staging
mkdir -p "$staging"
# shellcheck disable=SC2016 # jq's variables
create='{
	name: $name, capacityRange: {requiredBytes: "67108864"},
	volumeCapabilities: [$capability],
	parameters: {clusterID: $cluster, pool: "rbd", mounter: "userspace", imageFeatures: "layering"}}'
new() { jq -n --arg name "$1" --argjson capability "$capability" --arg cluster "$RBD_CSI_FSID" "$create"; }

ok "CreateVolume" call Controller/CreateVolume "$(new t-admin)" || bail "no volume"
volume=$(jq -r .volume.volumeId <<<"$reply")
context=$(jq .volume.volumeContext <<<"$reply")
stage=$(jq -n --arg id "$volume" --arg staging "$staging" --argjson capability "$capability" \
	--argjson context "$context" '{volumeId: $id, stagingTargetPath: $staging,
	volumeCapability: $capability, volumeContext: $context}')
unstage=$(jq '{volumeId, stagingTargetPath}' <<<"$stage")
ok "NodeStageVolume" call Node/NodeStageVolume "$stage" || bail "not staged"

# ---- volumes of this node ------------------------------------------------------------------------

target=$work/target
publish=$(jq --arg target "$target" '. + {targetPath: $target, readonly: true}' <<<"$stage")
ok "NodePublishVolume" call Node/NodePublishVolume "$publish"
ok "something is written" dd if=/dev/zero of="$staging/$volume/first" bs=1M count=2 conv=fsync status=none
ctl 0 "volumes" volumes --json
is "has it with its image, mapper and mounts" \
	"$(mine | jq -r '.[] | "\(.volumeId) \(.image) \(.mapper) \(.mounts | join(" "))"')" \
	"$volume rbd/$(jq -r .imageName <<<"$context") userspace $staging/$volume $target"
ok "its device, size and what was written" jq -e '.[0] | (.device | test("^/dev/loop[0-9]+$")) and
	.sizeBytes == "67108864" and (.writtenBytes | tonumber) >= 2097152 and .problem == null and
	(.ageMs | tonumber) > 0 and (.ageMs | tonumber) < 900000' <<<"$(mine)" || diag "$reply"
ctl 0 "as a table" volumes
like "it has them, too" "$reply" "$volume +rbd/[^ ]+ +/dev/loop[0-9]+ \(userspace\) +64.0 MiB .*$target"
ok "the status page has it, too" wait_for 60 page_has "<td><code>$volume</code></td>"
ok "with its mounts" page_has "<code>$staging/$volume</code><br><code>$target</code>"
look_at "http://$address/"
row=$(tr -d '\n' <<<"$dom" | sed -n "s|.*\(<tr[^>]*>\)<td><code>$volume</code></td>\(.*\)|\1\2|p" | sed 's|</tr>.*||')
like "a browser shows a healthy volume" "$row" "^<tr><td><code>rbd/[^<]+</code></td><td><code>/dev/loop[0-9]+</code></td>"
like "with its age, and without a problem" "$row" '<td class="n">[0-9][^<]+</td><td><code></code></td>$'
ok "NodeUnpublishVolume" call Node/NodeUnpublishVolume "$(jq '{volumeId, targetPath}' <<<"$publish")"

# ---- sessions, trace, log level ---------------------------------------------------------------

ctl 0 "sessions" sessions --json
is "there is one" "$(jq -r '.[] | "\(.clusterId) \(.state) \(.running // 0) \(.waiting // 0)"' <<<"$reply")" \
	"$RBD_CSI_FSID ready 0 0"
worker=$(jq '.[0].workerPid' <<<"$reply")
like "with the pid of its worker" "$(tr '\0' ' ' <"/proc/$worker/cmdline")" ceph-worker
ctl 0 "as a table" sessions
like "it has the pid, too" "$reply" " $worker "
ctl 0 "the trace of a volume" trace "$volume" --json
is "has what was done with it, the newest first" "$(jq -r '[.[] | "\(.method) \(.code)"] | join(", ")' <<<"$reply")" \
	"NodeStageVolume OK"
ok "state by state" jq -e '.[0] | (.states | length) > 2 and (.states | map(.us // "0" | tonumber) | add) <= ((.durationMs | tonumber) + 2) * 1000' <<<"$reply"
ctl 0 "the trace of a name in a request" trace t-admin --json
is "is its creation" "$(jq -r '[.[] | "\(.method) \(.subject) \(.code)"] | join(", ")' <<<"$reply")" "CreateVolume t-admin OK"
ok "with the worker's states" jq -e '.[0].states | any(.name == "CREATEVOL_COMMITTED")' <<<"$reply"
ctl 0 "the trace of all" trace
like "has a failure with its reason" "$reply" 'Abort no-such-volume: NOT_FOUND after .*
 +volume no-such-volume has no device'
like "and what was before it" "$reply" 'CreateVolume t-admin: OK after'
like "with its states" "$reply" ' ms  CREATEVOL_LOCKED'
ctl 0 "the log can say more" log-level debug
is "than before" "$reply" "it was info"
ok "a creation" call Controller/CreateVolume "$(new t-admin-0)"
logged=$(jq -r .volume.volumeId <<<"$reply")
ok "is logged by the worker, too" wait_for 60 grep -q "debug ceph-worker\\[$worker\\]" "$work/csid.log"
ctl 0 "and less again" log-level info
is "than then" "$reply" "it was debug"
ok "it is deleted" call Controller/DeleteVolume "{\"volumeId\": \"$logged\"}"

# ---- a volume whose cluster does not answer ----------------------------------------------------
at_rest() { "$build/rbd-csictl" --endpoint "$endpoint" ops --json | jq -e 'length == 0' >/dev/null; }
ok "no operation is left" wait_for 60 at_rest

# What an unmount has to write: pages of blocks that are there, so that nothing has to be read.
ok "a file" dd if=/dev/zero of="$staging/$volume/file" bs=64k count=16 conv=fsync status=none
kill -STOP "${osds[@]}"
defer kill -CONT "${osds[@]}"
dd if=/dev/urandom of="$staging/$volume/file" bs=64k count=16 conv=notrunc status=none
(call Controller/CreateVolume "$(new t-admin-2)") >"$work/create.out" 2>&1 &
creation=$!
(call Node/NodeUnstageVolume "$unstage") >"$work/unstage.out" 2>&1 &
unstaging=$!
"$build/rbd-csictl" --endpoint "$endpoint" ops --watch --json >"$work/watched" 2>"$work/watched.err" &
watcher=$!
ok "a creation waits for the cluster, and ops tells the worker's state" wait_for 60 \
	listed '.name == "CreateVolume" and .subject == "t-admin-2" and .callers == 1 and
		(.workerState // "" | test("^CREATEVOL_"))'
ok "so does an unstage" wait_for 60 \
	listed ".name == \"NodeUnstageVolume\" and .subject == \"$volume\" and .callers == 1"
ctl 0 "as a table" ops
like "it has both" "$reply" " CreateVolume +CREATEVOL_[A-Z_]+ [0-9.]+ s +t-admin-2"
like "with their subjects" "$reply" " NodeUnstageVolume .* $volume"
sleep 2
ok "the unmount hangs" test -d "/proc/$unstaging"
began=$EPOCHSECONDS
ctl 0 "an abort is no matter of the volume's lock" abort "$volume"
diag "$reply after $((EPOCHSECONDS - began)) s"
like "it says what has become of it" "$reply" '^its I/O has ended, its device is '
ok "the unmount goes on" wait_for 60 is_gone "$unstaging"
wait "$unstaging"
diag "within $((EPOCHSECONDS - began)) s"
is "nothing is mounted" "$(findmnt -n "$staging/$volume")" ""
kill -CONT "${osds[@]}"
ok "the creation comes to its end" wait "$creation" || diag "$(<"$work/create.out")"
begun_and_ended() {
	jq -es 'map(map(select(.subject == "t-admin-2")) | length) | any(. > 0) and last == 0' "$work/watched"
}
ok "who watches has seen it begin and end" wait_for 60 begun_and_ended
kill -TERM "$watcher"
wait "$watcher"
is "and ends well" "$? $(<"$work/watched.err")" "0 "
second=$(call Controller/CreateVolume "$(new t-admin-2)" >/dev/null; jq -r .volume.volumeId <<<"$reply")

ok "NodeUnstageVolume, once more" call Node/NodeUnstageVolume "$unstage"
is "leaves no loop device" "$(grep -ls "^$work/" /sys/block/loop*/loop/backing_file | wc -l)" 0
ok "the volume can be staged again" wait_for 60 call Node/NodeStageVolume "$stage"
ok "and written" dd if=/dev/zero of="$staging/$volume/more" bs=64k count=1 conv=fsync status=none
ctl 0 "a volume in use can be aborted, too" abort "$volume" --json
is "its device is not given back then" "$(jq -r '.released // false' <<<"$reply")" false
ok "a write fails" bash -c "! dd if=/dev/zero of='$staging/$volume/more' bs=64k count=1 conv=fsync status=none"
ok "NodeUnstageVolume" call Node/NodeUnstageVolume "$unstage"
ok "DeleteVolume" wait_for 60 call Controller/DeleteVolume "{\"volumeId\": \"$volume\"}"
ok "and the other one" call Controller/DeleteVolume "{\"volumeId\": \"$second\"}"
ok "ops has nothing at the end" wait_for 120 at_rest
done_testing
