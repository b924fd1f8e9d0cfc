#!/bin/bash
# bench_volumes.t: rbd-csictl bench with volumes of a real cluster: phases, states from the daemon's trace,
# failures, interrupts, and what is left: nothing.
# shellcheck disable=SC2016 # the variables in single quotes are jq's
. "$(dirname "$0")/lib.sh"
need_cluster
defer stop_attachds
# shellcheck disable=SC2119 # no options of this script's
start_daemon

volumes=$work/volumes runs=$work/runs
mkdir "$volumes"
echo "{\"clusterID\": \"$RBD_CSI_FSID\", \"pool\": \"rbd\", \"imageFeatures\": \"layering\"}" >"$work/class.json"
load() { # KIND OPTION...
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" bench "$1" -o json --runs "$runs" \
		--dir "$volumes" --parameters "$work/class.json" --size 16MiB "${@:2}" >"$work/result" 2>"$work/error"
}
loaded() { # WANTED-STATUS NAME KIND OPTION...
	local rc=0
	load "${@:3}" || rc=$?
	reply=$(<"$work/result")
	is "$2" "$rc" "$1" || diag "$(<"$work/error")"
}
doc() { jq -c "$1" <<<"$reply"; }
journal() { timeout 60 rados -p rbd listomapkeys csi.volumes.default | grep -c "\.bench-"; }
before=$(journal) # of other tests
nothing_is_left() {
	is "... its volumes are gone" "$(journal)" "$before"
	is "... and its mounts" "$(grep -c " $volumes/" /proc/self/mountinfo)" 0
	is "... and its directories" "$(ls "$volumes")" ""
	is "... and its notes" "$(ls "$runs")" ""
}

loaded 0 "volumes are attached, twice" attach --count 4 --callers 2 --connect-per-call
is "all of them" "$(doc '[.phases[] | [.name, .passed, .failed]]')" \
	'[["create",4,0],["attach_format",4,0],["detach",4,0],["attach",4,0],["detach_again",4,0],["delete",4,0]]'
is "states are known" "$(doc '[.phases[] | .name as $p | .times[] | select(.name | test("/STAGE_OPENED|/CREATEVOL_COMMITTED")) |
	[$p, .name, .count]]')" \
	'[["create","CreateVolume/CREATEVOL_COMMITTED",4],["attach_format","NodeStageVolume/STAGE_OPENED",4],["attach","NodeStageVolume/STAGE_OPENED",4]]'
ok "and those of the slowest, which are most of its time" jq -e '.phases[1].slowest[0] | .name == "NodeStageVolume" and
	(.states | map(.[1]) | add) as $all | $all > .took * 0.5 and $all <= .took' <<<"$reply"
nothing_is_left
loaded 0 "all that the controller does" controller --count 6 --callers 3
is "in phases" "$(doc '[.phases[] | select(.passed == 6) | .name] | join(" ")')" \
	'"create exists snapshot restore clone expand delete_clone delete_restored delete_snapshot delete"'
nothing_is_left
loaded 0 "volumes that come and go" attach --rate 2 --duration 3s
is "at a rate" "$(doc '[.phases[] | .passed] | unique')" '[6]'
nothing_is_left

echo '{"clusterID": "nobody-s", "pool": "rbd"}' >"$work/bad.json"
loaded 1 "every volume is refused" volumes --count 4 --parameters "$work/bad.json"
is "... which is no rate" "$(doc '[.phases[] | [.name, .passed, .failed, .times]]')" '[["create",0,4,[]]]'
nothing_is_left
loaded 1 "no volume can be formatted" attach --count 3 --callers 3 --fstype xfs
is "... which is counted" "$(doc '.phases[1] | [.passed, .failed]')" '[0,3]'
nothing_is_left

mounts_are() { (($(grep -c " $volumes/[^ ]*/target " /proc/self/mountinfo) >= $1)); }
load attach --count 200 --callers 2 --run ended &
load_pid=$!
defer eval "kill $load_pid 2>/dev/null; true"
ok "a load runs" wait_for 300 mounts_are 2
kill "$(ours rbd-csictl)"
wait "$load_pid"
is "... and is ended" "$?" 1
reply=$(<"$work/result")
is "... its calls were cancelled" "$(doc '.phases[1].codes | keys')" '["CANCELLED"]'
nothing_is_left

load attach --count 200 --callers 2 --run killed &
load_pid=$!
defer eval "kill -KILL $load_pid 2>/dev/null; true"
ok "another one runs" wait_for 300 mounts_are 2
kill -KILL "$(ours rbd-csictl)"
wait "$load_pid"
ok "it is killed, and its volumes stay" mounts_are 2
ctl 0 "they are cleaned" --secrets "$RBD_CSI_SECRETS" bench clean --runs "$runs" --callers 8
like "... as told" "$reply" '^run killed: 200 volumes taken away, 0 left$'
nothing_is_left

loaded 0 "a load that is left attached" hold --run held --count 2
ok "... is" mounts_are 2
ctl 0 "... until it is released" --secrets "$RBD_CSI_SECRETS" bench release --run held --runs "$runs"
nothing_is_left

done_testing
