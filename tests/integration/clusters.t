#!/bin/bash
# clusters.t: several clusters and namespaces in one daemon. One of them hangs, and holds up nobody else; its
# callers get their deadline, and all is finished when it comes back. Monitors that change, a
# pool that is made anew under its old name, and volumes that have come from another cluster.
# shellcheck disable=SC2016,SC2034 # what eval is given; jq's variables
. "$(dirname "$0")/lib.sh"
need_cluster

prefix=cl$$

# ---- a second cluster ------------------------------------------------------------------------

here=$RBD_CSI_CONFIG here_id=$RBD_CSI_FSID here_secrets=$RBD_CSI_SECRETS
defer "$top/scripts/dev-cluster" down --dir "$work/ceph"
"$top/scripts/dev-cluster" up --dir "$work/ceph" >/dev/null 2>&1 || bail "no second cluster"
eval "$("$top/scripts/dev-cluster" env --dir "$work/ceph")"
there_id=$RBD_CSI_FSID there_secrets=$RBD_CSI_SECRETS there_conf=$CEPH_CONF
mapfile -t osds < <(cat "$work"/ceph/run/osd.*.pid)
mapfile -t mons < <(cat "$work"/ceph/run/mon.*.pid)
defer eval "kill -CONT ${osds[*]} ${mons[*]} 2>/dev/null; true"
admin() { timeout 60 ceph -c "$there_conf" "$@" 2>/dev/null; }
timeout 60 rbd -c "$there_conf" namespace create rbd/tenant || bail "no namespace"
config=$work/config.json
# as_seen MONITORS: config.json with the second cluster at these
as_seen() {
	jq -n --arg here "$here_id" --arg there "$there_id" --argjson monitors "$1" --slurpfile a "$here" \
		--slurpfile b "$RBD_CSI_CLUSTER_DIR/config.json" '
		[($a[0][] | select(.clusterID == $here)), ($b[0][] | select(.clusterID == $there) |
			(., (.clusterID = "tenant" | .rbd.radosNamespace = "tenant")) |
			if $monitors == null then . else .monitors = $monitors end)]' >"$work/next"
	mv "$work/next" "$config"
}
as_seen null
RBD_CSI_CONFIG=$config
start_daemon

# create CLUSTER NAME [TIMEOUT [POOL [FEATURES [DATAPOOL]]]]; at CLUSTER METHOD JSON: with the cluster's own secrets
at() {
	local rc=0 secrets=$there_secrets text=$work/error.$BASHPID
	[[ $1 == "$here_id" ]] && secrets=$here_secrets
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" --secrets "$secrets" --timeout "${4:-60}" \
		call "$2" "$3" 2>"$text") || rc=$?
	error=$(<"$text")
	((rc == 0)) || echo "$error"
	return "$rc"
}
create() {
	at "$1" Controller/CreateVolume "$(jq -nc --arg name "$prefix-$2" --arg cluster "$1" \
		--arg pool "${4:-rbd}" --arg features "${5:-layering}" --arg data "${6:-}" '{name: $name, capacityRange: {requiredBytes: "16777216"},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: ({clusterID: $cluster, pool: $pool, imageFeatures: $features, mounter: "userspace"} +
			if $data == "" then {} else {dataPool: $data} end)}')" "${3:-60}" &&
		id=$(jq -r .volume.volumeId <<<"$reply")
}
delete() { at "$1" Controller/DeleteVolume "{\"volumeId\": \"$2\"}" "${3:-60}"; }
is_late() { [[ $(<"$1") == DEADLINE_EXCEEDED:* ]]; }

ok "a volume here" create "$here_id" one
one=$id
ok "a volume there" create "$there_id" one
there=$id
ok "and one in a namespace there" create tenant one
tenant=$id
is "is in that namespace" "$(timeout 60 rbd -c "$there_conf" ls rbd/tenant)" "csi-vol-${tenant: -36}"

# ---- its OSDs hang ---------------------------------------------------------------------------

# serves_here TAG: ten calls, while those who wait for the other cluster go on waiting
serves_here() {
	local i
	for i in 1 2 3 4 5; do
		create "$here_id" "$1-$i" && delete "$here_id" "$id" || return
	done
	kill -0 "${waiting[@]}"
}
# hang NAME: three calls for the other cluster with 20 s each, in the background
hang() {
	waiting=()
	create "$there_id" "$1-a" 20 >"$work/late.a" &
	waiting+=($!)
	create tenant "$1-b" 20 >"$work/late.b" &
	waiting+=($!)
	delete "$there_id" "$there" 20 >"$work/late.c" &
	waiting+=($!)
}
kill -STOP "${osds[@]}"
hang osds
ok "while the OSDs of one cluster hang, the other one is served at its speed" serves_here osds
ok "and Identity is" call Identity/Probe '{}'
wait "${waiting[@]}"
for which in a b c; do
	ok "its callers get their deadline" is_late "$work/late.$which" || diag "$(<"$work/late.$which")"
done
kill -CONT "${osds[@]}"
ok "when they go on, a volume is made" create "$there_id" osds-a
ok "and deleted" delete "$there_id" "$id"
ok "one in the namespace, too" create tenant osds-b
ok "and deleted" delete tenant "$id"
ok "the deletion that had been cut off goes on" delete "$there_id" "$there"
is "and all has been finished" "$(timeout 60 rbd -c "$there_conf" ls rbd)" ""

# ---- its monitors hang -----------------------------------------------------------------------

kill -TERM "$(pgrep -P "$csid_pid" -x ceph-worker | tail -1)"
ok "a volume there" create "$there_id" two
there=$id
mapfile -t workers < <(pgrep -P "$csid_pid" -x ceph-worker)
kill -STOP "${mons[@]}"
kill -KILL "${workers[@]}"
hang mons
ok "while its monitors hang, the other cluster is served" serves_here mons
wait "${waiting[@]}"
like "its callers are told what they wait for" "$(cat "$work"/late.?)" \
	"(DEADLINE_EXCEEDED|UNAVAILABLE): .*(connect|monitors)"
kill -CONT "${mons[@]}"
ok "when they go on, it is served, too" wait_for 60 create "$there_id" mons-a
ok "and what was made is deleted" delete "$there_id" "$id"
ok "and what was to be deleted is" delete "$there_id" "$there"

# ---- its monitors change ---------------------------------------------------------------------

as_seen '["127.0.0.1:1"]'
moved() { ! create "$there_id" moved 15 && [[ $error =~ ^(UNAVAILABLE|DEADLINE_EXCEEDED): ]]; }
ok "where config.json has another monitor, nobody is" wait_for 60 moved
as_seen null
ok "when it has the right one, the next call is served" wait_for 60 create "$there_id" moved
ok "and its volume deleted" delete "$there_id" "$id"

# ---- a pool of the same name, and another id ---------------------------------------------------

new_pool() { admin osd pool create "$prefix" 1 && admin osd pool application enable "$prefix" rbd; }
no_pool() { admin osd pool rm "$prefix" "$prefix" --yes-i-really-really-mean-it; }
pool_of() { echo $((16#${id: -53:16})); }
pool_id() { admin osd pool ls detail --format json | jq --arg name "$1" '.[] | select(.pool_name == $name).pool_id'; }
publish() { at "$there_id" Controller/ControllerPublishVolume "$(jq -nc --arg id "$1" '{volumeId: $id,
	nodeId: "test-node", volumeCapability: {block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}}')"; }
unpublish() { at "$there_id" Controller/ControllerUnpublishVolume "{\"volumeId\": \"$1\", \"nodeId\": \"test-node\"}"; }
is_empty() { ! timeout 60 rados -c "$there_conf" -p "$1" ls | grep -q rbd_header; }
# The second kind is made by librbd in a process of its own.
for features in layering layering,exclusive-lock,journaling; do
	new_pool >/dev/null || bail "no pool"
	ok "a volume with $features in a pool" create "$there_id" pool 60 "$prefix" "$features"
	old=$id
	no_pool
	new_pool >/dev/null || bail "no pool"
	ok "the pool is made anew, and so is the volume" create "$there_id" pool 60 "$prefix" "$features"
	is "in the new pool" "$(pool_of)" "$(pool_id "$prefix")"
	ok "which has it" timeout 60 rbd -c "$there_conf" info "$prefix/csi-vol-${id: -36}"
	fails_with NOT_FOUND "the old one is not found" publish "$old"
	ok "it is deleted" delete "$there_id" "$old"
	ok "which leaves the new one" publish "$id"
	ok "that is taken from the node" unpublish "$id"
	ok "and deleted" delete "$there_id" "$id"
	ok "with its image" wait_for 60 is_empty "$prefix"
	no_pool
done

new_pool >/dev/null || bail "no pool"
ok "a volume with its data in a pool" create "$there_id" data 60 rbd layering "$prefix"
ok "is deleted" delete "$there_id" "$id"
no_pool
new_pool >/dev/null || bail "no pool"
ok "the pool is made anew: the next volume" create "$there_id" data-2 60 rbd layering "$prefix"
is "has its data in the new one" "$(timeout 60 rbd -c "$there_conf" info --format json "rbd/csi-vol-${id: -36}" |
	jq -r .data_pool_id,.data_pool | grep -v null)" "$prefix"
ok "and can be written" timeout 60 rbd -c "$there_conf" bench --io-type write --io-size 4096 --io-total 4096 \
	"rbd/csi-vol-${id: -36}"
ok "it is deleted" delete "$there_id" "$id"
no_pool
fails_with INVALID_ARGUMENT "when the pool is gone for good" create "$there_id" gone 60 rbd layering "$prefix"
like "it is named" "$error" "dataPool: pool $prefix: no such pool"

# ---- cluster-mapping.json ----------------------------------------------------------------------

# of_site1 HANDLE: as the cluster "site1" would have it, whose pool 99 is mirrored here
of_site1() { echo "0001-0005-site1-0000000000000063-${1: -36}"; }
map_to() { jq -n "$1" >"$work/next" && mv "$work/next" "$work/cluster-mapping.json"; }
snapshot() { at "$there_id" Controller/CreateSnapshot "{\"name\": \"$prefix-snap\", \"sourceVolumeId\": \"$1\"}"; }
restore() {
	at "$there_id" Controller/CreateVolume "$(jq -nc --arg name "$prefix-$1" --arg cluster "$2" --arg id "$3" \
		'{name: $name, volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: "rbd", mounter: "userspace"},
		volumeContentSource: {snapshot: {snapshotId: $id}}}')" && id=$(jq -r .volume.volumeId <<<"$reply")
}
for_node() {
	jq -nc --arg id "$1" --arg image "csi-vol-${1: -36}" --arg path "$work/staging" --argjson publish "$context" \
		'{volumeId: $id, stagingTargetPath: $path, publishContext: $publish,
		volumeContext: {clusterID: "site1", pool: "rbd", imageName: $image, mounter: "userspace"},
		volumeCapability: {block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}}'
}
defer stop_attachds
mkdir "$work/staging"
ok "a volume that has come from another cluster" create "$there_id" mapped
volume=$id
old=$(of_site1 "$id")
fails_with FAILED_PRECONDITION "is not found by its old handle" publish "$old"
map_to "[{clusterIDMapping: {site1: \"$there_id\"}, RBDPoolIDMapping: [{\"99\": \"$(pool_of)\"}]}]"
ok "but is when the handle is mapped" wait_for 60 publish "$old"
context=$(jq -c .publishContext <<<"$reply")
is "the node is told where" "$(jq -r .clusterID <<<"$context")" "$there_id"
ok "and stages it" at "$there_id" Node/NodeStageVolume "$(for_node "$old")"
ok "and once more" at "$there_id" Node/NodeStageVolume "$(for_node "$old")"
ok "and gives it back" at "$there_id" Node/NodeUnstageVolume "$(for_node "$old" | jq -c '{volumeId, stagingTargetPath}')"
ok "it is taken from the node" unpublish "$old"
ok "it can be grown" at "$there_id" Controller/ControllerExpandVolume \
	"{\"volumeId\": \"$old\", \"capacityRange\": {\"requiredBytes\": \"33554432\"}}"
ok "and a snapshot be made of it" snapshot "$old"
snap=$(jq -r .snapshot.snapshotId <<<"$reply")
like "whose handle is of now" "$snap" "$there_id"
ok "and of it a volume" restore copy "$there_id" "$snap"
ok "which is deleted" delete "$there_id" "$id"
ok "also by the old handle of the snapshot" restore copy-2 "$there_id" "$(of_site1 "$snap")"
ok "which is deleted, too" delete "$there_id" "$id"
fails_with INVALID_ARGUMENT "not where that is mapped to another cluster" restore copy-3 tenant "$(of_site1 "$snap")"
like "as is told" "$error" "is in cluster site1, the new volume in tenant"
ok "the snapshot is deleted by its old handle" at "$there_id" Controller/DeleteSnapshot \
	"{\"snapshotId\": \"$(of_site1 "$snap")\"}"
is "and is gone" "$(timeout 60 rbd -c "$there_conf" ls rbd | grep -c csi-snap)" 0

# A handle of a cluster that is there, but has not got the volume.
tenants=${volume/"$(printf %04x ${#there_id})-$there_id"/0006-tenant}
fails_with NOT_FOUND "a volume that its cluster has not got" publish "$tenants"
ok "is as good as deleted" delete tenant "$tenants"
map_to "[{clusterIDMapping: {\"$there_id\": \"tenant\", \"x\": \"tenant\"}, RBDPoolIDMapping: [{\"$(pool_id rbd)\": \"$(pool_id rbd)\"}]}]"
ok "is found where that is mapped to" wait_for 60 publish "$tenants"
ok "and taken from the node" unpublish "$tenants"
is "there" "$(timeout 60 rbd -c "$there_conf" image-meta ls "rbd/csi-vol-${volume: -36}" | grep -c published)" 0
fails_with NOT_FOUND "one that is nowhere" publish "${tenants::-4}ffff"
like "is told of its own cluster" "$error" "in pool rbd/tenant"
ok "it is deleted there" delete tenant "$tenants"
is "and its image with it" "$(timeout 60 rbd -c "$there_conf" ls rbd | grep -c "${volume: -36}")" 0
ok "and that is so when it is asked again" delete tenant "$tenants"
rm "$work/cluster-mapping.json"
unmapped() { ! publish "$old" && [[ $error == FAILED_PRECONDITION:* ]]; }
ok "without the file nothing is mapped" wait_for 60 unmapped
ok "the volumes of the beginning, too" eval 'delete tenant "$tenant" && delete "$here_id" "$one"'
done_testing
