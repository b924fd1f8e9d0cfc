#!/bin/bash
# snapshots.t: CreateSnapshot and DeleteSnapshot: the life of a snapshot in every order, byte for
# byte as ceph-csi lays it out, of images with all features, a data pool and a RADOS namespace, by
# many callers at once, and of a file system that is being written through the userspace mapper.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-snapshots data=t-snapshots-data
for p in "$pool" "$data"; do
	ceph osd pool create "$p" 8 >/dev/null 2>&1
	rbd pool init "$p" || bail "no pool"
	defer ceph osd pool rm "$p" "$p" --yes-i-really-really-mean-it
done
rbd namespace create "$pool/ns" || bail "no namespace"
jq '. + [.[0] + {clusterID: "in-namespace", rbd: {radosNamespace: "ns"}}]' "$RBD_CSI_CONFIG" \
	>"$work/config.json"
defer stop_attachds
RBD_CSI_CONFIG=$work/config.json start_daemon --clustername=kind

cluster=$RBD_CSI_FSID ns=	# what the functions below work on
capability='{"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'

# create NAME BYTES [PARAMETER=VALUE...]: sets volume and image
create() {
	local json
	json=$(jq -n --arg name "$1" --arg bytes "$2" --arg pool "$pool" --arg cluster "$cluster" \
		--argjson capability "$capability" '{
		name: $name, capacityRange: {requiredBytes: $bytes}, volumeCapabilities: [$capability],
		parameters: {clusterID: $cluster, pool: $pool}}')
	shift 2
	for p; do json=$(jq --arg k "${p%%=*}" --arg v "${p#*=}" '.parameters[$k] = $v' <<<"$json"); done
	call Controller/CreateVolume "$json" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
	image=csi-vol-${volume: -36}
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
# snapshot NAME VOLUME [PARAMETER=VALUE...]: sets snap and backing
snapshot() {
	local json
	json=$(jq -n --arg name "$1" --arg volume "$2" '{name: $name, sourceVolumeId: $volume}')
	shift 2
	for p; do json=$(jq --arg k "${p%%=*}" --arg v "${p#*=}" '.parameters[$k] = $v' <<<"$json"); done
	call Controller/CreateSnapshot "$json" || return
	snap=$(jq -r .snapshot.snapshotId <<<"$reply")
	backing=csi-snap-${snap: -36}
}
# While a lane purges the snapshot it has the volume's image open.
delete_both() { unsnapshot "$snap" && wait_for 60 delete "$volume"; }
unsnapshot() { call Controller/DeleteSnapshot "{\"snapshotId\": \"$1\"}"; }

in_pool() { rbd --namespace "$ns" -p "$pool" "$@"; }
omap() { # OBJECT: its keys and values
	local key
	for key in $(rados -p "$pool" -N "$ns" listomapkeys "$1"); do
		echo "$key=$(rados -p "$pool" -N "$ns" getomapval "$1" "$key" /dev/stdout 2>/dev/null)"
	done
}
metadata() { in_pool image-meta list --format json "$1" | jq -cS .; }
all_is_gone() { [[ -z $(in_pool ls)$(in_pool trash ls --all) ]]; }
no_keys() { [[ -z $(rados -p "$pool" -N "$ns" listomapkeys csi.snaps.default) ]]; }
no_objects() { ! rados -p "$pool" -N "$ns" ls | grep -q 'rbd_data\|rbd_header\|rbd_object_map'; }
# write IMAGE: something; its checksum
write() {
	in_pool bench --io-type write --io-size 65536 --io-total 131072 "$1" >/dev/null 2>&1
	sum "$1"
}
sum() { in_pool export --no-progress "$1" - 2>/dev/null | md5sum | cut -d' ' -f1; }

# ---- as ceph-csi lays it out -------------------------------------------------------------------

create pvc-1 67108864 csi.storage.k8s.io/pvc/name=claim csi.storage.k8s.io/pvc/namespace=apps \
	imageFeatures=layering || bail "no volume"
rbd image-meta set "$pool/$image" rbd_base_qos_iops_limit 100 >/dev/null
before=$(write "$image")
ok "CreateSnapshot" snapshot snapshot-1 "$volume" clusterID="$cluster" \
	csi.storage.k8s.io/volumesnapshot/name=snap csi.storage.k8s.io/volumesnapshot/namespace=apps \
	csi.storage.k8s.io/volumesnapshotcontent/name=content
answer=$(jq -cS .snapshot <<<"$reply") first=$snap
info=$(in_pool info --format json "$backing")
uuid=${snap: -36}
is "the answer: the ID" "$snap" "${volume%-*-*-*-*-*}-$uuid"
is "the volume, the size, that it is ready" \
	"$(jq -c '[.sourceVolumeId, .sizeBytes, .readyToUse]' <<<"$answer")" \
	"[\"$volume\",\"67108864\",true]"
is "the time is that of its image" "$(date -d "$(jq -r .creationTime <<<"$answer")" +%s)" \
	"$(date -d "$(jq -r .create_timestamp <<<"$info")" +%s)"
is "the directory has its key and nothing else" "$(omap csi.snaps.default)" \
	"csi.snap.snapshot-1=$uuid"
is "the entry has ceph-csi's attributes" "$(omap "csi.snap.$uuid" | sort)" "$(sort <<EOT
csi.imageid=$(jq -r .id <<<"$info")
csi.imagename=$backing
csi.snapname=snapshot-1
csi.source=$image
csi.volume.owner=apps
EOT
)"
is "the image is a clone with layering and deep-flatten" \
	"$(jq -c '[.features, .op_features, .parent.image]' <<<"$info")" \
	"[[\"layering\",\"deep-flatten\",\"operations\"],[\"clone-child\"],\"$image\"]"
is "with a snapshot of its own name" "$(in_pool snap ls --format json "$backing" | jq -r .[].name)" \
	"$backing"
is "the volume has none" "$(in_pool snap ls --format json "$image")" "[]"
is "but one in its trash" \
	"$(in_pool snap ls --all --format json "$image" | jq -r '.[].namespace | "\(.type) \(.original_name)"')" \
	"trash $backing"
is "its metadata name the snapshot; what is not of the volume comes along" "$(metadata "$backing")" \
	"$(jq -cnS '{"csi.ceph.com/cluster/name": "kind",
	"csi.storage.k8s.io/volumesnapshot/name": "snap",
	"csi.storage.k8s.io/volumesnapshot/namespace": "apps",
	"csi.storage.k8s.io/volumesnapshotcontent/name": "content",
	"rbd_base_qos_iops_limit": "100"}')"
is "it has the volume's data" "$(sum "$backing@$backing")" "$before"
rbd bench --io-type write --io-size 65536 --io-total 1048576 --io-pattern rand "$pool/$image" \
	>/dev/null 2>&1
ok "the volume changes" test "$(sum "$image")" != "$before"
is "the snapshot does not" "$(sum "$backing@$backing")" "$before"
ok "the same call again" snapshot snapshot-1 "$volume"
is "has the same answer" "$(jq -cS .snapshot <<<"$reply")" "$answer"
source_volume=$volume source_image=$image
create pvc-2 67108864
fails_with ALREADY_EXISTS "of another volume it is ALREADY_EXISTS" snapshot snapshot-1 "$volume"
like "naming both images" "$error" "$source_image, not of $image"
fails_with NOT_FOUND "of a volume that is not there NOT_FOUND" \
	snapshot snapshot-2 "${volume%????}ffff"
fails_with NOT_FOUND "of what is no identifier, too" snapshot snapshot-2 none
ok "a prefix of the class' choice" snapshot snapshot-2 "$volume" snapshotNamePrefix=mine-
is "names the image" "$(rados -p "$pool" getomapval "csi.snap.${snap: -36}" csi.imagename \
	/dev/stdout 2>/dev/null)" "mine-${snap: -36}"
ok "it is deleted" unsnapshot "$snap"
ok "once more" unsnapshot "$snap"
ok "so is what is no identifier" unsnapshot none
delete "$volume"
ok "the volume is deleted before its snapshot" delete "$source_volume"
backing=csi-snap-${first: -36}
is "the snapshot has its data all the same" "$(sum "$backing@$backing")" "$before"
ok "and goes last" unsnapshot "$first"
ok "then nothing is left: no image" wait_for 60 all_is_gone
ok "no key" no_keys
ok "no object" wait_for 60 no_objects

# ---- in every order ------------------------------------------------------------------------------


# A restore is larger.
head_sum() { in_pool export --no-progress "$1" - 2>/dev/null | head -c 16777216 | md5sum; }

# Volume, snapshot and restore are removed in each order; the data stay until the last is gone.
for order in "v s r" "v r s" "s v r" "s r v" "r v s" "r s v"; do
	create pvc-o 16777216 imageFeatures=layering
	write "$image" >/dev/null
	was=$(head_sum "$image")
	snapshot snapshot-o "$volume"
	source=$volume good=1
	call Controller/CreateVolume "$(jq -n --arg pool "$pool" --arg cluster "$cluster" \
		--argjson capability "$capability" --arg snap "$snap" '{
		name: "pvc-r", volumeCapabilities: [$capability],
		parameters: {clusterID: $cluster, pool: $pool},
		volumeContentSource: {snapshot: {snapshotId: $snap}}}')" || good=0
	restored=$(jq -r .volume.volumeId <<<"$reply")
	for which in $order; do
		case $which in
		v) delete "$source" ;;
		s) unsnapshot "$snap" ;;
		r) delete "$restored" && restored= ;;
		esac >/dev/null || good=0
		[[ -z $restored || $(head_sum "csi-vol-${restored: -36}") == "$was" ]] || good=0
	done
	ok "removed in the order $order: no data are lost" test "$good" = 1
	ok "and nothing is left" wait_for 60 all_is_gone
done

# ---- other kinds of images -------------------------------------------------------------------------

features=layering,exclusive-lock,object-map,fast-diff,deep-flatten
for kind in "imageFeatures=$features" "dataPool=$data" "imageFeatures=layering,exclusive-lock,journaling mounter=rbd-nbd"; do
	# shellcheck disable=SC2086
	create pvc-k 67108864 $kind
	was=$(write "$image")
	ok "$kind: a snapshot is made" snapshot snapshot-k "$volume"
	is "it has the data" "$(sum "$backing@$backing")" "$was"
	is "and the volume's features and deep-flatten" \
		"$(in_pool info --format json "$backing" | jq -c '.features - ["operations", "journaling"] | sort')" \
		"$(in_pool info --format json "$image" |
			jq -c '.features - ["operations", "journaling"] + ["deep-flatten"] | unique')"
	is "its data pool" "$(in_pool info --format json "$backing" | jq -r .data_pool)" \
		"$(in_pool info --format json "$image" | jq -r .data_pool)"
	is "no flag says that its object map is invalid" \
		"$(in_pool info --format json "$backing" | jq -c .flags)" "[]"
	ok "both are deleted" delete_both
	ok "and nothing is left" wait_for 60 all_is_gone
done

cluster=in-namespace ns=ns
create pvc-n 67108864
was=$(write "$image")
ok "in a RADOS namespace a snapshot is made" snapshot snapshot-n "$volume"
is "with the data" "$(sum "$backing@$backing")" "$was"
is "and its entry" "$(rados -p "$pool" -N ns getomapval "csi.snap.${snap: -36}" csi.source \
	/dev/stdout 2>/dev/null)" "$image"
fails_with INVALID_ARGUMENT "another clusterID than the volume's is refused" \
	snapshot snapshot-n2 "$volume" clusterID="$RBD_CSI_FSID"
ok "both are deleted" delete_both
ok "and nothing is left" wait_for 60 all_is_gone
cluster=$RBD_CSI_FSID ns=

# ---- many at once ----------------------------------------------------------------------------------

create pvc-m 16777216 imageFeatures=layering
for i in {1..64}; do
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" call \
		Controller/CreateSnapshot "{\"name\": \"snapshot-m\", \"sourceVolumeId\": \"$volume\"}" \
		>"$work/many.$i" 2>&1 &
	many[i]=$!
done
wait "${many[@]}"
is "64 callers of one name have one answer" "$(cat "$work"/many.* | jq -r .snapshot.snapshotId |
	sort | uniq -c | awk '{ print $1 }')" 64
is "and there is one snapshot" "$(in_pool ls | grep -c csi-snap-)" 1
snap=$(jq -r .snapshot.snapshotId "$work/many.1")
for i in {1..16}; do
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" call \
		Controller/CreateSnapshot "{\"name\": \"snapshot-m-$i\", \"sourceVolumeId\": \"$volume\"}" \
		>"$work/more.$i" 2>&1 &
	more[i]=$!
done
wait "${more[@]}"
is "16 of one volume are made at once" \
	"$(cat "$work"/more.* | jq -r .snapshot.readyToUse | grep -c true)" 16
for i in {1..16}; do
	unsnapshot "$(jq -r .snapshot.snapshotId "$work/more.$i")" >/dev/null || good=0
done
ok "all are deleted" test "$good" = 1
ok "the volume goes with a snapshot" delete "$volume"
ok "and the last snapshot" unsnapshot "$snap"
ok "nothing is left" wait_for 60 all_is_gone

# ---- chains of clones, and many snapshots -----------------------------------------------------------

restore() { # NAME SNAPSHOT
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg pool "$pool" --arg cluster "$cluster" \
		--argjson capability "$capability" --arg snap "$2" '{
		name: $name, volumeCapabilities: [$capability],
		parameters: {clusterID: $cluster, pool: $pool},
		volumeContentSource: {snapshot: {snapshotId: $snap}}}')" || return
	restored=$(jq -r .volume.volumeId <<<"$reply")
}
create pvc-r 16777216 imageFeatures=$features
write "$image" >/dev/null
ok "a snapshot, and a volume of it" eval "snapshot snap-r '$volume' && restore pvc-r2 \"\$snap\""
kept=$volume kept_image=$image kept_snap=$snap read=$restored
stop_daemon
RBD_CSI_CONFIG=$work/config.json start_daemon --rbdhardmaxclonedepth=1 --rbdsoftmaxclonedepth=1 \
	--maxsnapshotsonimage=3 --minsnapshotsonimage=2 --metrics-address="unix://$work/metrics.sock"
flattened() { http_get "unix://$work/metrics.sock" /metrics |
	sed -n 's/^rbd_csi_flattens_ended_total{result="done"} //p'; }
are_flattened() { (($(flattened) >= $1)); }
parent() { in_pool info --format json "$1" | jq -r .parent.image; }

# Whoever has a volume open reads on in the parents that it had when he opened it.
reader=csi-vol-${read: -36} backing=csi-snap-${kept_snap: -36}
is_read() { [[ $(in_pool status --format json "$reader" | jq '.watchers | length') == 1 ]]; }
held() { "$build/rbd-csictl" --endpoint "$endpoint" ops -o json | tr -d '\n' | grep FLATTENING_HELD; }
is_unnoted() { [[ -z $(rados -p "$pool" listomapkeys csi.flatten.default) ]]; }
has_snapshots() { (($(in_pool snap ls --all --format json "$1" | jq length) > 0)); }
mkfifo "$work/open"
in_pool watch "$reader" <"$work/open" >/dev/null 2>&1 &
exec {open}>"$work/open" # as long as that is open
ok "a volume is open" wait_for 60 is_read
ok "another one of its snapshot, which is flattened for it, does not wait for that" restore pvc-r3 "$kept_snap"
is "the snapshot is no clone any more" "$(parent "$backing")" null
ok "its parent is kept for the open one, and ops shows it" wait_for 60 held
like "with the image that is open" "$(held)" "$reader"
ok "the volume has its snapshot still" has_snapshots "$kept_image"
exec {open}>&-
ok "when it is closed the parent is let go" wait_for 150 is_unnoted
ok "and has no snapshot any more" wait_for 20 eval "! has_snapshots '$kept_image'"
ok "they are deleted" eval "delete '$read' && delete '$restored' && unsnapshot '$kept_snap' && delete '$kept'"

create pvc-d 16777216 imageFeatures=layering
was=$(write "$image")
for i in 1 2 3 4 5; do
	snapshot "snapshot-d$i" "$volume" || good=0
	many[i]=$snap
done
ok "with room for three snapshots five are made" test "$good" = 1
ok "for clones were flattened meanwhile" wait_for 60 are_flattened 1
ok "the volume has no more than it may have" wait_for 60 eval "((\$(in_pool snap ls --all --format json \
	'$image' | jq length) <= 3))"
good=1
for i in 1 2 3 4 5; do
	one=csi-snap-${many[i]: -36}
	[[ $(sum "$one@$one") == "$was" ]] || good=0
done
ok "each snapshot has its data" test "$good" = 1
backing=csi-snap-${snap: -36}
is "the last one is a clone" "$(parent "$backing")" "$image"
ok "a volume is made of it" restore pvc-d2 "$snap"
is "which has waited until it was none" "$(parent "$backing")" null
is "and it has its data" "$(sum "$backing@$backing")" "$was"
is "so has the volume" "$(in_pool export --no-progress "csi-vol-${restored: -36}" - 2>/dev/null |
	head -c 16777216 | md5sum | cut -d' ' -f1)" "$was"
is "no note is left" "$(rados -p "$pool" listomapkeys csi.flatten.default)" ""
for i in 1 2 3 4 5; do unsnapshot "${many[i]}" >/dev/null || good=0; done
ok "all are deleted" eval "test '$good' = 1 && delete '$volume' && delete '$restored'"
ok "and nothing is left" wait_for 60 all_is_gone
stop_daemon
RBD_CSI_CONFIG=$work/config.json start_daemon

# ---- a file system that is being written ---------------------------------------------------------

capability='{"mount": {"fsType": "ext4"}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}'
staging=$work/staging
mkdir -p "$staging" "$work/restored"
create pvc-fs 134217728 mounter=userspace imageFeatures=$features
context=$(jq -c .volume.volumeContext <<<"$reply")
request() { jq -n --arg id "$volume" --argjson context "$context" --argjson capability "$capability" \
	"{volumeId: \$id, volumeContext: \$context, volumeCapability: \$capability} $*"; }
ok "a volume is published" call Controller/ControllerPublishVolume \
	"$(request '+ {nodeId: "test-node"}')"
published=$(jq -c .publishContext <<<"$reply")
ok "and staged" call Node/NodeStageVolume \
	"$(request "+ {stagingTargetPath: \"$staging\", publishContext: $published}")"
mounted=$staging/$volume
# writer: files with their checksums as names, each synced before it is noted
writer() {
	local sum
	while [[ ! -e $work/enough ]]; do
		head -c 200000 /dev/urandom >"$work/random"
		sum=$(md5sum <"$work/random" | cut -d' ' -f1)
		cp "$work/random" "$mounted/$sum" && sync -f "$mounted/$sum" && echo "$sum" >>"$work/synced"
		[[ $(wc -l <"$work/synced") -lt 200 ]] || return
	done
}
are_synced() { (($(wc -l 2>/dev/null <"$work/synced") >= $1)); }
writer &
writing=$!
ok "files are written" wait_for 60 are_synced 10
cp "$work/synced" "$work/expected"
ok "a snapshot is made meanwhile" snapshot snapshot-fs "$volume"
ok "the writer goes on" wait_for 60 are_synced "$(($(wc -l <"$work/expected") + 3))"
touch "$work/enough"
wait "$writing"
in_pool export --no-progress "$backing@$backing" "$work/restored.img" 2>/dev/null
e2fsck -fp "$work/restored.img" >"$work/fsck" 2>&1
rc=$?
ok "fsck replays the journal and finds nothing else" test "$rc" -le 1 || cat "$work/fsck"
ok "nor does a second one" e2fsck -fn "$work/restored.img"
mount -o loop,ro "$work/restored.img" "$work/restored" && defer umount "$work/restored"
lost=0
while read -r sum; do
	[[ $(md5sum <"$work/restored/$sum" | cut -d' ' -f1) == "$sum" ]] || lost=$((lost + 1))
done <"$work/expected"
is "each file that was synced before is in the snapshot, of $(wc -l <"$work/expected")" "$lost" 0
ok "the volume is unstaged" call Node/NodeUnstageVolume \
	"{\"volumeId\": \"$volume\", \"stagingTargetPath\": \"$staging\"}"
ok "unpublished" call Controller/ControllerUnpublishVolume \
	"{\"volumeId\": \"$volume\", \"nodeId\": \"test-node\"}"
ok "the snapshot is deleted" unsnapshot "$snap"
ok "and the volume" delete "$volume"
ok "nothing is left" wait_for 60 all_is_gone
done_testing
