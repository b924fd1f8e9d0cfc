#!/bin/bash
# audit.t: what `rbd-csictl audit` finds in a pool that killed processes and administrators have
# left, that it changes nothing without --repair, and what it mends with it.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-audit
ceph osd pool create "$pool" 8 >/dev/null 2>&1
rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
# shellcheck disable=SC2119 # no options of this script's
start_daemon

create() { # NAME: sets volume, uuid and image
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg pool "$pool" \
		--arg cluster "$RBD_CSI_FSID" '{
		name: $name, capacityRange: {requiredBytes: 67108864},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, imageFeatures: "layering"}}')" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
	uuid=${volume: -36}
	image=csi-vol-$uuid
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
in_trash() { rbd trash ls --all "$pool" | grep -q " $1\$"; }
not() { ! "$@"; }
trash_is_empty() { [[ -z $(rbd trash ls --all "$pool") ]]; }
has_key() { rados -p "$pool" listomapkeys "$1" | grep -q "^$2\$"; } # OBJECT KEY
directory() { rados -p "$pool" "$1" csi.volumes.default "${@:2}"; }
image_id() { rbd info --format json "$pool/$1" | jq -r .id; }

# audit WANTED-STATUS NAME [OPTION...]: passes if it ends so. Sets found, a JSON array.
audit() {
	local want=$1 name=$2 rc=0
	shift 2
	found=$("$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" audit \
		--cluster "$RBD_CSI_FSID" --pool "$pool" -o json "$@" 2>"$work/error") || rc=$?
	is "$name" "$rc" "$want" || diag "$found" "$(<"$work/error")"
}
# finds NAME KIND VOLUME IMAGE [REPAIRED [OBJECT]]: exactly one such finding is there.
finds() {
	is "$1" "$(jq --arg kind "$2" --arg volume "$3" --arg image "$4" --argjson repaired "${5:-false}" \
		--arg object "${6:-}" '
		map(select(.kind == $kind and (.volume // "") == $volume and (.image // "") == $image
			and (.repaired // false) == $repaired and (.object | startswith($object)))) | length' \
		<<<"$found")" 1 || diag "$found"
}
text_of() { jq -r --arg kind "$1" 'map(select(.kind == $kind))[0].text' <<<"$found"; }

# everything: all that the pool has but what is in images.
everything() {
	local object
	for object in $(rados -p "$pool" ls | sort); do
		echo "$object"
		rados -p "$pool" listomapvals "$object"
		case $object in
		rbd_id.*) rados -p "$pool" get "$object" - ;;
		esac
	done | tr '\0' '0'
}
is_as_before() { everything | cmp - "$work/before"; }

# ---- nothing is wrong ------------------------------------------------------------------------

audit 0 "an empty pool has nothing wrong"
is "and an empty answer" "$(jq length <<<"$found")" 0
for i in 1 2 3; do create "healthy-$i" || diag "$error"; done
healthy=$volume
rbd create --size 1M "$pool/somebodys"
rbd create --size 1M "$pool/csi-vol-mine"
everything >"$work/before"
audit 0 "nor have healthy volumes, and images of others"
audit 0 "and there is nothing to repair" --repair
ok "which nothing has changed" is_as_before

# ---- what is left behind ----------------------------------------------------------------------

# by a deletion that was cut off (ceph-csi removes the entry before the key)
create no-entry && delete "$volume" && wait_for 60 not in_trash "$image"
directory setomapval csi.volume.no-entry "$uuid"
# by a lost journal
create lost && lost=$image && rados -p "$pool" rm "csi.volume.$uuid"
# by administrators
create gone && gone=$image && rbd rm --no-progress "$pool/$image"
create renamed && renamed=$image && rbd rename "$pool/$image" "$pool/kept"
create trashed && trashed=$image && rbd trash mv "$pool/$image"
# by a creation that was cut off, at its begin and at its end
directory setomapval csi.reserve.begun csi-vol-11111111-2222-4333-8444-555555555555
create made && made=$image made_uuid=$uuid
directory rmomapkey csi.volume.made
directory setomapval csi.reserve.made "$image"
# by ceph-csi: an image that no journal knows, and a helper without its clone
orphan=csi-vol-aaaaaaaa-2222-4333-8444-555555555555
helper=csi-vol-bbbbbbbb-2222-4333-8444-555555555555-temp
rbd create --size 1M "$pool/$orphan"
rbd create --size 1M "$pool/$helper"
# by a move to the trash that was killed before its last step: the state is the entry's last byte
create moving && moving=$image
id=$(image_id "$image")
rbd trash mv "$pool/$image"
rados -p "$pool" rm "csi.volume.$uuid"
directory rmomapkey csi.volume.moving
rados -p "$pool" getomapval rbd_trash "id_$id" "$work/entry" >/dev/null
{ head -c -1 "$work/entry" && printf '\001'; } | rados -p "$pool" setomapval rbd_trash "id_$id"
# by a purge: a note without an image, and one whose image has a clone
rados -p "$pool" setomapval rbd_trash csi.purge.default/123456789abc csi-vol-cccccccc-2222-4333-8444-555555555555
create source && source_image=$image
rbd snap create --no-progress "$pool/$image@s"
rbd clone --rbd-default-clone-format 2 "$pool/$image@s" "$pool/the-clone"
rbd snap rm --no-progress "$pool/$image@s"
ok "a volume that has a clone is deleted" delete "$volume"
# by ceph-csi's deletion whose task the manager has lost
left=csi-vol-dddddddd-2222-4333-8444-555555555555
rbd create --size 1M "$pool/$left" && rbd trash mv "$pool/$left"
# by a volume that was made anew under its name
create anew && anew=$image && rbd trash mv "$pool/$anew" && rbd create --size 1M "$pool/$anew"
rados -p "$pool" setomapval "csi.volume.$uuid" csi.imageid "$(image_id "$anew")"
# of snapshots: a key without its entry, a creation that was cut off, an image that no entry knows
snapshots() { rados -p "$pool" "$1" csi.snaps.default "${@:2}"; }
rados -p "$pool" create csi.snaps.default
snapshots setomapval csi.snap.no-entry eeeeeeee-2222-4333-8444-555555555555
snapshots setomapval csi.reserve.begun csi-snap-ffffffff-2222-4333-8444-555555555555
snap_orphan=csi-snap-aaaaaaaa-2222-4333-8444-555555555555
rbd create --size 1M "$pool/$snap_orphan"
# and a snapshot of a volume for a copy that was never made
create cut-off && cut_off=$image
rbd snap create --no-progress "$pool/$cut_off@csi-snap-bbbbbbbb-2222-4333-8444-555555555555"
rbd snap create --no-progress "$pool/$cut_off@somebodys"

# an entry without a key, and one that nobody knows: long ago, and just now
in_python() {
	timeout 60 /usr/bin/python3 -c 'import rados, struct, sys
with rados.Rados(conffile="") as cluster, cluster.open_ioctx(sys.argv[1]) as io:
'"$(sed 's/^/    /')" "$pool" "$@"
}
create keyless && keyless=$image keyless_volume=$volume
directory rmomapkey csi.volume.keyless
old=csi.volume.12121212-2222-4333-8444-555555555555 new=csi.volume.13131313-2222-4333-8444-555555555555
rados -p "$pool" setomapval "$new" csi.volname new
in_python "$old" <<'END'
import time
with rados.WriteOpCtx() as op:
    io.set_omap(op, ("csi.volname",), (b"old",))
    io.operate_write_op(op, sys.argv[2], mtime=int(time.time()) - 7200)
END
# who has the volume that an image was copied from, beside who has it
create records && records=$image
meta() { rbd image-meta "$1" "$pool/$records" "${@:2}"; }
meta set ".rbd.csi.ceph.com/published/$(image_id "$records")/node-1" rw
meta set ".rbd.csi.ceph.com/userid/$volume/node-1" x
meta set .rbd.csi.ceph.com/published/123456789abc/node-2 rw
meta set ".rbd.csi.ceph.com/userid/$keyless_volume/node-2" x
# a snapshot of a copy that has gone, and that nobody has freed
create unneeded && unneeded=$image
rbd snap create --no-progress "$pool/$unneeded@x"
in_python "$(image_id "$unneeded")" "$(rbd snap ls --format json "$pool/$unneeded" | jq '.[0].id')" <<'END'
io.execute("rbd_header." + sys.argv[2], "rbd", "snapshot_trash_add",
           struct.pack("<Q", int(sys.argv[3])))
END

all_found() {
	finds "an entry that nothing leads to" entry-without-key old csi-vol-"${old: -36}" "${1:-false}"
	finds "but not one of just now" entry-without-key new csi-vol-"${new: -36}"
	finds "an entry whose key is gone, but not its image" entry-without-key keyless "$keyless"
	finds "records of another volume" stale-record "" "$records" "${1:-false}"
	finds "a snapshot that nobody needs" snapshot-unneeded "" "$unneeded" "${1:-false}"
	finds "a key whose entry and image are gone" key-without-entry no-entry "" "${1:-false}" csi.volumes
	finds "a key whose entry is gone, but not its image" key-without-entry lost "$lost"
	finds "the image of that" image-without-entry "" "$lost"
	finds "a volume whose image is gone" image-gone gone "$gone"
	finds "one whose image was renamed" image-elsewhere renamed "$renamed"
	finds "one whose image is in the trash" image-in-trash trashed "$trashed"
	finds "a reservation without an image" reservation begun \
		csi-vol-11111111-2222-4333-8444-555555555555 "${1:-false}"
	finds "a reservation with a whole image" reservation made "$made"
	finds "an image that no entry knows" image-without-entry "" "$orphan"
	finds "a helper without its clone" helper-left "" "$helper"
	finds "a move to the trash that was cut off" trash-moving "" "$moving" "${1:-false}"
	finds "a note without an image" void-note "" \
		csi-vol-cccccccc-2222-4333-8444-555555555555 "${1:-false}"
	finds "a purge that is blocked" purge-blocked "" "$source_image"
	like "which names the clone" "$(text_of purge-blocked)" "$pool/the-clone"
	like "where a renamed image is, is told" "$(text_of image-elsewhere)" kept
	finds "a deleted image that nobody purges" trash-left "" "$left"
	finds "the old image of a volume that was made anew" trash-old "" "$anew"
	finds "a snapshot's key whose entry and image are gone" key-without-entry no-entry "" "${1:-false}" csi.snaps
	finds "a snapshot's reservation without an image" reservation begun \
		csi-snap-ffffffff-2222-4333-8444-555555555555 "${1:-false}"
	finds "a snapshot's image that no entry knows" image-without-entry "" "$snap_orphan"
	finds "a snapshot for a copy that was cut off" snapshot-left "" "$cut_off"
	is "and nothing else is found" "$(jq length <<<"$found")" 24
}

everything >"$work/before"
audit 1 "all of it is found"
all_found
ok "and nothing is changed" is_as_before

audit 1 "repair mends some of it" --repair
all_found true
ok "the key is gone" not has_key csi.volumes.default csi.volume.no-entry
ok "and the reservation" not has_key csi.volumes.default csi.reserve.begun
ok "the entry is gone" not rados -p "$pool" stat "$old"
ok "but not the new one" rados -p "$pool" stat "$new"
is "and the records of others" "$(meta list --format json | jq -c 'keys | map(select(test("node-"))) | length')" 2
ok "but not those of its own" meta get ".rbd.csi.ceph.com/published/$(image_id "$records")/node-1"
is "and the snapshot" "$(rbd snap ls --all --format json "$pool/$unneeded" | jq length)" 0
ok "and those of snapshots" test -z "$(snapshots listomapkeys)"
ok "and the note" not has_key rbd_trash csi.purge.default/123456789abc
ok "the manager can remove the image of the move" ceph rbd task add trash remove "$pool/$id"
ok "and does" wait_for 60 not in_trash "$moving"
for kept in "$lost" kept "$made" "$orphan" "$helper"; do
	ok "image $kept is there" rbd info "$pool/$kept"
done
ok "the reservation of a whole image, too" has_key csi.volumes.default csi.reserve.made

audit 1 "the rest is found again"
is "and no more" "$(jq length <<<"$found")" 15
audit 1 "and again by a second repair" --repair
is "which mends none of it" "$(jq 'map(select(.repaired)) | length' <<<"$found")" 0
ok "a creation that was cut off goes on" create made
is "to the volume that was made" "$image" "$made"

# ---- what an administrator ends by hand --------------------------------------------------------

directory rmomapkey csi.volume.made
directory setomapval csi.reserve.made "$made"
rbd rm --no-progress "$pool/$made"
audit 1 "a reservation whose image was removed is mended" --repair
finds "it is repaired" reservation made "$made" true
ok "its entry is gone, too" not rados -p "$pool" stat "csi.volume.$made_uuid"
rbd rename "$pool/kept" "$pool/$renamed"
rbd trash restore "$pool/$(rbd trash ls --all "$pool" | grep " $trashed\$" | cut -d' ' -f1)"
rbd rm --no-progress "$pool/$orphan"
rbd rm --no-progress "$pool/$snap_orphan"
rbd snap purge --no-progress "$pool/$cut_off"
for image in "$left" "$anew"; do
	rbd trash rm --no-progress "$pool/$(rbd trash ls --all "$pool" | grep " $image\$" | cut -d' ' -f1)"
done
rbd rm --no-progress "$pool/$helper"
rbd rm --no-progress "$pool/the-clone"
ok "a lost entry is completed" create lost
ok "a volume without its image is made anew" create gone
ok "the purge goes on when the clone is gone" wait_for 150 not in_trash "$source_image"
ok "a healthy volume is deleted" delete "$healthy"
ok "and purged" wait_for 60 trash_is_empty
rados -p "$pool" rm "$new"
ok "a volume without a key is deleted by its ID" delete "$keyless_volume"
audit 0 "then nothing is wrong any more"

# ---- users -----------------------------------------------------------------------------------

# user UUID NODE POOL: as cephxPerVolume has it
user() {
	defer ceph auth rm "client.rbd-csi.$1.$2"
	ceph auth add "client.rbd-csi.$1.$2" mon 'profile rbd' osd "allow r class-read pool=\"$3\" namespace=\"\" object_prefix \"rbd_id.csi-vol-$1\", allow rwx pool=\"$3\" namespace=\"\" object_prefix \"rbd_header.0123456789ab\""
} 2>/dev/null
has_user() { ceph auth get "client.rbd-csi.$1"; }
like "users are not looked at by who may not list them" "$(<"$work/error")" 'not looked at: users .*auth ls'
jq -n --arg key "$(ceph auth get-key client.admin)" '{userID: "admin", userKey: $key}' >"$work/admin.json"
secrets=$RBD_CSI_SECRETS
RBD_CSI_SECRETS=$work/admin.json
create used && used=${volume: -36} volume_used=$volume
lone=14141414-2222-4333-8444-555555555555
user "$lone" 0123456789abcdef "$pool"
user "$lone" fedcba9876543210 rbd
user "$used" 0123456789abcdef "$pool"
defer ceph auth rm client.rbd-csi.mine
ceph auth add client.rbd-csi.mine mon 'profile rbd' 2>/dev/null
audit 1 "a user without a volume is found"
finds "by its volume's image" user-without-volume "" "csi-vol-$lone"
is "and no other one" "$(jq length <<<"$found")" 1
is "all users were looked at" "$(<"$work/error")" ""
audit 0 "repair removes it" --repair
ok "it is gone" not has_user "$lone.0123456789abcdef"
for kept in "$lone.fedcba9876543210" "$used.0123456789abcdef" mine; do
	ok "user $kept is not" has_user "$kept"
done
RBD_CSI_SECRETS=$secrets
ok "the volume is deleted" delete "$volume_used"

# ---- pages, people, and wrong usage ------------------------------------------------------------

# many COUNT: reservations without images, set in one operation.
many() {
	python3 - "$pool" "$1" <<'END'
import ctypes, sys

lib = ctypes.CDLL("librados.so.2")
lib.rados_create_write_op.restype = ctypes.c_void_p
pool, count = sys.argv[1].encode(), int(sys.argv[2])
keys = [b"csi.reserve.many-%03d" % i for i in range(count)]
values = [b"csi-vol-%08d-2222-4333-8444-555555555555" % i for i in range(count)]
strings = ctypes.c_char_p * count
lengths = (ctypes.c_size_t * count)(*map(len, values))
cluster, io = ctypes.c_void_p(), ctypes.c_void_p()
op = ctypes.c_void_p(lib.rados_create_write_op())
assert lib.rados_create(ctypes.byref(cluster), None) == 0
assert lib.rados_conf_read_file(cluster, None) == 0
assert lib.rados_connect(cluster) == 0
assert lib.rados_ioctx_create(cluster, pool, ctypes.byref(io)) == 0
lib.rados_write_op_omap_set(op, strings(*keys), strings(*values), lengths, ctypes.c_size_t(count))
assert lib.rados_write_op_operate(op, io, b"csi.volumes.default", None, 0) == 0
lib.rados_ioctx_destroy(io)
lib.rados_shutdown(cluster)
END
}

ok "300 creations are cut off" many 300
audit 1 "more than a page holds is found"
is "all of it" "$(jq length <<<"$found")" 300
audit 0 "and mended" --repair
is "all of it, too" "$(jq 'map(select(.repaired)) | length' <<<"$found")" 300

directory setomapval csi.reserve.begun csi-vol-11111111-2222-4333-8444-555555555555
ctl 1 "people get a table" --secrets "$RBD_CSI_SECRETS" audit --cluster "$RBD_CSI_FSID" --pool "$pool"
like "with what was found" "$reply" 'reservation +found +begun'
like "and how much" "$reply" '1 found, 0 repaired'
ctl 0 "--help is no failure" audit --help
ctl 2 "a pool is needed" audit --cluster x
ctl 2 "a format is table or json" audit --cluster x --pool y -o xml
ctl 2 "without secrets it fails" audit --cluster "$RBD_CSI_FSID" --pool "$pool"
like "and says so" "$error" 'INVALID_ARGUMENT: secrets: missing'
ctl 2 "a pool that is not there is a failure" --secrets "$RBD_CSI_SECRETS" \
	audit --cluster "$RBD_CSI_FSID" --pool nowhere
like "which is named" "$error" 'nowhere'
ctl 2 "so is an unknown cluster" --secrets "$RBD_CSI_SECRETS" audit --cluster nowhere --pool "$pool"

done_testing
