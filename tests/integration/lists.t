#!/bin/bash
# lists.t: ListVolumes, ListSnapshots, health and the same about one: pages over pools, namespaces
# and clusters, what vanishes between pages, what ceph-csi has left, credentials of the driver.
. "$(dirname "$0")/lib.sh"
need_cluster

pools=(t-lists-a t-lists-b)
for pool in "${pools[@]}"; do
	ceph osd pool create "$pool" 8 >/dev/null 2>&1
	rbd pool init "$pool" || bail "no pool"
	defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
done
rbd namespace create t-lists-a/ns || bail "no namespace"

# Clusters of this test: a and b are one Ceph cluster, b in a namespace. An instance of its own keeps
# other tests' volumes out of the lists.
config=$work/config.json
credentials=$work/credentials
clusters() { # JSON: entries; returns when they are in use
	local n
	n=$(loads)
	printf '%s' "$1" >"$config.new" && mv "$config.new" "$config"
	[[ -z $csid_pid ]] || wait_for 60 loaded_since "$n"
}
loads() { grep -c config.loaded "$work/csid.log" 2>/dev/null; }
loaded_since() { (($(loads) > $1)); }
entry() { jq -n --arg id "$1" --arg m "$2" --arg ns "${3:-}" \
	'{clusterID: $id, monitors: [$m], rbd: {radosNamespace: $ns}}'; }
a=$(entry a "$RBD_CSI_MONITORS")
b=$(entry b "$RBD_CSI_MONITORS" ns)
clusters "[$a, $b]"
secret() { # CLUSTER USER KEY: as kubelet swaps a Secret
	local dir=$credentials/$1 version=..v$RANDOM$RANDOM
	mkdir -p "$dir/$version"
	printf '%s' "$2" >"$dir/$version/userID"
	printf '%s\n' "$3" >"$dir/$version/userKey"
	ln -sfn "$version" "$dir/..data_tmp"
	mv -T "$dir/..data_tmp" "$dir/..data"
	ln -sfn ..data/userID "$dir/userID"
	ln -sfn ..data/userKey "$dir/userKey"
}
key=$(jq -r .userKey "$RBD_CSI_SECRETS")
for cluster in a b; do secret "$cluster" "$RBD_CSI_USER" "$key"; done

RBD_CSI_CONFIG=$config
start_daemon --instanceid=lists --credentials-dir="$credentials"

# plain SERVICE/METHOD JSON: a call without secrets
plain() {
	local rc=0
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" call "$1" "$2" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	return "$rc"
}
create() { # NAME CLUSTER POOL: sets volume
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg cluster "$2" --arg pool "$3" '{
		name: $name, capacityRange: {requiredBytes: 16777216},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, imageFeatures: "layering"}}')" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
ids() { jq -r '[.entries[]?.volume.volumeId] | join(" ")' <<<"$reply"; }
token() { jq -r '.nextToken // ""' <<<"$reply"; }
# walk SIZE [METHOD] [FIELD]: all pages; sets all, sorted, and pages
walk() {
	local next='' rc=0
	all='' pages=0
	while :; do
		plain "Controller/${2:-ListVolumes}" "$(jq -n --argjson n "$1" --arg t "$next" \
			'{maxEntries: $n, startingToken: $t}')" || return
		(($(jq '.entries | length' <<<"$reply") <= $1 || $1 == 0)) || return
		all+=" $(jq -r "[.entries[]?.${3:-volume.volumeId}] | join(\" \")" <<<"$reply")"
		((++pages))
		next=$(token)
		[[ -n $next ]] || break
	done
	all=$(tr ' ' '\n' <<<"$all" | sed '/^$/d' | sort | tr '\n' ' ')
	return "$rc"
}
sorted() { tr ' ' '\n' <<<"$*" | sed '/^$/d' | sort | tr '\n' ' '; }

# ---- capabilities ----------------------------------------------------------------------------

plain Controller/ControllerGetCapabilities '{}'
caps=$(jq -r '[.capabilities[].rpc.type] | join(" ")' <<<"$reply")
for cap in GET_CAPACITY LIST_VOLUMES LIST_VOLUMES_PUBLISHED_NODES GET_VOLUME LIST_SNAPSHOTS GET_SNAPSHOT \
	GET_VOLUME_HEALTH LIST_VOLUME_HEALTH; do
	like "$cap is advertised" " $caps " " $cap "
done

# ---- volumes of all clusters, pools and namespaces -------------------------------------------

walk 0
is "without volumes a list is empty" "$all$pages" 1
made=()
for i in 1 2 3; do create "v-$i" a t-lists-a && made+=("$volume"); done
create v-4 a t-lists-b && made+=("$volume")
for i in 5 6; do create "v-$i" b t-lists-a && made+=("$volume"); done
is "six volumes are made" "${#made[@]}" 6
for size in 0 1 2 4 6 100; do
	walk "$size"
	is "pages of $size have them all, once" "$all" "$(sorted "${made[@]}")"
done
is "in one page, if it is large" "$pages" 1
fails_with ABORTED "a token that is none is refused" \
	plain Controller/ListVolumes '{"startingToken": "nonsense"}'

plain Controller/ControllerGetVolume "{\"volumeId\": \"${made[4]}\"}"
is "ControllerGetVolume tells the size" "$(jq -r .volume.capacityBytes <<<"$reply")" 16777216
is "and where it is" "$(jq -rc '.volume.volumeContext | [.clusterID, .pool, .radosNamespace, .imageName]' \
	<<<"$reply")" "[\"b\",\"t-lists-a\",\"ns\",\"csi-vol-${made[4]: -36}\"]"
fails_with NOT_FOUND "a volume that nobody has is NOT_FOUND" plain Controller/ControllerGetVolume \
	"{\"volumeId\": \"${made[4]%?????}00000\"}"
fails_with NOT_FOUND "so is what is no identifier" \
	plain Controller/ControllerGetVolume '{"volumeId": "none"}'

# ---- who has them ----------------------------------------------------------------------------

call Controller/ControllerPublishVolume "$(jq -n --arg id "${made[0]}" '{volumeId: $id, nodeId: "test-node",
	volumeCapability: {block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}}')" || diag "$error"
nodes_of() { jq -r --arg id "$1" '[.entries[] | select(.volume.volumeId == $id)
	| .status.publishedNodeIds[]?] | join(" ")' <<<"$reply"; }
plain Controller/ListVolumes '{}'
is "a published volume has its node" "$(nodes_of "${made[0]}")" test-node
is "others have none" "$(nodes_of "${made[1]}")" ""
id=$(rbd info --format json "t-lists-a/csi-vol-${made[1]: -36}" | jq -r .id)
seq 70 | xargs -P 8 -I N rados -p t-lists-a setomapval "rbd_header.$id" \
	"metadata_.rbd.csi.ceph.com/published/$id/node-N" ro >/dev/null
plain Controller/ListVolumes '{}'
is "as many as there are" "$(nodes_of "${made[1]}" | wc -w)" 70
plain Controller/ControllerGetVolume "{\"volumeId\": \"${made[0]}\"}"
is "ControllerGetVolume tells it, too" "$(jq -r '.status.publishedNodeIds | join(" ")' <<<"$reply")" test-node

# ---- capacity --------------------------------------------------------------------------------

ceph osd pool set-quota t-lists-b max_bytes 1000000000 >/dev/null 2>&1 || bail "no quota"
capacity() { # JSON: the request
	plain Controller/GetCapacity "$1" && jq -r '.availableCapacity // "0"' <<<"$reply"
}
of_class() { jq -nc --arg c "$1" --arg p "$2" --argjson more "${3:-null}" \
	'{parameters: {clusterID: $c, pool: $p}} * ($more // {})'; }
max_avail=$(ceph df --format json | jq '.pools[] | select(.name == "t-lists-a").stats.max_avail')
got=$(capacity "$(of_class a t-lists-a)")
ok "the capacity of a pool is what the cluster says" \
	test $((got - max_avail < max_avail / 10 && max_avail - got < max_avail / 10)) = 1 || diag "$got $max_avail"
quota='^(1000000000|9999[0-9]{5})$' # what is in the pool taken off
like "and no more than its quota" "$(capacity "$(of_class a t-lists-b)")" "$quota"
like "data are in the dataPool" \
	"$(capacity "$(of_class a t-lists-a '{"parameters": {"dataPool": "t-lists-b"}}')")" "$quota"
is "nothing is there for what the driver cannot do" "$(capacity "$(of_class a t-lists-a '{"volumeCapabilities":
	[{"mount": {}, "accessMode": {"mode": "MULTI_NODE_MULTI_WRITER"}}]}')")" 0
all=$(capacity '{}')
ok "without a class it is the sum of the clusters" \
	test $((all / 2 - got < got / 10 && got - all / 2 < got / 10)) = 1 || diag "$all $got"
# by_topology MORE: a class whose pools go by zones
by_topology() {
	jq -nc --argjson more "$1" '{parameters: {clusterID: "a", topologyConstrainedPools: ([
		{poolName: "t-lists-a", dataPool: "t-lists-b", domainSegments: [{domainLabel: "zone", value: "z1"}]},
		{poolName: "t-lists-a", domainSegments: [{domainLabel: "zone", value: "z2"}]},
		{poolName: "no-pool", domainSegments: [{domainLabel: "zone", value: "z3"}]}] | tojson)}} * $more'
}
zone() { capacity "$(by_topology "{\"accessibleTopology\": {\"segments\": {\"topology.rbd.csi.ceph.com/zone\": \"$1\"}}}")"; }
like "where pools go by topology it is that of the pool that fits" "$(zone z1)" "$quota"
there=$(zone z2)
ok "which is another one in another zone" test $((there - got < got / 10 && got - there < got / 10)) = 1 || diag "$there $got"
is "nothing is there where none fits" "$(zone z4)" 0
fails_with INVALID_ARGUMENT "one that is not there" zone z3
like "is named" "$error" "topologyConstrainedPools: pool no-pool: no such pool"
like "without a topology the class' pool counts" \
	"$(capacity "$(by_topology '{"parameters": {"pool": "t-lists-b"}}')")" "$quota"
fails_with INVALID_ARGUMENT "without a pool all of the list do" capacity "$(by_topology '{}')"
defer ceph osd pool rm t-lists-c t-lists-c --yes-i-really-really-mean-it
ceph osd pool create t-lists-c 1 >/dev/null 2>&1
counts() { (($(capacity "$(of_class a t-lists-c)") > 0)); }
ok "a new pool counts as soon as the monitors have figures" wait_for 60 counts
ceph osd pool rm t-lists-c t-lists-c --yes-i-really-really-mean-it >/dev/null 2>&1
ceph osd pool create t-lists-c 1 >/dev/null 2>&1
ceph osd pool set-quota t-lists-c max_bytes 1000000000 >/dev/null 2>&1 || bail "no quota"
anew() { [[ $(capacity "$(of_class a t-lists-c)") == 1000000000 ]]; }
ok "and so does one that was made anew under its name" wait_for 60 anew
fails_with INVALID_ARGUMENT "a list that is none is an error" capacity \
	"$(by_topology '{"parameters": {"topologyConstrainedPools": "x"}, "accessibleTopology": {}}')"
fails_with INVALID_ARGUMENT "a pool that is not there is an error" plain Controller/GetCapacity "$(of_class a no-pool)"

# ---- coming and going between pages ----------------------------------------------------------

plain Controller/ListVolumes '{"maxEntries": 2}'
first=$(ids) next=$(token)
delete "${made[1]}" || diag "$error" # the last one of the page
delete "${made[2]}" || diag "$error" # the next one
create v-0 a t-lists-a || diag "$error"
new=$volume
plain Controller/ListVolumes "{\"startingToken\": \"$next\"}"
is "a token is good when the volumes around it have gone" "$(ids)" "${made[3]} ${made[4]} ${made[5]}"
is "the first page had the two before" "$first" "${made[0]} ${made[1]}"
is "what is before it is on no later page" "$(ids | grep -c "$new")" 0
made=("$new" "${made[0]}" "${made[3]}" "${made[4]}" "${made[5]}")

# ---- what ceph-csi and killed processes leave ------------------------------------------------

directory=csi.volumes.lists
put() { # UUID KEY VALUE...: an entry
	local object=csi.volume.$1
	shift
	while (($# > 1)); do
		rados -p t-lists-b setomapval "$object" "$1" "$2" >/dev/null
		shift 2
	done
}
uuid() { printf '11111111-2222-4333-8444-%012d' "$1"; }
of_pool() { # CLUSTER POOL UUID: a volume ID
	printf '0001-%04x-%s-%016x-%s' "${#1}" "$1" "$(ceph osd pool ls detail -f json |
		jq --arg p "$2" '.[] | select(.pool_name == $p).pool_id')" "$3"
}
rbd create --size 8M t-lists-b/my-prefix-"$(uuid 1)"
id=$(rbd info --format json t-lists-b/my-prefix-"$(uuid 1)" | jq -r .id)
put "$(uuid 1)" csi.volname c-1 csi.imagename my-prefix-"$(uuid 1)" csi.imageid "$id"
put "$(uuid 2)" csi.volname c-2 csi.imagename my-prefix-"$(uuid 1)" # not yet its id
put "$(uuid 3)" csi.volname c-3 csi.imagename csi-vol-"$(uuid 3)" csi.imageid abc # no image
for i in 1 2 3 4; do # the last one has no entry
	rados -p t-lists-b setomapval "$directory" csi.volume.c-$i "$(uuid $i)" >/dev/null
done
rados -p t-lists-b setomapval "$directory" csi.volume.old-handle "$(of_pool a t-lists-b "$(uuid 1)")" >/dev/null
rados -p t-lists-b setomapval "$directory" csi.reserve.c-9 csi-vol-"$(uuid 9)" >/dev/null
for i in 1 2 3; do made+=("$(of_pool a t-lists-b "$(uuid $i)")"); done
for size in 0 1 3; do
	walk "$size"
	is "pages of $size have what ceph-csi laid out" "$all" "$(sorted "${made[@]}")"
done
plain Controller/ListVolumes '{}'
size_of() { jq -r --arg id "$1" '.entries[] | select(.volume.volumeId == $id)
	| .volume.capacityBytes // 0' <<<"$reply"; }
is "its size is the image's" "$(size_of "${made[5]}")" 8388608
is "also when the entry has no id" "$(size_of "${made[6]}")" 8388608
is "and not known without one" "$(size_of "${made[7]}")" 0

# ---- health ----------------------------------------------------------------------------------

health_of() { # ID: reasons, by the list and by the one
	plain Controller/ControllerListVolumeHealth '{}' || echo "$error"
	local list
	list=$(jq -rc --arg id "$1" '[.entries[] | select(.volumeId == $id).healthStatuses[]?
		| .status + " " + .reason]' <<<"$reply")
	plain Controller/ControllerGetVolumeHealth "{\"volumeId\": \"$1\"}" || echo "$error"
	[[ $list == "$(jq -rc '[.volumeHealth.healthStatuses[]? | .status + " " + .reason]' <<<"$reply")" ]] ||
		echo "the list says $list"
	echo "$list"
}
walk 2 ControllerListVolumeHealth volumeId
is "the health of all volumes is listed" "$all" "$(sorted "${made[@]}")"
is "a healthy volume has nothing" "$(health_of "${made[0]}")" "[]"
is "one without its image has lost its data" "$(health_of "${made[7]}")" '["DATA_LOSS ImageMissing"]'
is "one whose id is not known yet has nothing" "$(health_of "${made[6]}")" "[]"
image=csi-vol-${new: -36}
id=$(rbd info --format json "t-lists-a/$image" | jq -r .id)
rbd rename "t-lists-a/$image" t-lists-a/elsewhere
is "one whose image was renamed is told" "$(health_of "$new")" '["INACCESSIBLE ImageReplaced"]'
rbd rename t-lists-a/elsewhere "t-lists-a/$image"
rbd trash mv "t-lists-a/$image"
is "and one in the trash" "$(health_of "$new")" '["INACCESSIBLE ImageInTrash"]'
rbd trash restore "t-lists-a/$id"
is "until it is restored" "$(health_of "$new")" "[]"
fails_with NOT_FOUND "the health of no volume is NOT_FOUND" plain Controller/ControllerGetVolumeHealth \
	"{\"volumeId\": \"${made[4]%?????}00000\"}"

# ---- snapshots, as ceph-csi lays them out ----------------------------------------------------

snap() { # NUMBER VOLUME-ID: makes a snapshot's image, entry and key
	local uuid image
	uuid=$(uuid "5$1") image=csi-snap-$(uuid "5$1")
	rbd create --size 16M --image-feature layering "t-lists-a/$image"
	rbd snap create --no-progress "t-lists-a/$image@$image"
	rados -p t-lists-a setomapval "csi.snap.$uuid" csi.snapname "s-$1" >/dev/null
	rados -p t-lists-a setomapval "csi.snap.$uuid" csi.imagename "$image" >/dev/null
	rados -p t-lists-a setomapval "csi.snap.$uuid" csi.imageid \
		"$(rbd info --format json "t-lists-a/$image" | jq -r .id)" >/dev/null
	rados -p t-lists-a setomapval "csi.snap.$uuid" csi.source "csi-vol-${2: -36}" >/dev/null
	rados -p t-lists-a setomapval csi.snaps.lists "csi.snap.s-$1" "$uuid" >/dev/null
	snaps+=("$(of_pool a t-lists-a "$uuid")")
}
snaps=()
before=$(date +%s)
snap 1 "$new" && snap 2 "$new" && snap 3 "${made[1]}"
for size in 0 1 2; do
	walk "$size" ListSnapshots snapshot.snapshotId
	is "pages of $size have all snapshots" "$all" "$(sorted "${snaps[@]}")"
done
plain Controller/ListSnapshots "{\"snapshotId\": \"${snaps[0]}\"}"
is "one is found by its ID" "$(jq -rc '.entries | map(.snapshot |
	[.snapshotId, .sourceVolumeId, .sizeBytes, .readyToUse])' <<<"$reply")" \
	"[[\"${snaps[0]}\",\"$new\",\"16777216\",true]]"
made_at=$(date -d "$(jq -r '.entries[0].snapshot.creationTime' <<<"$reply")" +%s)
ok "with the time when it was made" test "$made_at" -ge "$((before - 1))" -a "$made_at" -le "$(date +%s)"
by_source() { plain Controller/ListSnapshots "{\"sourceVolumeId\": \"$1\", \"maxEntries\": ${2:-0}}" &&
	jq -r '[.entries[]?.snapshot.snapshotId] | join(" ")' <<<"$reply"; }
is "and by their volume" "$(by_source "$new")" "${snaps[0]} ${snaps[1]}"
is "in pages, too" "$(by_source "$new" 1)" "${snaps[0]}"
# of a StorageClass with a journal pool: the key is there, with the image's pool
hex=$(printf '%016x' "$(ceph osd pool ls detail --format json | jq '.[] | select(.pool_name == "t-lists-a").pool_id')")
for i in 1 3; do
	rados -p t-lists-a rmomapkey csi.snaps.lists "csi.snap.s-$i"
	rados -p t-lists-b setomapval csi.snaps.lists "csi.snap.s-$i" "$hex/$(uuid "5$i")" >/dev/null
done
is "also if the journal is in another pool" "$(by_source "$new")" "${snaps[1]} ${snaps[0]}"
is "in pages, too" "$(by_source "$new" 1)" "${snaps[1]}"
walk 2 ListSnapshots snapshot.snapshotId
is "and all are listed" "$all" "$(sorted "${snaps[@]}")"
is "a volume without any has none" "$(by_source "${made[3]}")" ""
is "nor has what is no volume" "$(by_source none)" ""
for id in none "${snaps[0]%?????}00000"; do
	plain Controller/ListSnapshots "{\"snapshotId\": \"$id\"}"
	is "an unknown snapshot is an empty list" "$reply" "{}"
done
plain Controller/GetSnapshot "{\"snapshotId\": \"${snaps[2]}\"}"
is "GetSnapshot tells the same" "$(jq -rc '.snapshot | [.sourceVolumeId, .readyToUse]' <<<"$reply")" \
	"[\"${made[1]}\",true]"
fails_with NOT_FOUND "and NOT_FOUND" plain Controller/GetSnapshot \
	"{\"snapshotId\": \"${snaps[0]%?????}00000\"}"

# ---- credentials: rotated, missing; clusters that do not answer ------------------------------

ceph auth get-or-create client.t-lists mon 'profile rbd' osd 'profile rbd' >/dev/null 2>&1 ||
	bail "no user"
defer ceph auth rm client.t-lists
secret b t-lists "$(ceph auth print-key client.t-lists)"
ok "a rotated key is used at once" plain Controller/ListVolumes '{}'
ok "in a session of its own" grep -q 'session.up .*user=t-lists' "$work/csid.log"
ceph auth get-or-create client.t-lists-none mon 'profile rbd' osd 'allow r pool=none' >/dev/null 2>&1
defer ceph auth rm client.t-lists-none
secret a t-lists-none "$(ceph auth print-key client.t-lists-none)"
fails_with PERMISSION_DENIED "a user who may read no pool gets no empty list" plain Controller/ListVolumes '{}'
secret a "$RBD_CSI_USER" "$key"
secret b t-lists "AQCUOwprxRgIHxAA/LEct4m4/CW57bTXXKEccw=="
fails_with UNAUTHENTICATED "a wrong one fails the list" plain Controller/ListVolumes '{}'
like "which names the cluster" "$error" 'cluster "b"'
rm "$credentials/b/..data/userKey"
fails_with FAILED_PRECONDITION "a missing file fails it" plain Controller/ListVolumes '{}'
like "and is named" "$error" "cluster \"b\".*/b: read userKey: No such file"
mv "$credentials/b" "$credentials/c"
fails_with FAILED_PRECONDITION "so does a missing directory" plain Controller/ListVolumes '{}'
ok "volumes of the other cluster are told" \
	plain Controller/ControllerGetVolume "{\"volumeId\": \"${made[0]}\"}"
is "no key is in the log" "$(grep -c -F "$key" "$work/csid.log")" 0

secret b "$RBD_CSI_USER" "$key"
clusters "[$a, $b, $(entry aa 127.0.0.1:1)]"
secret aa "$RBD_CSI_USER" "$key"
fails_with UNAVAILABLE "a cluster that cannot be reached is not left out" plain Controller/ListVolumes '{}'
like "but named" "$error" 'cluster "aa"'
plain Controller/ListVolumes '{"startingToken": "v1.0.1.b."}'
is "pages of others are told" "$(ids)" "${made[3]} ${made[4]}"
clusters "[$a, $b]"
ok "and all of them when it has gone from config.json" plain Controller/ListVolumes '{}'

# What an rbd-csid that was killed has not purged waits for the next call with a key. This one has a key.
ok "a volume is made" create lists-killed a t-lists-a
ok "the driver ends" stop_daemon
image=csi-vol-${volume: -36}
rbd trash mv "t-lists-a/$image"
id=$(rbd trash ls --all t-lists-a | cut -d' ' -f1)
rados -p t-lists-a setomapval rbd_trash "csi.purge.lists/$id" "$image"
start_daemon --instanceid=lists --credentials-dir="$credentials"
ok "the next list of volumes" plain Controller/ListVolumes '{}'
is_purged() { [[ -z $(rbd trash ls --all t-lists-a) ]]; }
ok "takes up what was left to be purged" wait_for 60 is_purged
no_notes() { ! rados -p t-lists-a listomapkeys rbd_trash | grep -q csi.purge; }
ok "and nothing is left of its note" wait_for 60 no_notes
ok "the volume is deleted" call Controller/DeleteVolume "{\"volumeId\": \"$volume\"}"

# ---- without the option ----------------------------------------------------------------------

ok "the driver ends" stop_daemon
start_daemon --instanceid=lists
plain Controller/ControllerGetCapabilities '{}'
is "without --credentials-dir nothing of this is advertised" "$(jq -r '[.capabilities[].rpc.type
	| select(test("LIST_|GET_"))] | length' <<<"$reply")" 0
fails_with UNIMPLEMENTED "nor served" plain Controller/ListVolumes '{}'
like "which says what it needs" "$error" credentials-dir
ok "and the log says so" grep -q 'controller.unserved .*ListVolumes.*--credentials-dir' "$work/csid.log"

done_testing
