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
defer stop_attachds
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
ok "a file that is broken is logged" wait_for 60 logged config.broken
ok "the last good one is used" create broken
ok "to the end" delete
fails_with INVALID_ARGUMENT "what is new in the broken one" create new new
like "is missing for that reason" "$error" \
	'"new" is not in .*; an older config.json is in use, for the newest one is broken: .*line 1'
jq '. + [{clusterID: "nowhere", monitors: ["127.0.0.1:1"]}]' \
	"$RBD_CSI_CLUSTER_DIR/config.json" >"$work/next"
mv "$work/next" "$config"
ok "a good one is read again" wait_for 60 logged 'config.loaded.*clusters=3'

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

# ---- clusterIDs that are one cluster ---------------------------------------------------------

stop_daemon
monitors=$(jq '.[0].monitors' "$RBD_CSI_CLUSTER_DIR/config.json")
jq -n --argjson monitors "$monitors" '[range(20) | {clusterID: "tenant-\(.)", monitors: $monitors,
	rbd: {radosNamespace: (if . % 2 == 0 then "ns1" else "" end)}}]' >"$config"
jq --slurpfile own "$RBD_CSI_CLUSTER_DIR/config.json" '. + $own[0]' "$config" >"$work/next"
mv "$work/next" "$config"
start_daemon
twenty() {
	local i
	for i in {0..19}; do
		create "tenant-$i" "tenant-$i" || return
		[[ $id == *-tenant-$i-* ]] || return
		ids[i]=$id
	done
}
ids=()
ok "twenty tenants make volumes" twenty
is "with one session" "$(workers | wc -l)" 1
is "each in its own namespace" \
	"$(timeout 60 rbd -c "$CEPH_CONF" ls --pool rbd --namespace ns1 | grep -c .)" 10
twenty_gone() {
	for id in "${ids[@]}"; do delete || return; done
}
ok "and delete them" twenty_gone

# ---- fenced ----------------------------------------------------------------------------------

# The address of the newest session in the log.
address() { sed -n 's/.*session\.up .* address=\([^ ]*\) .*/\1/p' "$work/csid.log" | tail -n 1; }
fence() { ask osd blocklist add "$1"; }
ok "a volume" create fenced
was=$(address)
defer ask osd blocklist rm "$was"
ok "its session is fenced" fence "$was"
# The first calls may be faster than the OSD hears of it.
until_retired() {
	local end=$((SECONDS + 30))
	until logged "session.retired.*blocklisted this client, $was"; do
		((SECONDS < end)) && publish && unpublish || return
	done
}
ok "not one call fails, but the session is another one then" until_retired
ok "and ends" wait_for 60 worker_count_is 1
ok "the volume is deleted" delete

# ---- revoked ---------------------------------------------------------------------------------

pool=rbd-csi-revoked
defer remove_pool
remove_pool() {
	ask osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
}
ask osd pool create "$pool" 1 >"$work/out" 2>&1
ask osd pool application enable "$pool" rbd >>"$work/out" 2>&1
defer ask auth rm client.rbd-csi-revoked
ask auth get-or-create client.rbd-csi-revoked mon 'profile rbd' osd 'profile rbd' mgr 'profile rbd' \
	>"$work/out" 2>&1
revoked=$(ask auth get-key client.rbd-csi-revoked)
ok "a user of its own" as rbd-csi-revoked "$revoked" create revoked
ok "and what it made" as rbd-csi-revoked "$revoked" delete
ask auth rm client.rbd-csi-revoked >"$work/out" 2>&1
# The monitors refuse it at once; the daemon believes them once its session is not a fresh one.
is_unauthenticated() {
	as rbd-csi-revoked "$revoked" create revoked "$RBD_CSI_FSID" "$pool"
	[[ $error == UNAUTHENTICATED:* ]]
}
ok "its key is revoked: UNAUTHENTICATED" wait_for 60 is_unauthenticated
like "which names it" "$error" 'client.rbd-csi-revoked: refused'
ask auth get-or-create client.rbd-csi-revoked mon 'profile rbd' osd 'profile rbd' mgr 'profile rbd' \
	>"$work/out" 2>&1
ok "with a new key it works at once" as rbd-csi-revoked \
	"$(ask auth get-key client.rbd-csi-revoked)" create revoked "$RBD_CSI_FSID" "$pool"

# ---- detached without a secret ---------------------------------------------------------------

without_secrets() { local RBD_CSI_SECRETS=$work/none.json; echo '{}' >"$RBD_CSI_SECRETS"; "$@"; }
records() {
	timeout 60 rbd -c "$CEPH_CONF" image-meta list "rbd/csi-vol-${id: -36}" | grep -c 'published/'
}
ok "a volume" create detached
ok "is published" publish
is "which leaves a record" "$(records)" 1
ok "it is unpublished without a secret" without_secrets unpublish
is "and the record goes, by a session that works" "$(records)" 0
ok "the volume is deleted" delete

# ---- renamed ---------------------------------------------------------------------------------

ok "a volume in a pool" create renamed "$RBD_CSI_FSID" "$pool"
ok "is published with the pool's name" publish
is "of then" "$(jq -r .publishContext.pool <<<"$reply")" "$pool"
volume=$(jq -c --arg id "$id" --argjson access "$access" --arg staging "$work/staging" \
	--arg cluster "$RBD_CSI_FSID" '{volume_id: $id, staging_target_path: $staging, volume_capability: $access,
	publish_context: .publishContext, volume_context: {clusterID: $cluster}}' <<<"$reply")
mkdir "$work/staging"
ok "the pool is renamed" ask osd pool rename "$pool" "$pool-2"
pool=$pool-2
ok "the volume is staged with the old name, which the attachment has kept" \
	call Node/NodeStageVolume "$volume"
ok "the log tells both names" logged "stage.pool_renamed .*from=${pool%-2} to=$pool"
ok "staged already" call Node/NodeStageVolume "$volume"
ok "published" call Node/NodePublishVolume "$(jq -c --arg target "$work/target" \
	'. + {target_path: $target}' <<<"$volume")"
ok "the pool is renamed while it is attached" ask osd pool rename "$pool" "${pool%-2}-3"
pool=${pool%-2}-3
for pid in $(attachds); do kill -KILL "$pid"; done
ok "a new server finds it" timeout 60 dd if=/dev/zero of="$work/target/file" bs=64k count=1 \
	conv=fsync status=none
ok "unpublished" call Node/NodeUnpublishVolume "{\"volume_id\": \"$id\", \"target_path\": \"$work/target\"}"
ok "and unstaged" call Node/NodeUnstageVolume "$(jq -c '{volume_id, staging_target_path}' <<<"$volume")"
# as soon as an OSD has told the worker of it
publishes_as() { publish && [[ $(jq -r .publishContext.pool <<<"$reply") == "$1" ]]; }
ok "it is published again, with the name of now" wait_for 60 publishes_as "$pool"
ok "and made anew in the pool of that name" create renamed-2 "$RBD_CSI_FSID" "$pool"
fails_with INVALID_ARGUMENT "which is known by no other" \
	create renamed-3 "$RBD_CSI_FSID" rbd-csi-revoked
ok "unpublished" unpublish

done_testing
