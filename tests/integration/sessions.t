#!/bin/bash
# sessions.t: what users' secrets, config.json and journals look like and still works; how a Ceph
# session ends, and what takes its place.
. "$(dirname "$0")/lib.sh"

need_cluster

access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
user=$(jq -r .userID "$RBD_CSI_SECRETS")
key=$(jq -r .userKey "$RBD_CSI_SECRETS")

# create NAME [CLUSTER-ID [POOL]]: makes a volume; its handle is $id.
create() {
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg cluster "${2:-$RBD_CSI_FSID}" \
		--arg pool "${3:-rbd}" --argjson access "$access" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: $cluster, pool: $pool}}')" || return
	id=$(jq -r .volume.volumeId <<<"$reply")
}
delete() { call Controller/DeleteVolume "{\"volume_id\": \"$id\"}"; }
publish() {
	call Controller/ControllerPublishVolume "$(jq -n --arg id "$id" --argjson access "$access" \
		'{volume_id: $id, node_id: "test-node", volume_capability: $access}')"
}
unpublish() {
	call Controller/ControllerUnpublishVolume "{\"volume_id\": \"$id\", \"node_id\": \"test-node\"}"
}

# as USER KEY COMMAND...: with these credentials; printf's escapes work.
as() {
	local RBD_CSI_SECRETS=$work/secrets.json
	jq -n --arg user "$1" --arg key "$(printf '%b.' "$2")" \
		'{userID: $user, userKey: $key[:-1]}' >"$RBD_CSI_SECRETS"
	shift 2
	"$@"
}

ask() { timeout 60 ceph -c "$CEPH_CONF" "$@"; }
logged() { grep -q -- "$1" "$work/csid.log"; }
workers() { pgrep -P "$csid_pid" -x ceph-worker; }
worker_count_is() { [[ $(workers | wc -l) == "$1" ]]; }

config=$work/config.json
jq '[null] + . + [{clusterid: "case", Monitors: .[0].monitors}, {clusterID: "bad", monitors: "m"}]' \
	"$RBD_CSI_CONFIG" >"$config"
RBD_CSI_CONFIG=$config
start_daemon

# ---- keys as people store them ---------------------------------------------------------------

ok "a key ends in a newline" as "$user" "$key\n" create keys
ok "in CRLF" as "$user" "$key\r\n" create keys
ok "and has blanks around it" as "$user" " $key\t " create keys
is "all of that is one credential" "$(workers | wc -l)" 1
ok "the volume is deleted" delete

# ---- entries of config.json as people write them ---------------------------------------------

ok "letter case in config.json does not matter" create case case
ok "nor for what comes later" delete
ok "an entry that is null is left out and logged" logged 'config.entry.*entry 1: not an object'
fails_with INVALID_ARGUMENT "so is one with a fault" create bad bad
like "which is told" "$error" 'clusterID "bad" is left out of .*: entry 5: monitors is not a list'
printf '[{"clusterID": "new"' >"$config"
ok "a file that is broken is logged" wait_for 5 logged config.broken
ok "the last good one is used" create broken
ok "to the end" delete
fails_with INVALID_ARGUMENT "what is new in the broken one" create new new
like "is missing for that reason" "$error" \
	'"new" is not in .*; an older config.json is in use, for the newest one is broken: .*line 1'
jq '. + [{clusterID: "nowhere", monitors: ["127.0.0.1:1"]}]' \
	"$RBD_CSI_CLUSTER_DIR/config.json" >"$work/next"
mv "$work/next" "$config"
ok "a good one is read again" wait_for 5 logged 'config.loaded.*clusters=3'

# ---- damage that does not matter -------------------------------------------------------------

ok "a volume" create damaged
ok "is published" publish
uuid=${id: -36}
printf 'a\0b' >"$work/value"
for attr in csi.volume.owner csi.volume.encryptKMS csi.groupid; do
	timeout 60 rados -c "$CEPH_CONF" -p rbd setomapval "csi.volume.$uuid" "$attr" \
		--input-file "$work/value" >"$work/out" 2>&1
done
like "attributes of its journal entry are damaged" \
	"$(timeout 60 rados -c "$CEPH_CONF" -p rbd listomapvals "csi.volume.$uuid")" 'a.b'
ok "nobody needs them to publish" publish
ok "to unpublish" unpublish
ok "and to delete" delete

done_testing
