#!/bin/bash
# requests.t: what requests ask for, on a whole driver: static volumes through their life, volumes
# that exist already, exact sizes, what is confirmed and what is not, identifiers.
. "$(dirname "$0")/lib.sh"
need_cluster

prefix=rq$$
access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
staging=$work/staging
target=$work/target
mkdir -p "$staging"

# create NAME [JSON]: CreateVolume of 16 MiB, changed by what JSON has; sets id.
create() {
	local rc=0
	call Controller/CreateVolume "$(jq -n --arg name "$prefix-$1" --arg cluster "$RBD_CSI_FSID" \
		--argjson access "$access" --argjson more "${2:-null}" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: $cluster, pool: "rbd"}} * ($more // {})')" || rc=$?
	((rc)) || id=$(jq -r .volume.volumeId <<<"$reply")
	return "$rc"
}
delete() { call Controller/DeleteVolume "{\"volume_id\": \"$1\"}"; }

# call_plain SERVICE/METHOD JSON: without secrets
call_plain() {
	local rc=0
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" call "$1" "$2" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	return "$rc"
}

size_of() { timeout 60 rbd info --format json "rbd/$1" | jq -r .size; }
image_of() { echo "csi-vol-${1: -36}"; }
field() { jq -r "$1 // \"\"" <<<"$reply"; }

start_daemon

# ---- static volumes --------------------------------------------------------------------------

static=$prefix-static
defer timeout 60 rbd rm --no-progress "rbd/$static"
timeout 60 rbd create -s 64M --image-feature layering "rbd/$static" || bail "rbd create"
device=$(mktemp "$work/fs.XXXXXX")
truncate -s 64M "$device"
mkfs.ext4 -q "$device" || bail "mkfs"
timeout 60 rbd import --no-progress --image-feature layering "$device" "rbd/$static-fs" ||
	bail "rbd import"
defer timeout 60 rbd rm --no-progress "rbd/$static-fs"

# static_json HANDLE [CONTEXT-JSON]: what the calls of a static volume have in common
static_json() {
	jq -n --arg id "$1" --arg cluster "$RBD_CSI_FSID" --argjson access "$access" \
		--argjson more "${2:-null}" '{volume_id: $id, volume_capability: $access,
		  volume_context: ({clusterID: $cluster, pool: "rbd", staticVolume: "true",
		                    mounter: "userspace"} * ($more // {}))}'
}
with() { jq "$2" <<<"$1"; }

json=$(static_json "$static-fs")
publish=$(with "$json" '. + {node_id: "test-node"}')
ok "a static volume is attached without secrets" call_plain Controller/ControllerPublishVolume \
	"$publish"
is "with an empty context, as ceph-csi does it" "$(field '.publishContext | length')" 0
ok "and with secrets" call Controller/ControllerPublishVolume "$publish"
context=$(jq -c .publishContext <<<"$reply")
is "which tell its image" "$(jq -r .image <<<"$context")" "$static-fs"
fails_with NOT_FOUND "an image that is not there is named" call Controller/ControllerPublishVolume \
	"$(static_json "$prefix-none" | jq '. + {node_id: "test-node"}')"
like "in the text" "$error" "$prefix-none"
fails_with INVALID_ARGUMENT "so is a missing pool" call Controller/ControllerPublishVolume \
	"$(with "$publish" 'del(.volume_context.pool)')"
like "in the text" "$error" 'volume_context.pool'
fails_with INVALID_ARGUMENT "and a missing clusterID" call Controller/ControllerPublishVolume \
	"$(with "$publish" 'del(.volume_context.clusterID)')"
like "in the text" "$error" 'volume_context.clusterID'
fails_with NOT_FOUND "without staticVolume the handle is unknown" \
	call Controller/ControllerPublishVolume "$(with "$publish" 'del(.volume_context.staticVolume)')"
fails_with NOT_FOUND "with false, too" call_plain Controller/ControllerPublishVolume \
	"$(with "$publish" '.volume_context.staticVolume = "false"')"

validate=$(with "$json" 'del(.volume_capability) + {volume_capabilities: [.volume_capability]}')
ok "its capabilities are validated" call Controller/ValidateVolumeCapabilities "$validate"
is "and confirmed" "$(field '.confirmed.volumeCapabilities | length')" 1
is "with what was compared" "$(jq -cS .confirmed.volumeContext <<<"$reply")" \
	"$(jq -ncS --arg c "$RBD_CSI_FSID" '{clusterID: $c, pool: "rbd", staticVolume: "true"}')"
fails_with NOT_FOUND "one that is not there is not" call Controller/ValidateVolumeCapabilities \
	"$(with "$validate" '.volume_id = "no-such-image"')"

for with_context in '{}' "$context"; do
	stage=$(with "$json" ". + {staging_target_path: \"$staging\", publish_context: $with_context}")
	ok "it is staged with the context $with_context" call Node/NodeStageVolume "$stage"
	ok "and published" call Node/NodePublishVolume "$(with "$stage" ". + {target_path: \"$target\"}")"
	ok "as a file system" mountpoint -q "$target"
	ok "and unpublished" call Node/NodeUnpublishVolume \
		"{\"volume_id\": \"$static-fs\", \"target_path\": \"$target\"}"
	ok "and unstaged" call Node/NodeUnstageVolume \
		"{\"volume_id\": \"$static-fs\", \"staging_target_path\": \"$staging\"}"
done
detach="{\"volume_id\": \"$static-fs\", \"node_id\": \"test-node\"}"
ok "it is detached" call Controller/ControllerUnpublishVolume "$detach"
ok "without secrets, too" call_plain Controller/ControllerUnpublishVolume "$detach"
ok "and nothing of that is left on the image" test -z \
	"$(timeout 60 rbd image-meta ls "rbd/$static-fs" --format json | jq -r 'keys[]')"

# Without its daemon and without images rbd-attachd ends.
end_userspace() {
	local pid point
	stop_daemon
	pid=$(pgrep -f "^$build/rbd-attachd $work/state/") && kill -TERM "$pid" && wait_for 60 is_gone "$pid"
	point=$(awk -v d="$work/state/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)
	[[ -z $point ]] || umount "$point"
}

# ---- volumes that exist already --------------------------------------------------------------

ok "a volume" create one
one=$id
source='{"volume_content_source": {"snapshot": {"snapshot_id": "0001-snap"}}}'
fails_with ALREADY_EXISTS "with a source it exists already" create one "$source"
like "and is named" "$error" "$prefix-one"
fails_with ALREADY_EXISTS "with a volume as source, too" create one \
	"{\"volume_content_source\": {\"volume\": {\"volume_id\": \"$one\"}}}"
fails_with NOT_FOUND "a new one from a source that is none" create two "$source"
like "is told so" "$error" 'volume_content_source: snapshot 0001-snap'
ok "without one it is made: nothing was left" create two
ok "and deleted" delete "$id"
fails_with INVALID_ARGUMENT "unknown mutable parameters are refused by name" create one \
	'{"mutable_parameters": {"pool": "rbd"}}'
like "in the text" "$error" 'mutable_parameters.pool'

# ---- capabilities ----------------------------------------------------------------------------

# validate JSON: ValidateVolumeCapabilities of volume one, changed by JSON
validate_json() {
	jq -n --arg id "$one" --argjson access "$access" --argjson more "$1" \
		'{volume_id: $id, volume_capabilities: [$access]} * $more'
}
validate() { call Controller/ValidateVolumeCapabilities "$(validate_json "$1")"; }
ok "capabilities without secrets are answered" call_plain \
	Controller/ValidateVolumeCapabilities "$(validate_json '{}')"
is "but not confirmed" "$(field .confirmed)" ""
like "since nobody has looked" "$(field .message)" 'not looked at: the request has no secrets'
ok "what cannot be is told without, too" call_plain Controller/ValidateVolumeCapabilities \
	"$(validate_json '{"volume_capabilities": [{"mount": {}, "access_mode": {"mode": 5}}]}')"
like "by its field" "$(field .message)" 'volume_capabilities\[0\].access_mode.mode'
fails_with NOT_FOUND "an unknown volume is not found without" call_plain \
	Controller/ValidateVolumeCapabilities "$(validate_json '{"volume_id": "no-volume"}')"
ok "with secrets" validate "{\"parameters\": {\"pool\": \"rbd\", \"mounter\": \"rbd\"},
	\"volume_context\": {\"imageName\": \"$(image_of "$one")\", \"any\": \"thing\"}}"
is "what was compared is confirmed: parameters" "$(jq -c .confirmed.parameters <<<"$reply")" \
	'{"pool":"rbd"}'
is "and context" "$(jq -c .confirmed.volumeContext <<<"$reply")" \
	"{\"imageName\":\"$(image_of "$one")\"}"
while read -r what more; do
	ok "with another $what" validate "$more"
	is "it is not confirmed" "$(field .confirmed)" ""
	like "and told" "$(field .message)" "$what"
done <<-'END'
	parameters.pool {"parameters": {"pool": "other"}}
	volume_context.clusterID {"volume_context": {"clusterID": "other"}}
	volume_context.imageName {"volume_context": {"imageName": "other"}}
	parameters.imageFeatures {"parameters": {"imageFeatures": "exclusive-lock,journaling"}}
	parameters.objectSize {"parameters": {"objectSize": "8192"}}
	parameters.volumeNamePrefix {"parameters": {"volumeNamePrefix": "other-"}}
	mutable_parameters.baseIops {"mutable_parameters": {"baseIops": "5"}}
END

# ---- identifiers -----------------------------------------------------------------------------

for other in "9999${one:4}" "0002${one:4}"; do
	for rpc in DeleteVolume ControllerUnpublishVolume; do
		fails_with INVALID_ARGUMENT "$rpc of ${other:0:4}-…: another version is never success" \
			call "Controller/$rpc" "{\"volume_id\": \"$other\"}"
	done
	fails_with INVALID_ARGUMENT "nor attached" call Controller/ControllerPublishVolume \
		"{\"volume_id\": \"$other\", \"node_id\": \"n\", \"volume_capability\": $access}"
	fails_with INVALID_ARGUMENT "nor staged" call Node/NodeStageVolume "{\"volume_id\": \"$other\",
		\"staging_target_path\": \"$staging\", \"volume_capability\": $access}"
done
capital=${one/-$RBD_CSI_FSID-/-${RBD_CSI_FSID}_}
ok "another separator makes it no identifier: nothing to delete" delete "$capital"
ok "the image is there" test "$(size_of "$(image_of "$one")")" = 16777216
fails_with INVALID_ARGUMENT "a control character in a name is refused" create $'\x1b'
like "by its field" "$error" 'name: has the control character U\+001B'
fails_with INVALID_ARGUMENT "and in a parameter" create x '{"parameters": {"a": "\u0007"}}'
ok "deleted by its identifier" delete "$one"

# ---- what is born can be used all its life ---------------------------------------------------

while read -r what more; do
	fails_with INVALID_ARGUMENT "a new volume with another $what is refused" create born "$more"
	like "which is named" "$error" "$what"
done <<-'END'
	parameters.clusterID {"parameters": {"clusterID": "prod.ceph"}}
	parameters.volumeNamePrefix {"parameters": {"volumeNamePrefix": "a/b-"}}
	parameters.mounter {"parameters": {"mounter": "userspce"}}
	parameters.mapOptions {"parameters": {"mapOptions": "fuse:x"}}
	parameters.Pool {"parameters": {"Pool": "rbd"}}
	parameters.imageFeature {"parameters": {"imageFeature": "layering"}}
	parameters.staticVolume {"parameters": {"staticVolume": "true"}}
	mount.fs_type {"volume_capabilities": [{"mount": {"fs_type": "EXT4"}, "access_mode": {"mode": 1}}]}
	mount.mount_flags {"volume_capabilities": [{"mount": {"mount_flags": ["bind"]}, "access_mode": {"mode": 1}}]}
END
large=$(printf '%03950d' 0)
fails_with INVALID_ARGUMENT "parameters that no volume_context could carry are refused" create born \
	"{\"parameters\": {\"note\": \"$large\"}}"
like "and told so" "$error" 'volume_context of [0-9]+ bytes, more than 4096'
ok "other keys are copied" create born '{"parameters": {"team": "blue"}}'
is "to the volume_context" "$(field .volume.volumeContext.team)" blue
ok "and named in the log" grep -q "volume.parameter volume=$prefix-born parameter=team" "$work/csid.log"
ok "the volume is deleted" delete "$id"

# ---- sizes -----------------------------------------------------------------------------------

while read -r required limit want; do
	range="{\"capacity_range\": {\"required_bytes\": $required, \"limit_bytes\": $limit}}"
	ok "$required to $limit bytes" create size "$range"
	is "are $want" "$(field .volume.capacityBytes)" "$want"
	is "of the image, too" "$(size_of "$(image_of "$id")")" "$want"
	ok "and the same when it exists" create size "$range"
	ok "deleted" delete "$id"
done <<-END
	10000000000 10000000000 10000000000
	1610612736 1610612736 1610612736
	1500000000 1500000300 1500000256
	1500000000 0 2147483648
END
fails_with OUT_OF_RANGE "no whole sector in the range" create size \
	'{"capacity_range": {"required_bytes": 1500000001, "limit_bytes": 1500000002}}'

end_userspace
ok "the log has one line an event, whatever came" test -z \
	"$(LC_ALL=C grep -avE '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]+ (info|warn|error) [a-z-]+\[[0-9]+\] ' \
		"$work/csid.log" | head -3)"
done_testing
