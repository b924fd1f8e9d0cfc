#!/bin/bash
# krbd-life.t: volumes through their whole life with the kernel's own rbd driver
# shellcheck disable=SC2016 # the variables in single quotes are jq's, or eval's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
start_daemon --mounter-fallback=none
# shellcheck source=volume.sh
. "$(dirname "$0")/volume.sh"

# ---- lives -----------------------------------------------------------------------------------

# life NAME FSTYPE FEATURES [CLUSTER]
life() {
	local what="$2, ${3//,/+}${4:+, in a namespace}"
	echo "# $what"
	use "$1" "$2"
	ok "created: $what" create "$@"
	ok "published to the node" attach
	ok "staged: mapped${2:+, made}, mounted" stage
	is "one device is mapped" "$(mapped)" 1
	is "it is the volume's image" "$(attribute name)" "$image"
	is "in the right namespace" "$(attribute pool_ns)" "${4:+ns1}"
	ok "the key is not in config_info" no_key
	ok "the key is in no keyring" no_key_in_keyrings
	ok "staging again is success" stage
	is "and maps nothing twice" "$(mapped)" 1
	ok "published" publish
	ok "data is written" put_data "$1"
	ok "statistics are told" stats
	fails_with FAILED_PRECONDITION "a volume in use is not deleted" delete
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "nothing is left on the node" nothing_left
	ok "staged again" started stage
	diag "$told"
	ok "published" started publish
	diag "$told"
	ok "the data is there" has_data
	ok "unpublished" started unpublish
	diag "$told"
	ok "unstaged" started unstage
	diag "$told"
	ok "nothing is left on the node" nothing_left
	ok "unpublished from the node" detach
	ok "deleted" delete
}

life ext4-all ext4 "$all_features"
life xfs-ns xfs layering "$RBD_CSI_FSID-ns1"
life block-all block "$all_features"

# ---- restarts --------------------------------------------------------------------------------

echo "# the daemon is killed"
use restarts ext4
ok "created" create restarts ext4 layering
ok "published to the node" attach
ok "staged" stage
ok "published" publish
ok "data is written" put_data restarts
ok "kill -9 of the daemon" stop_daemon KILL
start_daemon --mounter-fallback=none
ok "the new one stages what is staged" stage
is "and maps nothing twice" "$(mapped)" 1
ok "and publishes what is published" publish
is "and binds nothing twice" "$(mounts)" 2
ok "the data is there" has_data
ok "unpublished" unpublish
ok "unmounted behind the daemon's back" umount "$staging/$(jq -r .volumeId <<<"$volume")"
ok "staging finds the mapping that is there" stage
is "and maps nothing twice" "$(mapped)" 1
ok "the record of it is lost" rm "$staging/image-meta.json"
ok "kill -9 of the daemon" stop_daemon KILL
start_daemon --mounter-fallback=none
ok "the new one unstages it all the same" unstage
ok "nothing is left on the node" nothing_left

echo "# mapped by somebody else"
map_elsewhere() {
	echo "$RBD_CSI_MONITORS name=$RBD_CSI_USER,secret=$key rbd $image -" \
		>/sys/bus/rbd/add_single_major
}
ok "the image is mapped behind the daemon's back" map_elsewhere
ok "staged" stage
is "with the mapping that is there" "$(mapped)" 1
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

echo "# read-only"
use restarts ext4 MULTI_NODE_READER_ONLY
ok "staged read-only" stage
is "mapped read-only" "$(cat /sys/block/rbd*/ro)" 1
ok "published" publish
ok "nothing can be written" eval '! touch "$target/x" 2>/dev/null'
ok "the data can be read" has_data
ok "unpublished" unpublish
ok "unstaged" unstage

echo "# growing"
use restarts ext4
ok "the image is made larger" rbd --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" \
	resize --no-progress --size 2G "$image"
ok "staged" stage
ok "published" publish
ok "the file system has grown" eval '(($(stat -f -c "%b * %S" "$target") > 1900000000))'
ok "the data is there" has_data
ok "unpublished" unpublish
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left

echo "# a pool that is renamed, and another one of its old name"
ceph_admin() { timeout 60 ceph -c "$CEPH_CONF" "$@"; }
new_pool() {
	ceph_admin osd pool create "$1" 1 && timeout 60 rbd -c "$CEPH_CONF" pool init "$1"
}
no_pool() { ceph_admin osd pool rm "$1" "$1" --yes-i-really-really-mean-it; }
kept=$volume kept_context=$context kept_image=$image
defer no_pool krbd-old
defer no_pool krbd-new
ok "a pool" new_pool krbd-old
use renamed ext4
create_in() {
	call Controller/CreateVolume "$(jq -nc --argjson cap "$cap" --arg cluster "$RBD_CSI_FSID" '{
		name: "renamed", capacityRange: {requiredBytes: "67108864"}, volumeCapabilities: [$cap],
		parameters: {clusterID: $cluster, pool: "krbd-old", imageFeatures: "layering"}}')" &&
		volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' \
			<<<"$reply") && image=$(jq -r .volumeContext.imageName <<<"$volume")
}
ok "a volume in it" create_in
ok "published to the node" attach
ok "the pool is renamed" ceph_admin osd pool rename krbd-old krbd-new
ok "another one gets its name" new_pool krbd-old
ok "with an image of the same name" timeout 60 rbd -c "$CEPH_CONF" create --size 64M \
	--image-feature layering "krbd-old/$image"
ok "staged, though the name leads to another image now" stage
is "from the right pool" "$(attribute pool)" krbd-new
ok "unstaged" unstage
ok "nothing is left on the node" nothing_left
ok "unpublished" detach
ok "published to the node again" attach
is "with the name of now" "$(jq -r .pool <<<"$context")" krbd-new
ok "staged" stage
is "from the right pool" "$(attribute pool)" krbd-new
ok "unstaged" unstage
ok "unpublished" detach
ok "deleted" delete
volume=$kept context=$kept_context image=$kept_image
use restarts ext4

echo "# refusals"
good=$context
context=$(jq -c '.image = "no-such-image" | del(.imageId)' <<<"$good")
fails_with NOT_FOUND "an image that does not exist" stage
like "says so" "$error" "does not exist"
context=$(jq -c '.pool = "no-such-pool"' <<<"$good") kept=$volume
volume=$(jq -c '.volumeId |= .[:-53] + "00000000000ffff0" + .[-37:]' <<<"$volume")
fails_with NOT_FOUND "a pool that does not exist, by name nor by id" stage
context=$good volume=$kept
jq '.userKey |= (.[:30] + (if .[30:31] == "A" then "B" else "A" end) + .[31:])' \
	"$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with "(PERMISSION_DENIED|UNAUTHENTICATED)" "a wrong key" stage
jq '.userKey = "AAAA"' "$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with INVALID_ARGUMENT "a key that is none" stage
# of 32 random bytes, as Ceph 20.2.4 makes them
new_key=$({ printf '\2\0\0\0\0\0\0\0\0\0\40\0'; head -c 32 /dev/urandom; } | base64 -w 0)
jq --arg key "$new_key" '.userKey = $key' "$RBD_CSI_SECRETS" >"$work/wrong.json"
RBD_CSI_SECRETS=$work/wrong.json fails_with FAILED_PRECONDITION \
	"a key of a type that this kernel does not know" stage
like "says type, kernel, and what to do" "$error" \
	"its type is 2 \(aes256k\), which Linux $(uname -r) cannot use: take Linux 7.0 or later, or"
ok "nothing is left on the node" nothing_left
ok "unpublished from the node" detach
ok "deleted" delete
ok "the key is not in the log" eval '! grep -qF -- "$key" "$work/csid.log"'
done_testing
