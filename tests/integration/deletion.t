#!/bin/bash
# deletion.t: what DeleteVolume does with images that are not simply its own: renamed ones, clones
# that ceph-csi has made, huge ones, in-tree ones; and that it never says OK for what it has not
# done.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-deletion
ceph osd pool create "$pool" 8 >/dev/null 2>&1
rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it

# In-tree handles name the cluster by the MD5 of its monitors.
mons=$(printf %s "$RBD_CSI_MONITORS" | md5sum | cut -d' ' -f1)
jq --arg id "$mons" '. + [.[0] + {clusterID: $id}]' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json start_daemon --metrics-address="unix://$work/metrics.sock"

create() { # NAME BYTES [IMAGE-FEATURES]
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg bytes "$2" --arg pool "$pool" \
		--arg cluster "$RBD_CSI_FSID" --arg features "${3:-layering}" '{
		name: $name, capacityRange: {requiredBytes: $bytes},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, imageFeatures: $features}}')" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
	image=csi-vol-${volume: -36}
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
has_image() { rbd info "$pool/$1" >/dev/null 2>&1; }
has_entry() { rados -p "$pool" stat "csi.volume.${1: -36}" >/dev/null 2>&1; }
in_trash() { rbd trash ls --all "$pool" | grep -q " $1\$"; }
trash_is_empty() { [[ -z $(rbd trash ls --all "$pool") ]]; }
no_notes() { ! rados -p "$pool" listomapkeys rbd_trash | grep -q "^csi.purge.default/"; }
purges() { # STATE
	http_get "unix://$work/metrics.sock" /metrics |
		sed -n "s/^rbd_csi_purges{state=\"$1\"} //p"
}
purges_are() { [[ $(purges "$1") == "$2" ]]; }

# ---- an administrator's image ----------------------------------------------------------------

ok "a volume is made" create pvc-admin 1073741824
id=$(rados -p "$pool" getomapval "csi.volume.${volume: -36}" csi.imageid /dev/stdout 2>/dev/null)
rados -p "$pool" get "rbd_id.$image" "$work/rbd_id"
rbd rename "$pool/$image" "$pool/kept"
fails_with FAILED_PRECONDITION "a renamed image is not deleted" delete "$volume"
like "its new name is told" "$error" kept
like "and its id" "$error" "$id"
ok "the image is there" has_image kept
ok "so is the journal's entry" has_entry "$volume"
rados -p "$pool" put "rbd_id.$image" "$work/rbd_id"
fails_with FAILED_PRECONDITION "nor is it when the rename was cut off before it had removed the old name" delete "$volume"
like "its id is told" "$error" "$id"
ok "the image is there" has_image kept
ok "and the entry" has_entry "$volume"
ok "nothing is in the trash" trash_is_empty
ok "nor is there a note" no_notes
rbd rename "$pool/kept" "$pool/$image"
rbd rm --no-progress "$pool/$image"
rbd import --no-progress --dest-pool "$pool" /etc/hostname "$image"
fails_with FAILED_PRECONDITION "nor is one that was imported under its name" delete "$volume"
ok "which is there" has_image "$image"
ok "so is the entry" has_entry "$volume"
rbd rm --no-progress "$pool/$image"
ok "what is nowhere is forgotten" delete "$volume"

# ---- a clone that ceph-csi has made ------------------------------------------------------------

# clone_of SOURCE NEW: the images that ceph-csi's CreateVolume makes for a volume from a volume.
clone_of() {
	local clone="rbd clone --rbd-default-clone-format 2"
	rbd snap create --no-progress "$pool/$1@$2-temp" &&
		$clone "$pool/$1@$2-temp" "$pool/$2-temp" &&
		rbd snap rm --no-progress "$pool/$1@$2-temp" &&
		rbd snap create --no-progress "$pool/$2-temp@$2" &&
		$clone "$pool/$2-temp@$2" "$pool/$2"
}
# as_clone SOURCE VOLUME: makes the image of the volume one.
as_clone() {
	local new=csi-vol-${2: -36}
	rbd rm --no-progress "$pool/$new" && clone_of "$1" "$new" &&
		rados -p "$pool" setomapval "csi.volume.${2: -36}" csi.imageid \
			"$(rbd info --format json "$pool/$new" | jq -r .id)"
}

create pvc-source 67108864
source_volume=$volume source_image=$image
create pvc-clone 67108864
clone_volume=$volume clone_image=$image
ok "a volume becomes a clone of another as ceph-csi makes it" as_clone "$source_image" "$clone_volume"
ok "the source is deleted" delete "$source_volume"
ok "it stays in the trash, for the clone hangs on it" in_trash "$source_image"
ok "a metric says that a purge is blocked" wait_for 60 purges_are blocked 1
like "the log names the clone" "$(grep purge.later "$work/csid.log")" "$clone_image-temp"
ok "the clone is deleted" delete "$clone_volume"
ok "its helper has gone with it" eval "! has_image '$clone_image-temp'"
ok "all three are purged, and soon" wait_for 60 trash_is_empty
ok "no note is left" wait_for 60 no_notes
ok "no purge is blocked any more" wait_for 60 purges_are blocked 0

# Another user has another ceph-worker, which knows nothing of what this one waits for.
other=rbd-csi-deletion-$$
defer ceph auth rm "client.$other"
ceph auth get-or-create "client.$other" mon 'profile rbd' osd 'profile rbd' mgr 'profile rbd' >/dev/null
jq -n --arg user "$other" --arg key "$(ceph auth get-key "client.$other")" '{userID: $user, userKey: $key}' \
	>"$work/other.json"
as_other() { local RBD_CSI_SECRETS=$work/other.json; "$@"; }
create pvc-source 67108864
source_volume=$volume source_image=$image
create pvc-clone 67108864
clone_volume=$volume clone_image=$image
as_clone "$source_image" "$clone_volume" >/dev/null
ok "a source is deleted once more" delete "$source_volume"
ok "and held by its clone" wait_for 60 purges_are blocked 1
worker=$(pgrep -P "$csid_pid" -x ceph-worker)
kill -STOP "$worker"
defer eval "kill -CONT $worker 2>/dev/null || true"
ok "another user deletes the clone" as_other delete "$clone_volume"
ok "and his worker purges the source as well" wait_for 60 trash_is_empty
kill -CONT "$worker"
ok "which the other one sees when it tries again" wait_for 120 purges_are blocked 0

create pvc-source 67108864
source_volume=$volume source_image=$image
create pvc-clone 67108864
clone_volume=$volume clone_image=$image
as_clone "$source_image" "$clone_volume" >/dev/null
rbd snap rm --no-progress "$pool/$clone_image-temp@$clone_image"
rbd trash mv "$pool/$clone_image-temp"
ok "a clone whose helper is in the trash already is deleted" delete "$clone_volume"
ok "so is its source" delete "$source_volume"
ok "and all is purged" wait_for 60 trash_is_empty

create pvc-copied 67108864
rbd cp --no-progress "$pool/$image" "$pool/$image-temp"
ok "a volume is deleted" delete "$volume"
ok "a copy that somebody made under the helper's name stays" has_image "$image-temp"
rbd rm --no-progress "$pool/$image-temp"

# ---- huge images -------------------------------------------------------------------------------

# 1 PiB is too large for an object map: 268 million objects there can be, two there are.
huge=()
for i in 1 2 3 4; do
	create "pvc-huge-$i" $((1 << 50))
	huge+=("$volume")
	rbd bench --io-type write --io-size 4096 --io-total 8192 --io-pattern rand \
		"$pool/$image" >/dev/null 2>&1
done
create pvc-small 67108864
objects() { rados -p "$pool" ls | grep -c '^rbd_data\.'; }
ok "there are data of huge images" test "$(objects)" -ge 4
for volume in "${huge[@]}" "$volume"; do
	delete "$volume" >/dev/null || diag "$error"
done
ok "four images of 1 PiB and a small one are purged in seconds" wait_for 60 trash_is_empty
is "with all their data" "$(objects)" 0
ok "no note is left of them" wait_for 60 no_notes

# ---- an orderly end ----------------------------------------------------------------------------

# As in a container, where nothing outlives rbd-csid: what the purges have done by its end counts.
ending=()
for i in 1 2 3 4 5 6 7 8; do
	create "pvc-ending-$i" $((16 << 30))
	ending+=("$volume")
done
for volume in "${ending[@]}"; do
	delete "$volume" >/dev/null || diag "$error"
done
kill -TERM "$csid_pid"
ended() { is_gone "$csid_pid"; }
ok "SIGTERM while images are purged: it ends" wait_for 120 ended
ok "and its workers before it" eval '! ours ceph-worker'
ok "after they have purged them" trash_is_empty
ok "with all their notes" no_notes
wait "$csid_pid"
is "its status is 0" $? 0
is "nothing was cut off" "$(grep -cE ' (drain.timeout|worker.cut) ' "$work/csid.log")" 0
csid_pid=
start_daemon --metrics-address="unix://$work/metrics.sock"

# ---- retention ---------------------------------------------------------------------------------

image_id() { rbd info --format json "$pool/$1" 2>/dev/null | jq -r .id; }
note_of() {
	: >"$work/note"
	rados -p "$pool" getomapval rbd_trash "csi.purge.default/$1" "$work/note" >/dev/null 2>&1
	cat "$work/note"
}
has_no_note() { [[ -z $(note_of "$1") ]]; }
waits() { [[ $(purges waiting) -ge $1 ]]; }

stop_daemon
RBD_CSI_CONFIG=$work/config.json start_daemon --purge-delay=1h --metrics-address="unix://$work/metrics.sock"
create pvc-kept 67108864 layering,exclusive-lock,object-map
kept_image=$image kept_id=$(image_id "$image")
ok "a volume is deleted, to be kept for an hour" delete "$volume"
ok "twice, too" delete "$volume"
ok "its image is in the trash" in_trash "$kept_image"
like "and its note says until when" "$(note_of "$kept_id")" "$kept_image.0@1"
create pvc-journaled 67108864 layering,exclusive-lock
rbd feature enable "$pool/$image" journaling
journaled_image=$image journaled_id=$(image_id "$image")
ok "so is one that librbd has to move" delete "$volume"
like "and its note says until when" "$(note_of "$journaled_id")" "$journaled_image.0@1"
ok "both wait" wait_for 60 waits 2
stop_daemon KILL
ok "a worker that was killed has left them" in_trash "$kept_image"
RBD_CSI_CONFIG=$work/config.json start_daemon --purge-delay=1s --metrics-address="unix://$work/metrics.sock"
create pvc-short 67108864
short_image=$image
ok "another one is deleted, to be kept for a second" delete "$volume"
ok "it is purged then" wait_for 60 eval "! in_trash '$short_image'"
ok "the other two are kept by the next worker" eval "in_trash '$kept_image' && in_trash '$journaled_image'"
ok "one is restored" rbd trash restore "$pool/$kept_id"
ok "and is whole" rbd info "$pool/$kept_image"
stop_daemon
# The hour is over, as far as the notes know.
for id in "$kept_id" "$journaled_id"; do
	rados -p "$pool" setomapval rbd_trash "csi.purge.default/$id" "$(note_of "$id" | sed 's/@.*/@1/')"
done
RBD_CSI_CONFIG=$work/config.json start_daemon --metrics-address="unix://$work/metrics.sock"
create pvc-any 67108864
delete "$volume" >/dev/null
ok "what was restored is not purged" wait_for 60 has_no_note "$kept_id"
ok "it is there" has_image "$kept_image"
ok "what the trash still keeps is not purged either" in_trash "$journaled_image"
rbd rm --no-progress "$pool/$kept_image"
rbd trash rm --no-progress --force "$pool/$journaled_id"
rados -p "$pool" rmomapkey rbd_trash "csi.purge.default/$journaled_id"

# ---- never OK for what was not done ------------------------------------------------------------

hex=$(printf %s "$pool" | od -An -tx1 | tr -d ' \n')
rbd create --size 64M "$pool/kubernetes-dynamic-pvc-77777777-aaaa"
fails_with FAILED_PRECONDITION "an in-tree volume of an unknown cluster is not deleted" \
	delete "mig_mons-0123456789abcdef0123456789abcdef_image-77777777-aaaa_$hex"
fails_with INVALID_ARGUMENT "nor is one whose handle has no pool" \
	delete "mig_mons-${mons}_image-77777777-aaaa"
ok "its image is there" has_image kubernetes-dynamic-pvc-77777777-aaaa
ok "an in-tree volume is deleted" delete "mig_mons-${mons}_image-77777777-aaaa_$hex"
ok "its image is gone" eval "! has_image kubernetes-dynamic-pvc-77777777-aaaa"
ok "and purged" wait_for 60 trash_is_empty
ok "twice it is success, too" delete "mig_mons-${mons}_image-77777777-aaaa_$hex"
fails_with FAILED_PRECONDITION "a volume of an unknown cluster is not deleted" delete \
	0001-0007-nowhere-0000000000000001-5e0a1a7c-1f8b-4e2d-9a43-0c1d2e3f4a5b

# ---- going back to ceph-csi --------------------------------------------------------------------

# What docs/JOURNAL.md says about a purge that was not done, on what a killed rbd-csi leaves.
ok "a volume is made" create pvc-back 67108864
stop_daemon
rbd trash mv "$pool/$image"
id=$(rbd trash ls --all "$pool" | cut -d' ' -f1)
rados -p "$pool" setomapval rbd_trash "csi.purge.default/$id" "$image"
ok "the manager takes what a note names" ceph rbd task add trash remove "$pool/$id"
ok "and removes it" wait_for 60 trash_is_empty
RBD_CSI_CONFIG=$work/config.json start_daemon
ok "the note is void for the next rbd-csi" delete "$volume"
ok "and goes" wait_for 60 no_notes

done_testing
