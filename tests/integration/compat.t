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


of_volume() { jq -nc --arg id "$1" '{volume_content_source: {volume: {volume_id: $id}}}'; }
of_snapshot() { jq -nc --arg id "$1" '{volume_content_source: {snapshot: {snapshot_id: $id}}}'; }
# snapshot NAME VOLUME: sets snap
snapshot() {
	call Controller/CreateSnapshot "{\"name\": \"$1\", \"source_volume_id\": \"$2\"}" &&
		snap=$(jq -r .snapshot.snapshotId <<<"$reply")
}
unsnapshot() { call Controller/DeleteSnapshot "{\"snapshot_id\": \"$1\"}"; }
# made SIZE: what create has answered has this size; it is deleted
made() {
	local size
	size=$(jq -r .volume.capacityBytes <<<"$reply")
	echo "it has $size bytes"
	call Controller/DeleteVolume "$(jq '{volume_id: .volume.volumeId}' <<<"$reply")" && [[ $size == "$1" ]]
}
# is_copied WHAT NAME SIZE: the volume fx_id is snapshotted, restored and cloned; the copies go again
is_copied() {
	local size="{\"capacity_range\": {\"required_bytes\": $3}}"
	ok "$1: is snapshotted" snapshot "$2-snap" "$fx_id"
	ok "$1: restored" create "$2-restored" "$(jq -s add <<<"$(of_snapshot "$snap")$size")"
	ok "$1: the copy goes" made "$3"
	ok "$1: and the snapshot" unsnapshot "$snap"
	ok "$1: cloned" create "$2-cloned" "$(jq -s add <<<"$(of_volume "$fx_id")$size")"
	ok "$1: the clone goes" made "$3"
}

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
	case $name in
	*-plain | *-noid | *-clone | *-ns) is_copied "$what" "$name" 33554432 ;;
	esac
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
	fails_with FAILED_PRECONDITION "$key: is not published as a plain one" on_node ControllerPublishVolume
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

grouped() { fixture_volume "$1" && fixture_keys "csi.volume.$fx_uuid" csi.groupid "$source_id"; }
ok "a volume that says which group it is in" grouped "$prefix-group"
lives "with csi.groupid" "$prefix-group" yes

# Really in a group of rbd: librbd gives no image away that is.
in_group() { fixture_volume "$1" && fx_rbd group create "$fx_pool/group" &&
	fx_rbd group image add "$fx_pool/group" "$fx_pool/$fx_image"; }
ok "a volume in a group" in_group "$prefix-member"
ok "is published" on_node ControllerPublishVolume
ok "and unpublished" on_node ControllerUnpublishVolume
ok "expanded" expand
is_copied "in a group" "$prefix-member" 33554432
id=$(fixture_image_id "$fx_image")
ok "and deleted" delete
ok "without a trace" fixture_is_gone volume "$prefix-member" "$fx_uuid" "$fx_image"
ok "but its image is in the trash" eval "fx_rbd trash ls --all $fx_pool | grep '^$id '"
ok "the group goes" fx_rbd group rm "$fx_pool/group"
ok "then the image may" eval "fx_rbd trash rm --force --no-progress '$fx_pool/$id' ||
	wait_for 60 eval '! fx_rbd trash ls --all $fx_pool | grep ^$id'"

fx_cluster=tenant fx_ns=tenant
ok "a volume in a namespace" fixture_volume "$prefix-ns"
lives "in a namespace" "$prefix-ns" yes
fx_cluster=$RBD_CSI_FSID fx_ns=

# ---- snapshots -------------------------------------------------------------------------------

snap_is_listed() {
	call Controller/ListSnapshots "${1:-{\}}" &&
		jq -e --arg id "$fx_id" '.entries[] | select(.snapshot.snapshotId == $id)' <<<"$reply"
}
snap_is_told() { call Controller/GetSnapshot "{\"snapshot_id\": \"$fx_id\"}"; }
has_own() { fx_rbd snap ls "$(fx_spec "$fx_image")" --format json | jq -e '.[0].name == $name' --arg name "$fx_image"; }
# snap_lives WHAT NAME [found|unnamed [unlisted]]: the snapshot fx_id of $source_id, as lives
snap_lives() {
	local what=$1 name=$2
	if [[ ${3:-found} == found ]]; then
		ok "$what: is found by its name" snapshot "$name" "$source_id"
		is "$what: as the same snapshot" "$snap" "$fx_id"
		ok "$what: is told about" snap_is_told
		is "$what: with its source" "$(jq -r .snapshot.sourceVolumeId <<<"$reply")" "$source_id"
	fi
	if [[ ${4:-} != unlisted ]]; then
		ok "$what: is listed" snap_is_listed
		[[ ${3:-} == unnamed ]] ||
			ok "$what: by its volume, too" snap_is_listed "{\"source_volume_id\": \"$source_id\"}"
	fi
	ok "$what: is restored" create "$name-restored" "$(of_snapshot "$fx_id")"
	ok "$what: and the copy deleted" made 16777216
	ok "$what: is deleted" unsnapshot "$fx_id"
	ok "$what: without a trace" fixture_is_gone snap "$name" "$fx_uuid" "$fx_image"
	ok "$what: and deleted once more" unsnapshot "$fx_id"
}
# a_snapshot NAME [KEY...]: of the source; its entry lacks these keys
a_snapshot() { fixture_snapshot "$1" "$source" && fixture_forget "csi.snap.$fx_uuid" "${@:2}"; }
ok "a snapshot" a_snapshot "$prefix-s-plain"
snap_lives "a plain snapshot" "$prefix-s-plain"
ok "a snapshot without an image id" a_snapshot "$prefix-s-noid" csi.imageid
snap_lives "a snapshot without csi.imageid" "$prefix-s-noid"
ok "a very old snapshot" a_snapshot "$prefix-s-old" csi.imagename
snap_lives "a snapshot without csi.imagename" "$prefix-s-old"

cut_off() { a_snapshot "$prefix-s-cut" csi.imageid && fx_rbd snap rm "$(fx_spec "$fx_image")@$fx_image"; }
ok "a snapshot that ceph-csi was cut off at" cut_off
ok "is made whole by its name" snapshot "$prefix-s-cut" "$source_id"
is "as the same snapshot" "$snap" "$fx_id"
ok "with a snapshot of its own" has_own
snap_lives "a snapshot that was made whole" "$prefix-s-cut"

a_member() { a_snapshot "$prefix-s-group" && fixture_keys "csi.snap.$fx_uuid" csi.groupid "$1"; }
ok "a member of a group's snapshot" a_member "$source_id"
ok "is told about" snap_is_told
is "with its group" "$(jq -r .snapshot.groupSnapshotId <<<"$reply")" "$source_id"
snap_lives "a member of a group's snapshot" "$prefix-s-group"

snap_in_shard() {
	a_snapshot "$prefix-s-shard" && fixture_forget csi.snaps.default "csi.snap.$prefix-s-shard" &&
		fixture_keys csi.snaps.default.7 "csi.snap.$prefix-s-shard" "$fx_uuid"
}
ok "a snapshot whose key is in a shard" snap_in_shard
snap_lives "a snapshot in a shard" "$prefix-s-shard" unnamed unlisted

snap_of_other() {
	local id
	fixture_pool_id "$fx_pool" && printf -v id %016x "$fx_pool_id" &&
		a_snapshot "$prefix-s-prefixed" && fixture_forget csi.snaps.default "csi.snap.$prefix-s-prefixed" &&
		timeout 60 rados -p "$other" setomapval csi.snaps.default "csi.snap.$prefix-s-prefixed" "$id/$fx_uuid" &&
		fixture_pool_id "$other" && printf -v id %016x "$fx_pool_id" &&
		fixture_keys "csi.snap.$fx_uuid" csi.journalpool "$id"
}
ok "a snapshot whose directory is in another pool" snap_of_other
snap_lives "a snapshot with its directory in another pool" "$prefix-s-prefixed" unnamed
is "which has no key of it any more" "$(timeout 60 rados -p "$other" listomapkeys csi.snaps.default)" ""

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


same() { # WHAT KIND FIXTURE'S-NAME
	is "$1: the same as ceph-csi's, key by key" "$ours" "$(fixture_dump "$2" "$3" "$fx_uuid" "$fx_image")"
}
our_volume() { # NAME [ID]: what was created, or this one; sets ours, ours_id
	ours_id=${2:-$(jq -r .volume.volumeId <<<"$reply")}
	# csi.source of a volume is rbd-csi's own: docs/JOURNAL.md
	ours=$(fixture_dump volume "$1" "${ours_id: -36}" "csi-vol-${ours_id: -36}" | grep -v '^entry csi.source = ')
}
claim() { jq -nc --arg n "$1" '{parameters: {"csi.storage.k8s.io/pvc/name": $n, "csi.storage.k8s.io/pvc/namespace": "shop",
	"csi.storage.k8s.io/pv/name": "pv"}}'; }
# their_claim NAME: what setting the metadata does at the end of ceph-csi's CreateVolume
their_claim() {
	fixture_keys "csi.volume.$fx_uuid" csi.volume.owner shop && fixture_meta "$fx_image" csi.storage.k8s.io/pvc/name "$1" \
		csi.storage.k8s.io/pvc/namespace shop csi.storage.k8s.io/pv/name pv csi.ceph.com/mounter rbd
}
# The source of all has a claim, limits and a key of somebody else, which librbd copies.
fx_id=$source_id fx_uuid=$source_uuid fx_image=$source
ok "the source gets a claim" their_claim source
ok "and more" fixture_meta "$source" example.com/note here rbd_base_qos_iops_limit 7 conf_rbd_qos_iops_limit 7

ok "a clone of ours" create "$prefix-our-clone" "$(jq -s add <<<"$(claim clone)$(of_volume "$source_id")")"
our_volume "$prefix-our-clone"
our_clone=$ours_id
their_clone() { fixture_clone "$prefix-their-clone" "$source" && their_claim clone; }
ok "and ceph-csi's" their_clone
same "a clone" volume "$prefix-their-clone"
like "with its helper" "$ours" 'helper parent.*helper snapshot csi-vol-UUID'
their_clone=$fx_id

ok "a snapshot of ours" call Controller/CreateSnapshot "$(jq -n --arg name "$prefix-our-snap" --arg id "$source_id" \
	'{name: $name, source_volume_id: $id, parameters: {"csi.storage.k8s.io/volumesnapshot/name": "s",
	"csi.storage.k8s.io/volumesnapshot/namespace": "shop", "csi.storage.k8s.io/volumesnapshotcontent/name": "c"}}')"
our_snap=$(jq -r .snapshot.snapshotId <<<"$reply")
ours=$(fixture_dump snap "$prefix-our-snap" "${our_snap: -36}" "csi-snap-${our_snap: -36}")
their_snap() { fixture_snapshot "$prefix-their-snap" "$source" &&
	fixture_keys "csi.snap.$fx_uuid" csi.volume.owner shop &&
	fixture_meta "$fx_image" csi.storage.k8s.io/volumesnapshot/name s csi.storage.k8s.io/volumesnapshot/namespace shop \
		csi.storage.k8s.io/volumesnapshotcontent/name c; }
ok "and ceph-csi's" their_snap
same "a snapshot" snap "$prefix-their-snap"
their_snap=$fx_id their_snap_image=$fx_image

ok "a volume of ours, restored from it" create "$prefix-our-copy" "$(jq -s add <<<"$(claim copy)$(of_snapshot "$their_snap")")"
our_volume "$prefix-our-copy"
our_copy=$ours_id
their_copy() { fixture_restore "$prefix-their-copy" "$their_snap_image" && their_claim copy; }
ok "and ceph-csi's" their_copy
same "a restored volume" volume "$prefix-their-copy"

their_id=$fx_id
fx_id=$our_copy
ok "ours is expanded" expand
ok "and ceph-csi's, as it does" fx_rbd resize --no-progress --size 32M "$(fx_spec "$fx_image")"
our_volume "$prefix-our-copy" "$our_copy"
same "an expanded volume" volume "$prefix-their-copy"
ok "ours is modified" modify
ok "and ceph-csi's" fixture_meta "$fx_image" conf_rbd_qos_iops_limit 5 rbd_base_qos_iops_limit 5
our_volume "$prefix-our-copy" "$our_copy"
same "a modified volume" volume "$prefix-their-copy"
for id in "$our_copy" "$their_id" "$our_clone" "$their_clone"; do
	fx_id=$id
	ok "a copy is deleted" delete
done
for id in "$our_snap" "$their_snap"; do ok "a snapshot, too" unsnapshot "$id"; done

fx_id=$source_id
ok "the source is deleted" delete
ok "without a trace" fixture_is_gone volume "$prefix-source" "$source_uuid" "$source"

done_testing
