#!/bin/bash
# concurrent.t: many callers with short deadlines for few names, through rbd-csid; deletions while the
# same names are created, expansions while a clone of the volume is made.
. "$(dirname "$0")/lib.sh"

need_cluster
pool=t-concurrent-$$
callers=100 names=20
ceph osd pool create "$pool" 8 >/dev/null 2>&1
timeout 60 rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
# shellcheck disable=SC2119 # no options of this script's
start_daemon

# rpc OPTION... METHOD JSON: as call, but for several at once: the answer goes to standard output.
rpc() { "$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" "${@:1:$#-2}" call "${@: -2}"; }
# request NAME [JSON]
request() {
	jq -nc --arg name "$1" --arg pool "$pool" --arg cluster "$RBD_CSI_FSID" --argjson more "${2:-null}" '{
		name: $name, capacityRange: {requiredBytes: "16777216"},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: $cluster, pool: $pool, imageFeatures: "layering"}} * ($more // {})'
}
create() { rpc Controller/CreateVolume "$(request "$@")" | jq -er .volume.volumeId; }
delete() { rpc Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
expand() { rpc Controller/ControllerExpandVolume "{\"volumeId\": \"$1\", \"capacityRange\": {\"requiredBytes\": \"$2\"}}"; }
images() { timeout 60 rbd ls "$pool"; }
trash_is_empty() { [[ -z $(timeout 60 rbd trash ls --all "$pool") ]]; }
audit() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" audit --cluster "$RBD_CSI_FSID" --pool "$pool"
}

# insists N: one caller, who has a second for each try; the ID that he gets goes to $work/caller.N.
insists() {
	local json out end=$((SECONDS + 240))
	json=$(request "many-$(($1 % names))")
	until out=$(rpc --timeout 1s Controller/CreateVolume "$json" 2>>"$work/errors.$1"); do
		((SECONDS < end)) || return
	done
	jq -r .volume.volumeId <<<"$out" >"$work/caller.$1"
}

# ---- 100 callers of 20 names -------------------------------------------------------------------

pids=()
for ((n = 0; n < callers; n++)); do insists "$n" & pids+=($!); done
wait "${pids[@]}"
is "$callers callers have a volume" "$(cat "$work"/caller.* | wc -l)" "$callers"
is "of $names names there are $names" "$(sort -u "$work"/caller.* | wc -l)" "$names"
is "and so many images" "$(images | wc -l)" "$names"
is "nobody has had an error but his own deadline" \
	"$(cat "$work"/errors.* | grep -v -e '^DEADLINE_EXCEEDED: ' -e '^ ' | head -n 3)" ""
diag "$(cat "$work"/errors.* | grep -c '^DEADLINE_EXCEEDED: ') deadlines"

# ---- deletions while the same names are created ------------------------------------------------

pids=()
for id in $(sort -u "$work"/caller.* | head -n 5); do
	delete "$id" >>"$work/deleted" 2>&1 &
	pids+=($!)
done
for ((n = 0; n < names; n++)); do insists "$n" & pids+=($!); done
wait "${pids[@]}"
is "deletions while the same names are created succeed" "$(sed '/^{}$/d' "$work/deleted")" ""
for ((n = 0; n < names; n++)); do create "many-$n"; done | sort -u >"$work/all"
is "and each name has its volume" "$(wc -l <"$work/all")" "$names"
is "and its image" "$(images | wc -l)" "$names"

# ---- expansions while clones are made ----------------------------------------------------------

source=$(head -n 1 "$work/all")
clone() {
	create "clone-$1" "{\"volumeContentSource\": {\"volume\": {\"volumeId\": \"$source\"}},
		\"capacityRange\": {\"requiredBytes\": \"67108864\"}}"
}
pids=()
for n in 1 2 3 4; do
	clone "$n" >>"$work/all" 2>"$work/clone.$n" &
	pids+=($!)
	expand "$source" $((16777216 + n * 4194304)) >/dev/null 2>"$work/expand.$n" &
	pids+=($!)
done
wait "${pids[@]}"
is "clones and expansions of their source, all at once, succeed" "$(cat "$work"/clone.* "$work"/expand.*)" ""
is "the source is as large as the largest that was asked for" \
	"$(timeout 60 rbd info --format json "$pool/csi-vol-${source: -36}" | jq .size)" 33554432
is "there are four clones" "$(sort -u "$work/all" | wc -l)" $((names + 4))
is "a repeated call gets the same one" "$(clone 1)" "$(clone 1)"

# ---- all goes ----------------------------------------------------------------------------------

while read -r id; do delete "$id" >/dev/null || diag "$id is not deleted"; done <"$work/all"
is "all are deleted" "$(images)" ""
ok "and purged" wait_for 120 trash_is_empty
ok "and an audit finds nothing" audit
done_testing
