#!/bin/bash
# fencing.t: what Kubernetes is asked: a node that is out of service is shut out of the cluster before its
# volume goes to another one; credentials by controllerPublishSecretRef. Two nodes on this machine, and
# an API server that answers from files.
# shellcheck disable=SC2016 # the variables in single quotes are jq's
. "$(dirname "$0")/lib.sh"
need_cluster

prefix=fe$$
admin() { timeout 60 ceph -c "$CEPH_CONF" "$@"; }

# ---- Kubernetes ------------------------------------------------------------------------------

kube=$work/kube
mkdir -p "$kube/api/v1/nodes" "$kube/api/v1/namespaces/ceph/secrets" "$work/account"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=kube -addext subjectAltName=IP:127.0.0.1 \
	-keyout "$work/kube.key" -out "$work/account/ca.crt" 2>/dev/null || bail "no certificate"
echo sesame >"$work/account/token"
start_kube() {
	cat >"$work/kube.py" <<'END'
import http.server, pathlib, ssl, sys
root, cert, key, port = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        file = pathlib.Path(root + self.path)
        known = self.headers["Authorization"] == "Bearer sesame"
        body = file.read_bytes() if known and file.is_file() else b"{}"
        self.send_response(401 if not known else 200 if file.is_file() else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
pathlib.Path(root + "/port").write_text(str(server.server_port))
server.serve_forever()
END
	python3 "$work/kube.py" "$kube" "$work/account/ca.crt" "$work/kube.key" "$1" 2>"$work/kube.log" &
	kube_pid=$!
	wait_for 60 test -s "$kube/port" || bail "no API server"
}
stop_kube() { kill "$kube_pid" 2>/dev/null; wait "$kube_pid" 2>/dev/null; rm -f "$kube/port"; }
defer eval 'stop_kube; true'
start_kube 0
export KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT
KUBERNETES_SERVICE_PORT=$(<"$kube/port")
# in_service NODE, out_of_service NODE
in_service() {
	jq -n '{spec: {taints: [{key: "node.kubernetes.io/not-ready", effect: "NoExecute"},
		{key: "node.kubernetes.io/out-of-service", effect: "PreferNoSchedule"}]}}' >"$kube/api/v1/nodes/$1"
}
out_of_service() {
	jq -n '{spec: {taints: [{key: "node.kubernetes.io/out-of-service", value: "nodeshutdown",
		effect: "NoExecute"}]}}' >"$kube/api/v1/nodes/$1"
}
in_service node-a
in_service node-b

# ---- two nodes and a controller --------------------------------------------------------------

jq --arg id "$RBD_CSI_FSID" 'map(select(.clusterID == $id)) | . + map(.clusterID = "ref" |
	.rbd.controllerPublishSecretRef = {name: "csi", namespace: "ceph"})' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
defer stop_attachds
fences=(--enable-fencing --kube-path="$build/rbd-csi-kube" --serviceaccount-dir="$work/account")
mkdir "$work/credentials"
start_daemon --nodeserver=false --credentials-dir="$work/credentials" "${fences[@]}"
controller=$endpoint
defer eval "csid_pid=$csid_pid; stop_daemon"
for node in a b; do
	endpoint=unix://$work/$node.sock
	mkdir -p "$work/state/$node" "$work/staging-$node"
	start_daemon --controllerserver=false --nodeid="node-$node" --statedir="$work/state/$node" "${fences[@]}"
	declare "node_$node=$csid_pid"
	defer eval "csid_pid=$csid_pid; stop_daemon"
done

mode=SINGLE_NODE_WRITER
features=layering,exclusive-lock
on() {
	local rc
	endpoint=unix://$work/$1.sock call "${@:2}"
	rc=$?
	return "$rc"
}
on_controller() { endpoint=$controller call "$@"; }
plain() {
	local rc=0
	reply=$("$build/rbd-csictl" --endpoint "$controller" call "$@" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	((rc == 0)) || echo "$error"
	return "$rc"
}
create() {
	on_controller Controller/CreateVolume "$(jq -nc --arg name "$prefix-$1" \
		--arg cluster "${2:-$RBD_CSI_FSID}" --arg mode "$mode" --arg features "$features" '{name: $name, capacityRange: {requiredBytes: "67108864"},
			volumeCapabilities: [{block: {}, accessMode: {mode: $mode}}],
			parameters: {clusterID: $cluster, pool: "rbd", mounter: "userspace",
				imageFeatures: $features}}')" || return
	volume=$(jq -c '{volumeId: .volume.volumeId, volumeContext: .volume.volumeContext}' <<<"$reply")
	id=$(jq -r .volumeId <<<"$volume")
	image=$(jq -r .volumeContext.imageName <<<"$volume")
}
# with NODE FILTER
with() {
	jq -c --argjson context "${context:-null}" --arg node "$1" --arg staging "$work/staging-$1" \
		--arg target "$work/target-$1" --arg mode "$mode" '. + {volumeCapability: {block: {},
		accessMode: {mode: $mode}}} | '"$2" <<<"$volume"
}
attach() { on_controller Controller/ControllerPublishVolume "$(with "$1" '. + {nodeId: ("node-" + $node)}')" &&
	context=$(jq -c .publishContext <<<"$reply"); }
detach() { on_controller Controller/ControllerUnpublishVolume "$(with "$1" '{volumeId, nodeId: ("node-" + $node)}')"; }
stage() { on "$1" Node/NodeStageVolume "$(with "$1" '. + {stagingTargetPath: $staging, publishContext: $context}')" &&
	on "$1" Node/NodePublishVolume "$(with "$1" \
		'. + {stagingTargetPath: $staging, targetPath: $target, publishContext: $context}')"; }
unstage() { on "$1" Node/NodeUnpublishVolume "$(with "$1" '{volumeId, targetPath: $target}')" &&
	on "$1" Node/NodeUnstageVolume "$(with "$1" '{volumeId, stagingTargetPath: $staging}')"; }
delete() { on_controller Controller/DeleteVolume "$(with "" '{volumeId}')"; }
meta() { timeout 60 rbd image-meta get "rbd/$image" ".rbd.csi.ceph.com/$1" 2>/dev/null; }
image_id() { timeout 60 rbd info --format json "rbd/$image" | jq -r .id; }
client_of() { meta "client/$(image_id)/node-$1"; }
records() { timeout 60 rbd image-meta ls "rbd/$image" --format json | jq -r 'keys[] | select(contains("node-"))'; }
blocklisted() { admin osd blocklist ls 2>/dev/null | grep -qF "$1 "; }
fill() { head -c 1048576 /dev/zero | tr '\0' "$1"; }
write() { fill "$2" | timeout 60 dd of="$work/target-$1" bs=1M oflag=direct conv=fsync,notrunc iflag=fullblock status=none; }
has() { cmp -n 1048576 <(fill "$2") "$work/target-$1"; }
# each its own half, and none fails
both_write() {
	local node pids=() pid rc=0
	for node in a b; do
		timeout 120 fio --name="$node" --filename="$work/target-$node" --rw=randwrite --bs=64k --direct=1 --ioengine=libaio --iodepth=4 \
			--size=16M --offset="$([[ $node == a ]] && echo 16M || echo 32M)" --verify=crc32c --do_verify=1 --verify_state_save=0 >"$work/fio-$node" 2>&1 &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || rc=1
	done
	((rc == 0)) || cat "$work"/fio-*
	return "$rc"
}
attachd_of() {
	local pid
	for pid in $(attachds); do
		! grep -qsF "$work/state/$1/" "/proc/$pid/cmdline" || echo "$pid"
	done
}

# ---- a node that is in service ---------------------------------------------------------------

ok "a volume" create one
ok "goes to node a" attach a
ok "and is staged there" stage a
address=$(client_of a)
is "by which address is recorded, as ceph-csi does it" "$(meta "clientaddress/$id/node-a")" 127.0.0.1
is "and which client has it open" "$(timeout 60 rbd status --format json "rbd/$image" |
	jq -r '.watchers[].address')" "$address"
ok "it is written" write a A
ok "given back" unstage a
ok "and taken from the node" detach a
is "which leaves no record" "$(records)" ""
ok "and shuts nobody out" eval '! blocklisted "$address"'

# ---- a volume that was staged before ----------------------------------------------------------

# on_node_a [OPTION...]: its daemon ends, and one with these options comes
on_node_a() {
	local pid=$csid_pid endpoint=unix://$work/a.sock
	csid_pid=$node_a
	stop_daemon && start_daemon --controllerserver=false --nodeid=node-a --statedir="$work/state/a" "$@"
	node_a=$csid_pid csid_pid=$pid
}
stats() { on a Node/NodeGetVolumeStats "$(with a '{volumeId, volumePath: $target, stagingTargetPath: $staging}')"; }
is_told() { [[ $(client_of a) == "$(timeout 60 rbd status --format json "rbd/$image" | jq -r '.watchers[].address')" ]]; }
on_node_a
ok "it goes to node a, which does not fence yet" attach a
ok "and is staged there" stage a
is "by which address is not recorded" "$(client_of a)$(meta "clientaddress/$id/node-a")" ""
on_node_a "${fences[@]}"
ok "when it does, statistics are told" stats
is "and by which address it is open is recorded" "$(meta "clientaddress/$id/node-a")" 127.0.0.1
ok "so is which client that is" is_told
ok "given back" unstage a
on_node_a
ok "staged once more" stage a
ok "whose record is lost" timeout 60 rbd image-meta rm "rbd/$image" ".rbd.csi.ceph.com/client/$(image_id)/node-a"
on_node_a "${fences[@]}"
ok "staged again while it is staged" stage a
ok "it is recorded, too" is_told
ok "given back" unstage a
ok "and taken from the node" detach a
is "which leaves no record" "$(records)" ""

# ---- a node that is dead ---------------------------------------------------------------------

ok "it goes to node a again" attach a
ok "and is staged there" stage a
address=$(client_of a)
victim=$(attachds)
# shellcheck disable=SC2086 # one or more
defer eval "kill -CONT $victim 2>/dev/null; true"
# shellcheck disable=SC2086
kill -STOP $victim
write a X 2>"$work/late" &
writer=$!
stop_kube
fails_with UNAVAILABLE "while Kubernetes does not answer it is not taken from the node" detach a
like "with the reason" "$error" 'ask Kubernetes for node node-a'
fails_with FAILED_PRECONDITION "and no other gets it" attach b
start_kube "$KUBERNETES_SERVICE_PORT"
out_of_service node-a
ok "when the node is out of service, it is taken from it" detach a
ok "which shuts its client out first" blocklisted "$address"
is "no record is left" "$(records)" ""
ok "node b gets it" attach b
ok "and stages it" stage b
ok "what node a had written is there" has b A
ok "node b writes" write b B
# shellcheck disable=SC2086
kill -CONT $victim
wait "$writer"
is "when node a comes back, its write fails" "$?" 1
ok "and what node b has written is there" has b B
ok "node b reads it anew" eval 'unstage b && stage b && has b B'
ok "node a gives back what it had" wait_for 60 unstage a
ok "node b, too" unstage b

ok "node b stages it once more" stage b
address=$(client_of b)
rm "$kube/api/v1/nodes/node-b"
ok "a node that Kubernetes does not know any more gives it up" detach b
ok "and is not shut out" eval '[[ -n $address ]] && ! blocklisted "$address"'
like "which the log tells" "$(<"$work/csid.log")" 'fencing.no_node node=node-b'
ok "node b gives it back" unstage b
ok "the volume is deleted" delete
in_service node-b

# ---- a volume that two nodes write to ----------------------------------------------------------

in_service node-a
mode=MULTI_NODE_MULTI_WRITER features=layering
ok "a volume for many writers" create many
ok "goes to node a" attach a
ok "and is staged there" stage a
ok "goes to node b" attach b
ok "and is staged there, too" stage b
ok "node a writes" write a C
ok "which node b reads" has b C
ok "node b writes" write b D
ok "which node a reads" has a D
for node in a b; do
	ok "node $node gives it back" unstage $node
	ok "and it is taken from node $node" detach $node
done
is "no record is left" "$(records)" ""
ok "the volume is deleted" delete
# The lock of librbd goes to whoever writes.
ok "one with exclusive-lock" eval 'features+=,exclusive-lock; create locked'
for node in a b; do
	ok "goes to node $node" attach $node
	ok "and is staged there" stage $node
	is "no lock keeps a later server of it out: its record is of the whole address" \
		"$(meta "client/$(image_id)/node-$node")" ""
done
for round in 1 2 3; do
	ok "node a writes, $round" write a C
	ok "which node b reads" has b C
	ok "node b writes" write b D
	ok "which node a reads" has a D
done
ok "both write at the same time" both_write
ok "rbd-attachd of node a is killed" eval 'kill -KILL "$(attachd_of a)"'
ok "node a writes" write a E
ok "which node b reads" has b E
ok "node b writes" write b F
ok "which node a reads" has a F
for node in a b; do
	ok "node $node gives it back" unstage $node
	ok "and it is taken from node $node" detach $node
done
ok "the volume is deleted" delete
mode=SINGLE_NODE_WRITER features=layering,exclusive-lock

# ---- a secret of Kubernetes ------------------------------------------------------------------

# secret USER KEY
secret() {
	jq -n --arg user "$(base64 -w0 <<<"$1")" --arg key "$(base64 -w0 <<<"$2")" \
		'{data: {userID: $user, userKey: $key}}' >"$kube/api/v1/namespaces/ceph/secrets/csi"
}
ok "a volume of a cluster with controllerPublishSecretRef" create two ref
publish=$(with a '. + {nodeId: ("node-" + $node)}')
fails_with NOT_FOUND "a secret that is not there" plain Controller/ControllerPublishVolume "$publish"
like "is named" "$error" 'ask Kubernetes for secret ceph/csi: there is none'
secret "$RBD_CSI_USER" "$(<"$RBD_CSI_KEYFILE")"
ok "one that is there is used where the request has none" plain Controller/ControllerPublishVolume "$publish"
is "and all is told to the node" "$(jq -r .publishContext.image <<<"$reply")" "$image"
is "which is recorded" "$(meta "published/$(image_id)/node-a")" rw
echo wrong >"$work/account/token"
fails_with UNAVAILABLE "a wrong token" plain Controller/ControllerUnpublishVolume "{\"volumeId\": \"$id\", \"nodeId\": \"node-a\"}"
like "is told" "$error" 'status 401'
echo sesame >"$work/account/token"
ok "it is taken from the node without secrets" plain Controller/ControllerUnpublishVolume "{\"volumeId\": \"$id\", \"nodeId\": \"node-a\"}"
is "and no record is left" "$(records)" ""
ok "the volume is deleted" delete

# ---- and the driver's own ---------------------------------------------------------------------

mkdir "$work/credentials/$RBD_CSI_FSID"
echo "$RBD_CSI_USER" >"$work/credentials/$RBD_CSI_FSID/userID"
cp "$RBD_CSI_KEYFILE" "$work/credentials/$RBD_CSI_FSID/userKey"
ok "a volume of a cluster that has credentials of its own" create three
ok "is published without secrets" plain Controller/ControllerPublishVolume "$(with a '. + {nodeId: ("node-" + $node)}')"
ok "and taken from the node" plain Controller/ControllerUnpublishVolume "{\"volumeId\": \"$id\", \"nodeId\": \"node-a\"}"
is "and no record is left" "$(records)" ""
ok "the volume is deleted" delete
is "no key is in the log" "$(grep -cF "$(<"$RBD_CSI_KEYFILE")" "$work/csid.log")" 0
done_testing
