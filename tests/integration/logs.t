#!/bin/bash
# logs.t: the log as programs read it: JSON whose keys are docs/LOGS.md's, the life of a volume by its
# identifier, levels by whose fault it is, and what still runs.
. "$(dirname "$0")/lib.sh"
need_cluster

good=$RBD_CSI_CONFIG
RBD_CSI_CONFIG=$work/config.json
jq '. + [{clusterID: "nowhere", monitors: ["127.0.0.1:1"]}]' "$good" >"$RBD_CSI_CONFIG"

# rows FILTER: lines of the log so far, as jq selects them; the last one may be half written.
rows() { jq -R -c "fromjson? | select($1)" "$work/csid.log"; }
row_is_there() { [[ -n $(rows "$1") ]]; }
volume_json() {
	jq -n --arg name "$1" --arg cluster "$2" '{name: $name, capacity_range: {required_bytes: 16777216},
		volume_capabilities: [{block: {}, access_mode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: "rbd"}}'
}

start_daemon --log-format=json --logslowopinterval=1s
is "each line is JSON" "$(jq -c .event "$work/csid.log" | sort -u | grep -c daemon.start)" 1
is "Probe is not worth a line" "$(rows '.event == "rpc.end"')" ''

name="logs \"$$\""
ok "CreateVolume" call Controller/CreateVolume "$(volume_json "$name" "$RBD_CSI_FSID")"
id=$(jq -r .volume.volumeId <<<"$reply")
image=$(jq -r .volume.volumeContext.imageName <<<"$reply")
created=$(rows '.event == "rpc.end" and .method == "/csi.v1.Controller/CreateVolume"')
is "its line has the volume" "$(jq -r .volume <<<"$created")" "$id"
is "the image" "$(jq -r .image <<<"$created")" "$image"
is "the name, whatever is in it" "$(jq -r .name <<<"$created")" "$name"
is "code and level" "$(jq -r '"\(.code) \(.level)"' <<<"$created")" "OK info"
is "the time as a number" "$(jq -r '.ms | type' <<<"$created")" number
like "and the states" "$(jq -r .states <<<"$created")" '^[A-Z_]+:[0-9.]+,'
fails_with INVALID_ARGUMENT "what the caller does wrong" \
	call Controller/ValidateVolumeCapabilities "{\"volume_id\": \"$id\"}"
is "is no warning" "$(rows '.code == "INVALID_ARGUMENT"' | jq -r '"\(.level) \(.volume)"')" "info $id"
ok "DeleteVolume" call Controller/DeleteVolume "{\"volume_id\": \"$id\"}"
is "three calls of its life" "$(rows ".volume == \"$id\" and .event == \"rpc.end\"" | wc -l)" 3
ok "and its purge" wait_for 60 row_is_there ".image == \"$image\" and .event == \"purge.end\""

ok "the level changes" call rbdcsi.admin.v1.Admin/SetLogLevel '{"level": "debug"}'
ok "Probe" call Identity/Probe '{}'
is "is there at debug" "$(rows '.method == "/csi.v1.Identity/Probe"' | jq -r .level)" debug
ok "and back" call rbdcsi.admin.v1.Admin/SetLogLevel '{"level": "info"}'

"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 60 \
	call Controller/CreateVolume "$(volume_json slow nowhere)" >"$work/slow" 2>&1 &
slow=$!
defer eval "kill $slow 2>/dev/null; true"
ok "what is slow is told while it runs" wait_for 60 row_is_there '.event == "op.slow" and .name == "slow"'
like "and where it is" "$(rows '.event == "op.slow" and .name == "slow"' | jq -r .text | head -n 1)" 'connection to cluster "nowhere"'
ok "a failure that is not the caller's" wait_for 60 row_is_there '.name == "slow" and .code == "UNAVAILABLE"'
is "is a warning" "$(rows '.name == "slow" and .code == "UNAVAILABLE"' | jq -r .level | sort -u)" warn
like "with its text" "$(rows '.name == "slow" and .code == "UNAVAILABLE"' | jq -r .text)" 'connect to cluster "nowhere"'
ok "the daemon ends" stop_daemon

# What lib.sh does with the log of each test.
echo "2026-11-28T06:12:01.204Z info rbd-csid[1] rpc.end text=\"$(printf 'AQ%036d==' 0)\"" >"$work/leak"
like "a key in a log would be found" "$("$top/scripts/check-logs" "$work/leak")" 'leak:1: what may be a key of Ceph'
rm "$work/leak"

done_testing
