#!/bin/bash
# cephx.t: cephxPerVolume: a CephX user for each volume on each node, which can do all with its
# image and nothing with any other object; and service accounts.
# shellcheck disable=SC2016 # the variables in single quotes are jq's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_cluster

mounter=${mounter:-userspace}
short=${short:-} # set: a volume and a clone, for a slow guest
python=${python:-/usr/bin/python3} # ceph's own, which has its modules
prefix=cx$$
pool=$prefix-pool
staging=$work/staging
target=$work/target
mkdir -p "$staging"

admin() { timeout 60 ceph -c "$CEPH_CONF" "$@"; }
no_pool() { admin osd pool rm "$1" "$1" --yes-i-really-really-mean-it; }
users() { admin auth ls --format json 2>/dev/null | jq -r '.auth_dump[].entity' | grep "^client\.rbd-csi\.$1"; }
no_user() { ! users "${1:-}" >/dev/null; }

for name in "$pool" "$pool-data"; do
	defer no_pool "$name"
	admin osd pool create "$name" 4 || bail "no pool"
	admin osd pool application enable "$name" rbd
done 2>/dev/null
timeout 60 rbd namespace create "$pool/ns1" || bail "no namespace"

# ---- who may make users ----------------------------------------------------------------------

# The caps of docs/OPTIONS.md, and no others, are the provisioner's.
may='allow command "auth get-or-create" with entity prefix client.rbd-csi.'
may+=', allow command "auth caps" with entity prefix client.rbd-csi.'
may+=', allow command "auth rm" with entity prefix client.rbd-csi.'
maker=$prefix-maker
defer admin auth rm "client.$maker"
key=$(admin auth get-or-create-key "client.$maker" mon "profile rbd, $may" osd 'profile rbd' mgr 'profile rbd')
# shellcheck disable=SC2034 # for eval
may_not=$RBD_CSI_SECRETS
jq -n --arg user "$maker" --arg key "$key" '{userID: $user, userKey: $key}' >"$work/secrets.json"
RBD_CSI_SECRETS=$work/secrets.json
jq --arg id "$RBD_CSI_FSID" 'map(select(.clusterID == $id)) |
	. + map(.clusterID = "ns1" | .rbd.radosNamespace = "ns1")' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
defer stop_attachds
start_daemon --nodeserver=false
controller=$endpoint
defer eval "csid_pid=$csid_pid; stop_daemon"
endpoint=unix://$work/node.sock
start_daemon --controllerserver=false --statedir="$work/state"
node=$endpoint

# controller_call, node_call: the same on either; a node has no secrets
on_controller() { endpoint=$controller call "$@"; }
on_node() {
	local rc=0
	reply=$("$build/rbd-csictl" --endpoint "$node" call "$1" "$2" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	((rc == 0)) || echo "$error"
	return "$rc"
}

# create NAME [PARAMETERS]: sets volume, uuid and image
create() {
	on_controller Controller/CreateVolume "$(jq -nc --arg name "$prefix-$1" --arg pool "$pool" \
		--arg cluster "$RBD_CSI_FSID" --arg mounter "$mounter" --argjson more "${2:-null}" '{
			name: $name, capacityRange: {requiredBytes: "67108864"},
			volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
			parameters: ({clusterID: $cluster, pool: $pool, cephxPerVolume: "true",
				mounter: $mounter} * ($more // {}))}')" || return
	volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' <<<"$reply")
	uuid=$(jq -r '.volumeId[-36:]' <<<"$volume")
	image=$(jq -r .volumeContext.imageName <<<"$volume")
}
with() {
	jq -c --argjson context "${context:-null}" --arg staging "$staging" --arg target "$target" \
		--arg node "${1:-test-node}" '. + {volumeCapability: {block: {},
		accessMode: {mode: "SINGLE_NODE_WRITER"}}} | '"$2${3:+ | del(.volumeContext)}" <<<"$volume"
}
attach() { on_controller Controller/ControllerPublishVolume "$(with "${1:-}" '. + {nodeId: $node}')" &&
	context=$(jq -c .publishContext <<<"$reply") && take_user; }
detach() { on_controller Controller/ControllerUnpublishVolume \
	"$(with "${1:-}" '{volumeId, nodeId: $node}')"; }
delete() { on_controller Controller/DeleteVolume "$(with "" '{volumeId}')"; }
stage() { on_node Node/NodeStageVolume "$(with "" '. + {stagingTargetPath: $staging, publishContext: $context}')"; }
publish() { on_node Node/NodePublishVolume "$(with "" \
	'. + {stagingTargetPath: $staging, targetPath: $target, publishContext: $context} | '"${1:-.}")"; }
unpublish() { on_node Node/NodeUnpublishVolume "$(with "" '{volumeId, targetPath: $target}')"; }
unstage() { on_node Node/NodeUnstageVolume "$(with "" '{volumeId, stagingTargetPath: $staging}')"; }

# take_user: that the node has got
take_user() {
	user=$(jq -r .userID <<<"$context")
	user_key=$(jq -r .userKey <<<"$context")
}
# as_user ARGUMENT...: a Python script with a session of that user as `cluster`
as_user() {
	local script='import rados, rbd, sys
conf, user, key, pool, namespace = sys.argv[1:6]
with rados.Rados(conffile=conf, rados_id=user, conf={"key": key}) as cluster, \
        cluster.open_ioctx(pool) as io:
    io.set_namespace(namespace)
'
	timeout 120 "$python" -c "$script$(sed 's/^/    /')" "$CEPH_CONF" "$user" "$user_key" "$@"
}
resize() { as_user "$pool" "$1" "$image" "$2" <<<'
with rbd.Image(io, sys.argv[6]) as image:
    image.resize(int(sys.argv[7]))'; }

# id SPEC, prefix_of SPEC: of an image
id_of() { timeout 60 rbd info --format json "$1" | jq -r .id; }
data_of() { timeout 60 rbd info --format json "$1" | jq -r .block_name_prefix; }

# tries POOL NAMESPACE MODE OBJECT...: does all that can be done with each object as the user, and
# prints what succeeded that the mode (none, read) does not allow. The objects are there, or made.
tries() {
	as_user "$@" <<'END'
def omap(name):
    with rados.WriteOpCtx() as op:
        io.set_omap(op, ("x",), (b"x",))
        io.operate_write_op(op, name)
mode, *names = sys.argv[6:]
reads = {"stat": io.stat, "read": lambda name: io.read(name, 1),
         "notify": lambda name: io.notify(name, "x", 1000)}
writes = {"append": lambda name: io.append(name, b"x"), "omap": omap,
          "xattr": lambda name: io.set_xattr(name, "x", b"x"),
          "lock": lambda name: io.lock_exclusive(name, "x", "x"),
          "remove": io.remove_object}
for name in names:
    for what, call in {**(reads if mode == "none" else {}), **writes}.items():
        try:
            print("succeeds:", what, name, call(name))
        except rados.Error as e:
            if e.errno not in (1, 13):
                print(f"{what} {name}: {e}")
for o in io.list_objects():
    print("is listed:", o.key)
print("tried")
END
}
has_size() { [[ $(blockdev --getsize64 "$target" 2>/dev/null) == "$1" ]]; }
refuses() { is "$1" "$(tries "${@:2}" 2>&1)" tried; }

# ---- a volume of each kind -------------------------------------------------------------------

# life NAME SPEC-PREFIX PARAMETERS: its volume is there, perhaps as a clone, and another one beside
# it, in the same place. Everything the node does is done with the node's user.
life() {
	local what=$1 place=$2 ns other data
	ns=${place#"$pool"}
	ns=${ns#/}
	other=$place/$prefix-other-$what
	timeout 60 rbd create -s 8M "$other" "${@:3}" || bail "rbd create"
	timeout 60 rbd bench --io-type write --io-size 4096 --io-total 4096 "$other" >/dev/null
	timeout 60 rados -p "$pool" -N "$ns" create "journal.$(id_of "$other")"

	ok "$what: published" attach
	is "$what: for a user of this volume" "${user%.*}" "rbd-csi.$uuid"
	local first=$context
	ok "$what: once more" attach
	is "$what: with the same key" "$context" "$first"
	ok "$what: staged on a node that has no other key" stage
	ok "$what: and published to a pod" publish
	ok "$what: written" dd if="$work/random" of="$target" bs=1M oflag=direct conv=fsync status=none
	ok "$what: read" cmp -n 16777216 "$work/random" "$target"
	ok "$what: discarded" blkdiscard -o 0 -l 8388608 "$target"
	ok "$what: the rest is there" cmp -n 8388608 -i 8388608 "$work/random" "$target"
	ok "$what: resized by that user" resize "$ns" 100663296
	ok "$what: which the node sees" wait_for 60 has_size 100663296

	data=$(data_of "$other")
	refuses "$what: every other object of the pool is refused" "$pool" "$ns" none \
		"rbd_id.${other##*/}" "rbd_header.$(id_of "$other")" "rbd_object_map.$(id_of "$other")" \
		"$data.0000000000000000" "journal.$(id_of "$other")" "csi.volumes.default" "csi.volume.$uuid"
	refuses "$what: names and trash cannot be changed" "$pool" "$ns" read \
		rbd_directory rbd_trash "rbd_id.$image"
	refuses "$what: nor can the pool's settings" "$pool" "" read rbd_info
	[[ -n $ns ]] && refuses "$what: nor its default namespace" "$pool" "" none \
		"rbd_header.$(id_of "$place/$image")" "rbd_directory" \
		"$(data_of "$place/$image").0000000000000000"
	[[ $data == rbd_data.*.* ]] && refuses "$what: nor others' data in the data pool" "$pool-data" "" \
		none "$data.0000000000000000"
	ok "$what: unpublished" unpublish
	ok "$what: and unstaged" unstage
}

head -c 16777216 /dev/urandom >"$work/random"
fails_with PERMISSION_DENIED "who may not make users is told so" \
	eval 'create probe && RBD_CSI_SECRETS=$may_not attach'
like "with the name of the user" "$error" "make user client.rbd-csi.$uuid"
ok "and the volume can be taken back" detach
ok "and deleted" delete

ok "a volume" create plain
life plain "$pool"
ok "given to another node" detach
is "one node less has a user" "$(users "$uuid" | wc -l)" 0
first=$user
ok "it is published to that" attach other-node
ok "which has a user of its own" test "$user" != "$first"
ok "and taken from it" detach other-node
ok "without anything being left" no_user "$uuid"
ok "taking it again is success" detach other-node
ok "deleting a volume that is published" eval 'attach && delete'
ok "leaves no user" no_user "$uuid"
ok "nor does unpublishing after that" detach

if [[ -z $short ]]; then
ok "a volume with a data pool" create data '{"dataPool": "'"$pool-data"'"}'
life data-pool "$pool" --data-pool "$pool-data"
ok "is detached" detach
ok "and deleted" delete

ok "a volume in a namespace" create ns '{"clusterID": "ns1"}'
life namespace "$pool/ns1"
ok "is detached" detach
ok "and deleted" delete
fi

# Two parents, the first of which is in the trash, as ceph-csi's are at times.
ok "a volume that becomes a clone" create clone
timeout 60 rbd rm --no-progress "$pool/$image"
timeout 60 rbd create -s 64M "$pool/$prefix-grand"
timeout 60 rbd bench --io-type write --io-size 4096 --io-total 4096 "$pool/$prefix-grand" >/dev/null
timeout 60 rbd snap create --no-progress "$pool/$prefix-grand@s"
timeout 60 rbd clone --rbd-default-clone-format 2 "$pool/$prefix-grand@s" "$pool/$prefix-parent"
timeout 60 rbd snap create --no-progress "$pool/$prefix-parent@s"
timeout 60 rbd clone --rbd-default-clone-format 2 "$pool/$prefix-parent@s" "$pool/$image"
grand=$(id_of "$pool/$prefix-grand") parent=$(id_of "$pool/$prefix-parent")
timeout 60 rbd trash mv "$pool/$prefix-grand"
timeout 60 rados -p "$pool" setomapval "csi.volume.$uuid" csi.imageid "$(id_of "$pool/$image")"
life clone "$pool"
timeout 60 rados -p "$pool" create "rbd_data.$parent.0000000000000000"
for one in "$grand" "$parent"; do
	refuses "no parent can be changed" "$pool" "" read "rbd_header.$one" "rbd_data.$one.0000000000000000"
done
caps_of() { admin auth get "client.$user" --format json 2>/dev/null | jq -r '.[0].caps.osd'; }
like "the user may read both parents" "$(caps_of)" "rbd_data.$parent.*rbd_data.$grand"
timeout 60 rbd flatten --no-progress "$pool/$image"
first=$context
ok "when it is flat, it is published anew" attach
is "with the same key" "$(jq .userKey <<<"$context")" "$(jq .userKey <<<"$first")"
ok "and the parents are out of reach" eval '[[ $(caps_of) != *"$parent"* ]]'
ok "it is detached" detach

[[ -z $short ]] || done_testing

# ---- service accounts ------------------------------------------------------------------------

timeout 60 rbd image-meta set "$pool/$image" .rbd.csi.ceph.com/serviceaccount 'one,two'
ok "an image for two service accounts is published" attach
is "and the node is told" "$(jq -r .serviceAccount <<<"$context")" one,two
ok "and staged" stage
pod='.volumeContext["csi.storage.k8s.io/serviceAccount.name"]'
fails_with PERMISSION_DENIED "a pod of another account does not get it" publish "$pod = \"on\""
like "with both names in the text" "$error" 'accounts one,two, not for on$'
ok "nothing is at its path" test ! -e "$target"
ok "a pod of the second one gets it" publish "$pod = \"two\""
fails_with PERMISSION_DENIED "which opens it to nobody else" publish "$pod = \"three\""
ok "and gives it back" unpublish
ok "where nobody tells the account, all get it" publish
ok "which is logged" grep -q 'publish.account' "$work/csid.log"
ok "unpublished" unpublish
ok "unstaged" unstage

# ---- what is gone ----------------------------------------------------------------------------

ok "when the pool is gone" no_pool "$pool"
ok "the node's user goes all the same" detach
ok "and none is left" no_user
is "no key is in the log" "$(grep -cF "$(jq -r .userKey <<<"$context")" "$work/csid.log")" 0
done_testing
