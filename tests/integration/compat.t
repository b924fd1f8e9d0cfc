#!/bin/bash
# compat.t: what ceph-csi has made, in each form that it has or had, is used and deleted; and what
# we make is what it would have made, key by key.
. "$(dirname "$0")/lib.sh"
need_cluster
. "$(dirname "$0")/fixtures.sh"

prefix=co$$
access='{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'

fx_pool=$prefix-a
other=$prefix-b
for pool in "$fx_pool" "$other"; do
	defer timeout 60 ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
	timeout 60 ceph osd pool create "$pool" 8 >"$work/out" 2>&1 || bail "ceph osd pool create $pool"
	timeout 60 ceph osd pool application enable "$pool" rbd >"$work/out" 2>&1 || bail "application rbd"
done
timeout 60 rbd namespace create "$fx_pool/tenant" || bail "rbd namespace create"
# A second clusterID has the namespace.
jq '[.[0], .[0] * {clusterID: "tenant", rbd: {radosNamespace: "tenant"}}]' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
for cluster in "$fx_cluster" tenant; do
	mkdir -p "$work/credentials/$cluster"
	for key in userID userKey; do jq -j ".$key" "$RBD_CSI_SECRETS" >"$work/credentials/$cluster/$key"; done
done
start_daemon --credentials-dir="$work/credentials"

# create NAME [JSON]: CreateVolume of 16 MiB in fx_pool, changed by what JSON has
create() {
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg cluster "$fx_cluster" --arg pool "$fx_pool" \
		--argjson access "$access" --argjson more "${2:-null}" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: $cluster, pool: $pool}} * ($more // {})')"
}
on_node() { # on_node RPC: of fx_id
	call "Controller/$1" "$(jq -n --arg id "$fx_id" --argjson access "$access" \
		'{volume_id: $id, node_id: "test-node"} +
		 if $ARGS.positional[0] == "ControllerPublishVolume" then {volume_capability: $access} else {} end' --args "$1")"
}
modify() { call Controller/ControllerModifyVolume "{\"volume_id\": \"$fx_id\", \"mutable_parameters\": {\"baseIops\": \"5\"}}"; }
expand() {
	call Controller/ControllerExpandVolume "{\"volume_id\": \"$fx_id\", \"capacity_range\": {\"required_bytes\": 33554432}}"
}
is_listed() {
	call Controller/ListVolumes '{}' &&
		jq -e --arg id "$fx_id" '.entries[] | select(.volume.volumeId == $id)' <<<"$reply"
}
is_told() { call Controller/ControllerGetVolume "{\"volume_id\": \"$fx_id\"}"; }
delete() { call Controller/DeleteVolume "{\"volume_id\": \"$fx_id\"}"; }

# lives WHAT NAME [yes|no [unlisted]]: the volume fx_id does all that a volume does ("yes": and is found by its name),
# and is deleted without a trace
lives() {
	local what=$1 name=$2
	if [[ ${3:-} == yes ]]; then
		ok "$what: is found by its name" create "$name"
		is "$what: as the same volume" "$(jq -r .volume.volumeId <<<"$reply")" "$fx_id"
	fi
	ok "$what: is published" on_node ControllerPublishVolume
	is "$what: with its image" "$(jq -r .publishContext.image <<<"$reply")" "$fx_image"
	ok "$what: is unpublished" on_node ControllerUnpublishVolume
	ok "$what: has its limits modified" modify
	ok "$what: is expanded" expand
	is "$what: to this size" "$(fx_rbd info "$(fx_spec "$fx_image")" --format json | jq .size)" 33554432
	ok "$what: is told about" is_told
	[[ ${4:-} == unlisted ]] || ok "$what: is listed" is_listed
	ok "$what: is deleted" delete
	ok "$what: without a trace" fixture_is_gone volume "$name" "$fx_uuid" "$fx_image"
	ok "$what: and deleted once more" delete
}

ok "a volume" fixture_volume "$prefix-plain"
lives "a plain volume" "$prefix-plain" yes

# lacking NAME KEY: a volume whose entry does not have a key
lacking() { fixture_volume "$1" && fixture_forget "csi.volume.$fx_uuid" "$2"; }
ok "a volume without an image id" lacking "$prefix-noid" csi.imageid
lives "without csi.imageid" "$prefix-noid" yes

ok "a very old volume" lacking "$prefix-old" csi.imagename
lives "without csi.imagename" "$prefix-old"

# The directory may be in another pool than the image; it has the image's pool in front then.
journal_of_other() {
	local id
	fixture_volume "$prefix-prefixed" && fixture_forget csi.volumes.default "csi.volume.$prefix-prefixed" &&
		printf -v id %016x "$fx_pool_id" &&
		timeout 60 rados -p "$other" setomapval csi.volumes.default "csi.volume.$prefix-prefixed" "$id/$fx_uuid" &&
		fixture_pool_id "$other" &&
		printf -v id %016x "$fx_pool_id" &&
		fixture_keys "csi.volume.$fx_uuid" csi.journalpool "$id"
}
ok "a volume whose directory is in another pool" journal_of_other
ok "is found by its name there" create "$prefix-prefixed" "{\"parameters\": {\"pool\": \"$other\"}}"
is "as the same volume" "$(jq -r .volume.volumeId <<<"$reply")" "$fx_id"
lives "with its directory in another pool" "$prefix-prefixed"
is "which has no key of it any more" "$(timeout 60 rados -p "$other" listomapkeys csi.volumes.default)" ""

# ceph-csi's development branch plans shards of the directory, whose names are not settled: by its
# identifier such a volume is used and deleted all the same.
in_shard() {
	fixture_volume "$prefix-shard" && fixture_forget csi.volumes.default "csi.volume.$prefix-shard" &&
		fixture_keys csi.volumes.default.7 "csi.volume.$prefix-shard" "$fx_uuid"
}
ok "a volume whose directory key is in a shard" in_shard
lives "in a shard" "$prefix-shard" no unlisted

encrypted() { fixture_volume "$prefix-secret" && fixture_encrypted "$1"; }
for key in rbd.csi.ceph.com/encrypted .rbd.csi.ceph.com/encrypted; do
	ok "an encrypted volume" encrypted "$key"
	fails_with UNIMPLEMENTED "$key: is not published" on_node ControllerPublishVolume
	fails_with ALREADY_EXISTS "$key: is no plain volume of its name" create "$prefix-secret"
	ok "$key: is deleted" delete
	ok "$key: without a trace" fixture_is_gone volume "$prefix-secret" "$fx_uuid" "$fx_image"
done

ok "a source" fixture_volume "$prefix-source"
source=$fx_image
source_id=$fx_id
source_uuid=$fx_uuid
ok "a clone of it" fixture_clone "$prefix-clone" "$source"
lives "a clone" "$prefix-clone"
is "its helper has gone, too" "$(fx_rbd ls "$fx_pool")" "$source"

ok "a snapshot" fixture_snapshot "$prefix-snap" "$source"
snapshot=$fx_image
ok "a volume made of it" fixture_restore "$prefix-restored" "$snapshot"
lives "made of a snapshot" "$prefix-restored"

fx_cluster=tenant fx_ns=tenant
ok "a volume in a namespace" fixture_volume "$prefix-ns"
lives "in a namespace" "$prefix-ns" yes
fx_cluster=$RBD_CSI_FSID fx_ns=

# ---- what we write ---------------------------------------------------------------------------

meta='{"parameters": {"csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "shop",
	"csi.storage.k8s.io/pv/name": "pv"}}'
ok "a volume of ours" create "$prefix-ours" "$meta"
ours_id=$(jq -r .volume.volumeId <<<"$reply")
ours=$(fixture_dump volume "$prefix-ours" "${ours_id: -36}" "csi-vol-${ours_id: -36}")
theirs() {
	local key
	fixture_volume "$prefix-theirs" && fixture_keys "csi.volume.$fx_uuid" csi.volume.owner shop || return
	while read -r key value; do
		fx_rbd image-meta set "$(fx_spec "$fx_image")" "$key" "$value" || return
	done <<-END
		csi.storage.k8s.io/pvc/name data
		csi.storage.k8s.io/pvc/namespace shop
		csi.storage.k8s.io/pv/name pv
		csi.ceph.com/mounter rbd
	END
}
ok "and one as ceph-csi makes it" theirs
is "are the same, key by key" "$ours" "$(fixture_dump volume "$prefix-theirs" "$fx_uuid" "$fx_image")"
like "and it is a whole volume that was compared" "$ours" 'directory.*NAME = UUID.*entry csi.imageid = ID.*metadata csi.ceph'
ok "deleted" delete
fx_id=$ours_id
ok "both" delete

fx_id=$source_id
ok "the source is deleted" delete
ok "without a trace" fixture_is_gone volume "$prefix-source" "$source_uuid" "$source"

done_testing
