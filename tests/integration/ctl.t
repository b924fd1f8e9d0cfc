#!/bin/bash
# ctl.t: rbd-csictl call: where requests come from, what it prints, how it ends.
. "$(dirname "$0")/lib.sh"
need_cluster
# shellcheck disable=SC2119 # no options of this script's
start_daemon

# ctl WANTED-STATUS NAME ARGUMENT...: passes if rbd-csictl ends so. Sets reply and error.
ctl() {
	local want=$1 name=$2 rc=0
	shift 2
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" "$@" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	is "$name" "$rc" "$want"
}

ctl 0 "a call without a request" call Node/NodeGetInfo
is "prints the reply as JSON" "$(jq -r .nodeId <<<"$reply")" test-node
ctl 0 "the package may be given" call csi.v1.Node/NodeGetInfo '{}'
ctl 0 "and the path, as gRPC has it" call /csi.v1.Node/NodeGetInfo '{}'

stats='{"volumeId": "some-id", "volume_path": "/nowhere"}'
echo "$stats" >"$work/request"
ctl 1 "an error of the driver ends with 1" call Node/NodeGetVolumeStats "$stats"
like "and is printed as code and text" "$error" '^NOT_FOUND: .*/nowhere'
is "with nothing on standard output" "$reply" ""
ctl 1 "the request may be in a file" call Node/NodeGetVolumeStats "@$work/request"
like "which is sent" "$error" '^NOT_FOUND: .*/nowhere'
ctl 1 "or on standard input" call Node/NodeGetVolumeStats - <"$work/request"
like "which is sent, too" "$error" '^NOT_FOUND: .*/nowhere'

delete='{"volumeId": "no-such-volume"}'
ctl 1 "without secrets" call Controller/DeleteVolume "$delete"
is "the driver says which are missing" "$error" 'INVALID_ARGUMENT: secrets: missing'
ctl 0 "secrets come from a file" --secrets "$RBD_CSI_SECRETS" call Controller/DeleteVolume "$delete"
ctl 1 "those in the request win" --secrets "$RBD_CSI_SECRETS" call Controller/DeleteVolume \
	'{"volumeId": "no-such-volume", "secrets": {"userKey": ""}}'
is "over the file's" "$error" 'INVALID_ARGUMENT: secrets.userKey: is empty'
ctl 0 "a method without secrets needs none" --secrets /nonexistent call Identity/Probe

# PVs of before controllerPublishSecretRef carry no secrets for attaching: as with ceph-csi, the
# controller has nothing to do for them and the node finds the image by the volume context.
volume=0001-0001-c-0000000000000001-9a5d6f1c-3e0b-4a52-8a43-0f6d8b2f7c11
ctl 0 "a publish without secrets succeeds" call Controller/ControllerPublishVolume \
	'{"volumeId": "'$volume'", "nodeId": "test-node", "volumeCapability":
	 {"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}}'
is "with an empty answer" "$reply" "{}"
ctl 0 "so does an unpublish" call Controller/ControllerUnpublishVolume \
	'{"volumeId": "'$volume'", "nodeId": "test-node"}'

ctl 2 "no command is wrong usage"
ctl 2 "so is an unknown one" nonsense
ctl 2 "an unknown option" --nonsense call Identity/Probe
ctl 2 "a bad time-out" --timeout soon call Identity/Probe
ctl 2 "an unknown method" call Node/NodeGetNothing
ctl 2 "a call of nothing" call
like "which lists the methods" "$error" 'SnapshotMetadata/GetMetadataDelta \(stream\)'
ctl 2 "a stream" call SnapshotMetadata/GetMetadataDelta
like "which is said to be one" "$error" 'stream'
ctl 2 "a request that is no JSON" call Identity/Probe '{'
ctl 2 "a field that the message has not" call Node/NodeUnstageVolume '{"volumeID": "x"}'
is "which is named" "$error" \
	'INVALID_ARGUMENT: volumeID: NodeUnstageVolumeRequest has no such field'
ctl 2 "a secrets file that is not there" --secrets /nonexistent call Controller/DeleteVolume \
	"$delete"
ctl 1 "a method that is not served" call Controller/ListVolumes
like "is UNIMPLEMENTED" "$error" '^UNIMPLEMENTED: '

ok "the driver stops" stop_daemon
ctl 3 "nobody at the endpoint ends with 3" call Identity/Probe
like "and is UNAVAILABLE" "$error" '^UNAVAILABLE: '
done_testing
