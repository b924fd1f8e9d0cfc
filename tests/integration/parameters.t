#!/bin/bash
# parameters.t: what a volume gets from the limits of a VolumeAttributesClass: the image's metadata,
# and what librbd makes of them, also while the image is in use; and pools by topology.
. "$(dirname "$0")/lib.sh"
need_cluster

prefix=pa$$
access='{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'

# create NAME [JSON]: CreateVolume of 16 MiB, changed by what JSON has; sets id and image.
create() {
	local rc=0
	call Controller/CreateVolume "$(jq -n --arg name "$prefix-$1" --arg cluster "$RBD_CSI_FSID" \
		--argjson access "$access" --argjson more "${2:-null}" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: $cluster, pool: "rbd"}} * ($more // {})')" || rc=$?
	((rc)) || { id=$(jq -r .volume.volumeId <<<"$reply") && image=csi-vol-${id: -36}; }
	return "$rc"
}
delete() { call Controller/DeleteVolume "{\"volume_id\": \"$1\"}"; }
modify() { call Controller/ControllerModifyVolume "{\"volume_id\": \"$id\", \"mutable_parameters\": $1}"; }

# The limits on the image: all that ceph-csi keeps, and librbd's own.
limits() {
	timeout 60 rbd image-meta ls "rbd/$image" --format json |
		jq -cS 'with_entries(select(.key | test("^rbd_|^conf_")))'
}
# limit OPTION: what librbd takes it to be for this image
limit() {
	timeout 60 rbd config image ls "rbd/$image" --format json |
		jq -r --arg name "$1" '.[] | select(.name == $name and .source == "image").value'
}

start_daemon

# ---- metadata --------------------------------------------------------------------------------

ok "a volume with limits" create one '{"capacity_range": {"required_bytes": 3221225472},
	"mutable_parameters": {"baseIops": "100", "iopsPerGiB": "10", "maxIops": "115", "baseVolSizeBytes": "1073741824",
	"baseReadBps": "1048576", "maxWriteBps": "5", "readIopsPerGiB": "7"}}'
defer delete "$id"
# Key by key what ceph-csi 3.17 writes for these parameters and 3 GiB.
is "has what was asked for, and what follows for its size" "$(limits)" "$(jq -cnS '{
	conf_rbd_qos_iops_limit: "115", conf_rbd_qos_read_bps_limit: "1048576",
	rbd_base_qos_iops_limit: "100", rbd_iops_per_gib_limit: "10", rbd_max_qos_iops_limit: "115",
	rbd_base_qos_vol_size: "1073741824", rbd_base_qos_read_bps_limit: "1048576",
	rbd_max_qos_write_bps_limit: "5", rbd_read_iops_per_gib_limit: "7"}')"
is "librbd takes it as its option" "$(limit rbd_qos_iops_limit)" 115
is "bytes, too" "$(limit rbd_qos_read_bps_limit)" 1048576
is "and nothing else" "$(limit rbd_qos_write_bps_limit)" ""

ok "limits are modified" modify '{"maxIops": "200", "iopsPerGiB": "25", "baseWriteBps": "4096"}'
is "what the request does not have stays" "$(limits)" "$(jq -cnS '{
	conf_rbd_qos_iops_limit: "150", conf_rbd_qos_read_bps_limit: "1048576", conf_rbd_qos_write_bps_limit: "4096",
	rbd_base_qos_iops_limit: "100", rbd_iops_per_gib_limit: "25", rbd_max_qos_iops_limit: "200",
	rbd_base_qos_vol_size: "1073741824", rbd_base_qos_read_bps_limit: "1048576", rbd_base_qos_write_bps_limit: "4096",
	rbd_max_qos_write_bps_limit: "5", rbd_read_iops_per_gib_limit: "7"}')"
expand() {
	call Controller/ControllerExpandVolume "{\"volume_id\": \"$id\", \"capacity_range\": {\"required_bytes\": $1}}"
}
ok "the volume is expanded to 4 GiB" expand 4294967296
is "its limits go along" "$(limit rbd_qos_iops_limit)" 175
was=$(limits)
fails_with INVALID_ARGUMENT "an unknown key is refused" modify '{"maxIops": "1", "colour": "red"}'
like "by its name, with what is accepted" "$error" 'mutable_parameters.colour: is unknown; accepted: baseX'
fails_with INVALID_ARGUMENT "so is what is no number" modify '{"maxIops": "many"}'
like "with what is accepted" "$error" 'maxIops: .many. is not possible; accepted: a whole number'
fails_with INVALID_ARGUMENT "so is nothing" modify '{}'
is "and nothing is changed" "$(limits)" "$was"
fails_with NOT_FOUND "an unknown volume is not found" call Controller/ControllerModifyVolume \
	'{"volume_id": "no-volume", "mutable_parameters": {"maxIops": "1"}}'

validate() {
	call Controller/ValidateVolumeCapabilities "$(jq -n --arg id "$id" --argjson access "$access" \
		--argjson limits "$1" '{volume_id: $id, volume_capabilities: [$access], mutable_parameters: $limits}')"
}
ok "limits that it has are validated" validate '{"maxIops": "200", "iopsPerGiB": "25"}'
is "and confirmed" "$(jq -cS .confirmed.mutableParameters <<<"$reply")" '{"iopsPerGiB":"25","maxIops":"200"}'
ok "others, too" validate '{"maxIops": "201"}'
is "and not confirmed" "$(jq -r .confirmed <<<"$reply")" null
like "with a reason" "$(jq -r .message <<<"$reply")" 'mutable_parameters.maxIops'
ok "the volume is deleted" delete "$id"

# ---- librbd obeys ----------------------------------------------------------------------------

# bench WRITES: so many writes, one at a time; sets elapsed_ms
bench() {
	local start=${EPOCHREALTIME/./}
	timeout 120 rbd bench --io-type write --io-size 4096 --io-threads 1 --io-pattern rand \
		--io-total $(($1 * 4096)) "rbd/$image" >"$work/bench" 2>&1 || return 1
	elapsed_ms=$(((${EPOCHREALTIME/./} - start) / 1000))
}
ok "a volume with 10 operations a second" create two '{"mutable_parameters": {"baseIops": "10"}}'
defer delete "$id"
ok "is written to 40 times" bench 40
ok "which takes more than 2 s ($elapsed_ms ms)" test "$elapsed_ms" -gt 2000
bench 3000 &
writer=$!
is_watched() { [[ -n $(timeout 60 rbd status "rbd/$image" --format json | jq -r '.watchers[]') ]]; }
ok "a writer has it open" wait_for 60 is_watched
ok "the limit is lifted meanwhile" modify '{"baseIops": "0"}'
ok "and the writer, which had needed 300 s, ends in less than 120" wait "$writer"
ok "the volume is deleted" delete "$id"

# ---- pools by topology -----------------------------------------------------------------------

a=$prefix-a b=$prefix-b
for pool in "$a" "$b"; do
	defer timeout 60 ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
	timeout 60 ceph osd pool create "$pool" 8 >"$work/out" 2>&1 || bail "ceph osd pool create $pool"
	timeout 60 ceph osd pool application enable "$pool" rbd >"$work/out" 2>&1 || bail "application rbd"
done
# at ZONE...: a list of topologies
at() { jq -cn '[$ARGS.positional[] | {segments: {"topology.rbd.csi.ceph.com/zone": .}}]' --args "$@"; }
# in_zones NAME PREFERRED REQUISITE [JSON]: a volume of a class that has a pool in each zone
in_zones() {
	create "$1" "$(jq -cn --arg a "$a" --arg b "$b" --argjson preferred "$2" --argjson requisite "$3" \
		--argjson more "${4:-null}" \
		'{parameters: {pool: "rbd", dataPool: "rbd", topologyConstrainedPools: ([
			{poolName: $a, domainSegments: [{domainLabel: "zone", value: "a"}]},
			{poolName: $b, dataPool: $a, domainSegments: [{domainLabel: "zone", value: "b"}]}] | tojson)},
		  accessibility_requirements: {preferred: $preferred, requisite: $requisite}} * ($more // {})')"
}
pool_in_context() { jq -r '.volume.volumeContext | "\(.pool) \(.journalPool) \(.dataPool)"' <<<"$reply"; }
zone() { jq -r '.volume.accessibleTopology[].segments."topology.rbd.csi.ceph.com/zone"' <<<"$reply"; }

ok "a volume for zone b, or else a" in_zones z "$(at b a)" "$(at a b)"
first=$id
is "is in that zone" "$(zone)" b
is "in its pool" "$(pool_in_context)" "$b $b $a"
ok "with its image" timeout 60 rbd info "$b/$image"
is "and its data pool" "$(timeout 60 rbd info "$b/$image" --format json | jq -r .data_pool)" "$a"
ok "asked for again with the order changed" in_zones z "$(at a b)" "$(at a b)"
is "it is the same volume" "$id" "$first"
is "in its zone" "$(zone)" b
is "and its pool" "$(pool_in_context)" "$b $b $a"
is "and pool a has no image" "$(timeout 60 rbd ls "$a")" ""
ok "a volume of another name goes by that order" in_zones y "$(at a b)" "$(at a b)"
is "into zone a" "$(zone)" a
is "without a data pool" "$(pool_in_context)" "$a $a null"
ok "and is deleted" delete "$id"
ok "requisite topologies count, too" in_zones x '[]' "$(at c b)"
is "by what fits" "$(zone)" b
ok "deleted" delete "$id"
fails_with RESOURCE_EXHAUSTED "no pool fits" in_zones w "$(at c)" "$(at c d)"
like "which names what was asked for" "$error" 'zone=c'
fails_with INVALID_ARGUMENT "a pool that is not there" in_zones w "$(at a)" "$(at a)" \
	'{"parameters": {"topologyConstrainedPools": "[{\"poolName\": \"no-such-pool\"}]"}}'
like "is named" "$error" 'topologyConstrainedPools: .*no-such-pool'
ok "without requirements the class counts" create v "$(jq -cn \
	'{parameters: {topologyConstrainedPools: "no JSON"}}')"
is "its pool" "$(pool_in_context)" "rbd rbd null"
is "and nothing is told of topology" "$(jq -c .volume.accessibleTopology <<<"$reply")" null
ok "deleted" delete "$id"
ok "a snapshot of the first one" call Controller/CreateSnapshot "$(jq -cn --arg name "$prefix-s" --arg id "$first" \
	--arg cluster "$RBD_CSI_FSID" '{name: $name, source_volume_id: $id, parameters: {clusterID: $cluster}}')"
snapshot=$(jq -r .snapshot.snapshotId <<<"$reply")
source=$(jq -cn --arg id "$snapshot" '{volume_content_source: {snapshot: {snapshot_id: $id}}}')
ok "is restored" in_zones r "$(at a b)" "$(at a b)" "$source"
is "in the zone that has it, though another one is preferred" "$(zone)" b
is "and its pool" "$(pool_in_context)" "$b $b $a"
ok "deleted" delete "$id"
fails_with RESOURCE_EXHAUSTED "but not in a zone that has it not" in_zones r "$(at a)" "$(at a)" "$source"
like "which names its pool and the snapshot" "$error" "$b, the pool of snapshot $snapshot, is none of .*topologyConstrainedPools"
ok "the snapshot is deleted" call Controller/DeleteSnapshot "{\"snapshot_id\": \"$snapshot\"}"
ok "the first one is deleted" delete "$first"
is "from its pool" "$(timeout 60 rbd ls "$b")" ""
purged() { [[ -z $(timeout 60 rbd trash ls --all "$a")$(timeout 60 rbd trash ls --all "$b") ]]; }
ok "and purged" wait_for 60 purged

done_testing
