# shellcheck shell=bash disable=SC2034,SC2154
# fixtures.sh: objects as ceph-csi 3.17 lays them out (its internal/journal and internal/rbd), made
# with `rados` and `rbd` alone; and what is there, as text. A test sources it after lib.sh:
#
#   fx_pool=rbd
#   fixture_volume one pvc-one
#   call Controller/DeleteVolume "{\"volume_id\": \"$fx_id\"}"
#
# fx_pool is the pool, fx_ns its RADOS namespace ("" is the default one), fx_cluster the clusterID.
# Each fixture sets fx_uuid, fx_image and fx_id, the CSI ID.
fx_pool=rbd
fx_ns=
fx_cluster=$RBD_CSI_FSID

fx_rados() { timeout 60 rados -p "$fx_pool" ${fx_ns:+-N "$fx_ns"} "$@"; }
fx_rbd() { timeout 60 rbd "$@"; }
fx_spec() { echo "$fx_pool/${fx_ns:+$fx_ns/}$1"; }

# fx_value OBJECT KEY: the value of a key of an omap; fails if there is none
fx_value() {
	{ fx_rados getomapval "$1" "$2" /dev/fd/3 >/dev/null 2>&1; } 3>&1
}

# fixture_keys OBJECT KEY VALUE...: an omap
fixture_keys() {
	local object=$1
	shift
	while (($#)); do
		fx_rados setomapval "$object" "$1" "$2" || return
		shift 2
	done
}

# fixture_forget OBJECT KEY...: what a fixture is to lack
fixture_forget() {
	local object=$1 key
	shift
	for key; do fx_rados rmomapkey "$object" "$key" || return; done
}

# fixture_pool_id NAME: sets fx_pool_id; asks once for each pool
declare -A _fixture_pools
fixture_pool_id() {
	[[ -n ${_fixture_pools[$1]:-} ]] || _fixture_pools[$1]=$(timeout 60 ceph osd pool ls detail -f json |
		jq --arg name "$1" '.[] | select(.pool_name == $name).pool_id')
	fx_pool_id=${_fixture_pools[$1]}
}
fixture_image_id() { fx_rbd info "$(fx_spec "$1")" --format json | jq -r .id; }

# _fixture_new: fx_uuid and fx_id of a new volume or snapshot
_fixture_new() {
	fx_uuid=$(</proc/sys/kernel/random/uuid)
	fixture_pool_id "$fx_pool"
	printf -v fx_id '0001-%04x-%s-%016x-%s' ${#fx_cluster} "$fx_cluster" "$fx_pool_id" "$fx_uuid"
}

# fixture_entry NAME: the journal of fx_image as ceph-csi makes it: entry, key, attributes, image id
fixture_entry() {
	fixture_keys csi.volumes.default "csi.volume.$1" "$fx_uuid" &&
		fixture_keys "csi.volume.$fx_uuid" csi.volname "$1" csi.imagename "$fx_image" \
			csi.imageid "$(fixture_image_id "$fx_image")"
}

# fixture_meta IMAGE KEY VALUE...: metadata
fixture_meta() {
	local spec
	spec=$(fx_spec "$1")
	shift
	while (($#)); do
		fx_rbd image-meta set "$spec" "$1" "$2" || return
		shift 2
	done
}
# _fixture_unname IMAGE volume|snapshot: takes away what names the source, which librbd has copied
_fixture_unname() {
	local key own='pv/|pvc/'
	[[ $2 == volume ]] || own=volumesnapshot
	fx_rbd image-meta ls "$(fx_spec "$1")" --format json |
		jq -r --arg own "^csi.storage.k8s.io/($own)|^csi.ceph.com/(cluster/name|mounter)$" \
			'keys[] | select(test($own))' >"$work/keys" || return
	while read -r key; do fx_rbd image-meta remove "$(fx_spec "$1")" "$key" || return; done <"$work/keys"
}

# fixture_volume NAME [RBD-OPTION...]: a volume of 16 MiB
fixture_volume() {
	local name=$1
	shift
	_fixture_new
	fx_image=csi-vol-$fx_uuid
	fx_rbd create --size 16M --image-feature layering,exclusive-lock,object-map,fast-diff,deep-flatten \
		"$@" "$(fx_spec "$fx_image")" &&
		fixture_entry "$name"
}

# _fixture_copy FROM SNAPSHOT TO [FEATURES]: TO is a clone (format 2) of FROM@SNAPSHOT
_fixture_copy() {
	fx_rbd clone --rbd-default-clone-format 2 ${4:+--image-feature "$4"} "$(fx_spec "$1")@$2" "$(fx_spec "$3")"
}

# fixture_clone NAME SOURCE-IMAGE: a clone of a volume, with its helper image NEW-temp, which has
# the snapshot NEW for good; the snapshot on the source goes at once. Without imageFeatures the helper has what
# it needs, and its clone the same, as librbd does it.
fixture_clone() {
	_fixture_new
	fx_image=csi-vol-$fx_uuid
	fx_rbd snap create "$(fx_spec "$2")@$fx_image-temp" &&
		_fixture_copy "$2" "$fx_image-temp" "$fx_image-temp" layering,deep-flatten &&
		fx_rbd snap rm "$(fx_spec "$2")@$fx_image-temp" &&
		_fixture_unname "$fx_image-temp" volume &&
		fx_rbd snap create "$(fx_spec "$fx_image-temp")@$fx_image" &&
		_fixture_copy "$fx_image-temp" "$fx_image" "$fx_image" &&
		fixture_entry "$1"
}

# fixture_snapshot NAME SOURCE-IMAGE: a snapshot: a clone of the source with one snapshot of its own
# name
fixture_snapshot() {
	_fixture_new
	fx_image=csi-snap-$fx_uuid
	fx_rbd snap create "$(fx_spec "$2")@$fx_image" &&
		_fixture_copy "$2" "$fx_image" "$fx_image" &&
		fx_rbd snap rm "$(fx_spec "$2")@$fx_image" &&
		fx_rbd snap create "$(fx_spec "$fx_image")@$fx_image" &&
		_fixture_unname "$fx_image" volume &&
		fixture_keys csi.snaps.default "csi.snap.$1" "$fx_uuid" &&
		fixture_keys "csi.snap.$fx_uuid" csi.snapname "$1" csi.imagename "$fx_image" \
			csi.imageid "$(fixture_image_id "$fx_image")" csi.source "$2"
}

# fixture_restore NAME SNAPSHOT-IMAGE: a volume made of a snapshot
fixture_restore() {
	_fixture_new
	fx_image=csi-vol-$fx_uuid
	_fixture_copy "$2" "$2" "$fx_image" && _fixture_unname "$fx_image" snapshot && fixture_entry "$1"
}

# fixture_encrypted KEY: the marks of block encryption on fx_image, under the name of a metadata key
fixture_encrypted() {
	fixture_keys "csi.volume.$fx_uuid" csi.volume.encryptKMS default csi.volume.encryptionType block &&
		fx_rbd image-meta set "$(fx_spec "$fx_image")" "$1" encrypted
}

# fixture_dump KIND NAME UUID IMAGE: everything that is known of a volume ("volume") or a snapshot
# ("snap"), key by key: directory, entry, metadata, snapshots, features. What differs from one to
# the next of its kind has a name in capitals.
fixture_dump() {
	local kind=$1 name=$2 uuid=$3 image=$4 id
	id=$(fixture_image_id "$image")
	{
		echo "directory csi.$kind.$name = $(fx_value "csi.${kind}s.default" "csi.$kind.$name")"
		fx_rados listomapvals "csi.$kind.$uuid" | _fixture_omap entry
		_fixture_image "$image"
		! fx_rbd info "$(fx_spec "$image-temp")" >/dev/null 2>&1 || _fixture_image "$image-temp" | sed 's/^/helper /'
	} | sed -e "s/$uuid/UUID/g" -e "s/$id/ID/g" -e "s/$name/NAME/g" | sort
}

# _fixture_image NAME: an image; a snapshot in the trash has another name each time
_fixture_image() {
	local spec
	spec=$(fx_spec "$1")
	fx_rbd image-meta ls "$spec" --format json | jq -r 'to_entries[] | "metadata \(.key) = \(.value)"'
	fx_rbd snap ls --all "$spec" --format json | jq -r '.[] | "snapshot \(if .namespace.type == "trash"
		then "in the trash, \(.namespace.original_name)" else .name end) of \(.size)"'
	fx_rbd info "$spec" --format json | jq -r '"features \(.features | join(","))", "size \(.size)",
		"objects \(.object_size)", "of the operations \(.op_features | join(","))", "data pool \(.data_pool)",
		"stripes of \(.stripe_unit) over \(.stripe_count)",
		(.parent // empty | "parent \(.pool)/\(.pool_namespace)/\(.image)@\(.snapshot |
			if test("^[0-9a-f]{8}-") then "in the trash" else . end) of \(.overlap)")'
}

# `rados listomapvals` as "WHAT KEY = TEXT"
_fixture_omap() {
	python3 -c '
import re, sys
key, text = None, b""
def out():
    if key is not None:
        print(sys.argv[1], key, "=", text.decode())
for line in sys.stdin:
    dump = re.match(r"^[0-9a-f]{8}  ((?:[0-9a-f]{2} {1,2})+)", line)
    if dump:
        text += bytes.fromhex(dump[1].replace(" ", ""))
    elif line.strip() and not line.startswith("value (") and not re.match(r"^[0-9a-f]{8}$", line.strip()):
        out()
        key, text = line.strip(), b""
out()' "$1"
}

# fixture_is_gone KIND NAME UUID IMAGE: nothing of it is left but what waits for its purge
fixture_is_gone() {
	! fx_value "csi.${1}s.default" "csi.$1.$2" &&
		! fx_rados stat "csi.$1.$3" >/dev/null 2>&1 &&
		! fx_rbd info "$(fx_spec "$4")" >/dev/null 2>&1
}
