#!/bin/bash
# unformatted.t: copies of volumes that were never formatted are formatted when they are first used,
# and copies of anything else are not: the cluster looks through all parents.
# shellcheck disable=SC2016 # the variables in single quotes are jq's
. "$(dirname "$0")/lib.sh"
need_cluster
. "$(dirname "$0")/fixtures.sh"

fx_pool=uf$$
staging=$work/staging
fstype=ext4
defer timeout 60 ceph osd pool rm "$fx_pool" "$fx_pool" --yes-i-really-really-mean-it
timeout 60 ceph osd pool create "$fx_pool" 8 >"$work/out" 2>&1 || bail "no pool"
timeout 60 ceph osd pool application enable "$fx_pool" rbd >"$work/out" 2>&1 || bail "no pool"
# Who may make users, for cephxPerVolume.
may='allow command "auth get-or-create" with entity prefix client.rbd-csi.'
may+=', allow command "auth caps" with entity prefix client.rbd-csi.'
may+=', allow command "auth rm" with entity prefix client.rbd-csi.'
defer timeout 60 ceph auth rm "client.$fx_pool"
jq -n --arg user "$fx_pool" --arg key "$(timeout 60 ceph auth get-or-create-key "client.$fx_pool" \
	mon "profile rbd, $may" osd 'profile rbd' mgr 'profile rbd')" \
	'{userID: $user, userKey: $key}' >"$work/secrets.json"
RBD_CSI_SECRETS=$work/secrets.json
defer stop_attachds
start_daemon

# create NAME SOURCE [JSON]: a CreateVolume of 64 MiB, changed by JSON. Sets volume, image, context.
create() {
	call Controller/CreateVolume "$(jq -nc --arg name "$1" --arg pool "$fx_pool" --arg cluster "$fx_cluster" \
		--argjson source "$2" --argjson more "${3:-null}" --arg fs "$fstype" '{
		name: $name, capacityRange: {requiredBytes: 67108864},
		volumeCapabilities: [{mount: {fsType: $fs}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, mounter: "userspace"},
		volumeContentSource: $source} * ($more // {})')" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
	image=$(jq -r .volume.volumeContext.imageName <<<"$reply")
	context=$(jq -c .volume.volumeContext <<<"$reply")
}
of_volume() { jq -nc --arg id "$1" '{volume: {volumeId: $id}}'; }
of_snapshot() { jq -nc --arg id "$1" '{snapshot: {snapshotId: $id}}'; }
snapshot() { # NAME: of volume
	call Controller/CreateSnapshot "{\"name\": \"$1\", \"sourceVolumeId\": \"$volume\"}" &&
		snapshot=$(jq -r .snapshot.snapshotId <<<"$reply")
}
request() { jq -nc --arg id "$volume" --arg staging "$staging" --argjson context "$context" \
	--argjson given "${given:-null}" --arg fs "$fstype" '{volumeId: $id, volumeContext: $context,
	volumeCapability: {mount: {fsType: $fs}, accessMode: {mode: "SINGLE_NODE_WRITER"}}} | '"$1"; }
use() { # volume; its files are in $mounted
	mkdir -p "$staging"
	mounted=$staging/$volume
	call Controller/ControllerPublishVolume "$(request '. + {nodeId: "test-node"}')" || return
	given=$(jq -c .publishContext <<<"$reply")
	call Node/NodeStageVolume "$(request '. + {stagingTargetPath: $staging, publishContext: $given}')"
}
leave() {
	call Node/NodeUnstageVolume "$(request '{volumeId, stagingTargetPath: $staging}')" &&
		call Controller/ControllerUnpublishVolume "$(request '{volumeId, nodeId: "test-node"}')"
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
unsnapshot() { call Controller/DeleteSnapshot "{\"snapshotId\": \"$1\"}"; }
mark() { fx_rbd image-meta get "$(fx_spec "$image")" .rbd.csi.ceph.com/filesystem; }

# is_formatted WHAT: volume gets a new file system, and is deleted
is_formatted() {
	ok "$1: is formatted" use
	is "$1: with nothing in it" "$(ls "$mounted")" lost+found
	ok "$1: it is unstaged" leave
	is "$1: it is marked" "$(mark)" ext4
	ok "$1: and deleted" delete "$volume"
}
# is_not_formatted WHAT WHY: volume has data, and keeps them
is_not_formatted() {
	local was
	was=$(sum)
	fails_with FAILED_PRECONDITION "$1: is not formatted" use
	like "$1: and the reason is told" "$error" "$2"
	ok "$1: it is unpublished" leave
	is "$1: it is as it was" "$(sum)" "$was"
	ok "$1: it is deleted" delete "$volume"
}
sum() { fx_rbd export --no-progress "$(fx_spec "$image")" - 2>/dev/null | md5sum; }

# ---- sources that were never formatted ---------------------------------------------------------

for features in layering layering,exclusive-lock,object-map,fast-diff,deep-flatten; do
	what="${features//,/ }"
	ok "$what: a volume" create "raw-$features" null "{\"parameters\": {\"imageFeatures\": \"$features\"}}"
	raw=$volume raw_image=$image
	ok "$what: its snapshot" snapshot "snap-$features"
	ok "$what: restored" create "restored-$features" "$(of_snapshot "$snapshot")"
	is_formatted "$what: a snapshot of nothing, restored"
	ok "$what: cloned" create "clone-$features" "$(of_volume "$raw")"
	clone=$volume
	ok "$what: and the clone cloned" create "clone2-$features" "$(of_volume "$clone")"
	is_formatted "$what: a clone of a clone"
	ok "$what: the clone goes, too" delete "$clone"
	ok "$what: with a node's own key" create "cephx-$features" "$(of_snapshot "$snapshot")" \
		'{"parameters": {"cephxPerVolume": "true"}}'
	is_formatted "$what: a copy for a node with a key of its own"
	ok "$what: restored larger" create "larger-$features" "$(of_snapshot "$snapshot")" \
		'{"capacityRange": {"requiredBytes": 134217728}}'
	is_formatted "$what: a larger copy"
	ok "$what: a clone as ceph-csi makes it" fixture_clone "theirs-$features" "$raw_image"
	volume=$fx_id image=$fx_image
	context=$(jq -c --arg image "$image" '.imageName = $image' <<<"$context")
	is_formatted "$what: ceph-csi's clone"

	# the source gets data: the snapshot of before has none, one of now has
	ok "$what: 4 KiB far from the beginning" fx_rbd bench --io-type write --io-pattern seq --io-size 4096 \
		--io-total 4096 "$(fx_spec "$raw_image")"
	ok "$what: are moved there" fx_rbd resize --no-progress --size 128M "$(fx_spec "$raw_image")"
	volume=$raw
	old=$snapshot
	ok "$what: a second snapshot" snapshot "late-$features"
	ok "$what: of the first a volume is made" create "early-$features" "$(of_snapshot "$old")"
	is_formatted "$what: a copy of before the data"
	ok "$what: of the second, too" create "late-$features" "$(of_snapshot "$snapshot")" \
		'{"capacityRange": {"requiredBytes": 134217728}}'
	is_not_formatted "$what: a copy with data" "data in it"
	ok "$what: the snapshots go" eval 'unsnapshot "$old" && unsnapshot "$snapshot"'
	ok "$what: and the volume" delete "$raw"
done

# ---- sources with data -------------------------------------------------------------------------

block='{"volumeCapabilities": [{"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}]}'
ok "a raw block volume" create block null "$block"
raw=$volume raw_image=$image
head -c 8192 /dev/urandom >"$work/random"
far() { # OFFSET: writes it there
	/usr/bin/python3 - "$CEPH_CONF" "$fx_pool" "$raw_image" "$1" "$work/random" <<'END'
import rados, rbd, sys
conf, pool, image, at, data = sys.argv[1:]
with rados.Rados(conffile=conf) as cluster, cluster.open_ioctx(pool) as io, rbd.Image(io, image) as image:
    image.write(open(data, "rb").read(), int(at))
END
}
ok "with data only at its end" far $((67108864 - 8192))
ok "is cloned" create block-clone "$(of_volume "$raw")"
is_not_formatted "a clone of a raw volume" "data in it .object 15., what it is a clone of"
volume=$raw
ok "its snapshot" snapshot block
ok "restored larger" create block-larger "$(of_snapshot "$snapshot")" '{"capacityRange": {"requiredBytes": 134217728}}'
is_not_formatted "a larger copy of a raw volume" "data in it"
ok "the data go from the source" far 0
ok "the snapshot goes" unsnapshot "$snapshot"
ok "and the volume" delete "$raw"

# xfs: to grow ext4 takes a root with all its rights
fstype=xfs
formatted='{"capacityRange": {"requiredBytes": 335544320}}'
ok "a volume with a file system" create formatted null "$formatted"
source=$volume
ok "is used" use
echo precious >"$mounted/file"
ok "and left" leave
ok "cloned" create formatted-clone "$(of_volume "$source")" "$formatted"
ok "the clone is used" use
is "and has the file" "$(<"$mounted/file")" precious
ok "and left" leave
ok "it goes" delete "$volume"
volume=$source
ok "a snapshot" snapshot formatted
ok "restored larger" create formatted-larger "$(of_snapshot "$snapshot")" '{"capacityRange": {"requiredBytes": 536870912}}'
ok "is used" use
is "has the file" "$(<"$mounted/file")" precious
ok "and a larger file system" test "$(df --output=size -B1M "$mounted" | tail -1)" -gt 400
ok "is left" leave
ok "deleted" delete "$volume"
ok "the snapshot, too" unsnapshot "$snapshot"
ok "and the source" delete "$source"

done_testing
