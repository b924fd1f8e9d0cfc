#!/bin/bash
# node_many.t: 500 volumes in one rbd-csid: what a call costs does not grow with them, and they outlive the daemon, killed or
# replaced. Here with the userspace mapper; tests/vm/krbd-many.t runs the same with the kernel's driver.
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

few=10
many=${many:-${RBD_CSI_MANY:-490}} # more than the few
need_cluster
mounter=${mounter:-userspace}
[[ $mounter == rbd ]] || defer stop_attachds
start_daemon
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"
mkdir -p "$work/many"
jq -n --arg cluster "$RBD_CSI_FSID" --arg mounter "$mounter" '{clusterID: $cluster, pool: "rbd", imageFeatures: "layering",
	mounter: $mounter}' >"$work/parameters.json"

# bench hold RUN COUNT, bench release RUN
bench() {
	local volumes=()
	[[ $1 == release ]] || volumes=(--count "$3" --dir "$work/many" --fstype block --size 16777216
		--parameters "$work/parameters.json")
	timeout 1200 "$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" bench "$1" \
		--run "$2" --runs "$work/runs" --callers "${callers:-16}" "${volumes[@]}"
}

# ---- system calls of each RPC ----------------------------------------------------------------

# count NAME COMMAND...: how many system calls rbd-csid and its children make for it, into calls[NAME];
# the fewest of several times, since rbd-csid has other things to do beside.
declare -A calls
count() {
	local name=$1 tracer n
	shift
	strace -f -qq -c -U calls,name -o "$work/strace.out" -p "$csid_pid" 2>"$work/strace.log" &
	tracer=$!
	wait_for 60 eval "[[ -s $work/strace.log ]] || grep -q 'TracerPid:[[:space:]]*$tracer\$' /proc/$csid_pid/status"
	"$@" || diag "$name: $error"
	kill -INT "$tracer"
	wait "$tracer"
	n=$(awk '$2 != "" && $1 ~ /^[0-9]+$/ && $2 != "total" { n += $1 } END { print n + 0 }' "$work/strace.out")
	[[ -n ${calls[$name]:-} ]] && ((${calls[$name]} <= n)) || calls[$name]=$n
}

# probe TIMES: one formatted volume through its life
probe() {
	local i
	calls=()
	for ((i = 0; i < $1; i++)); do
		count stage stage
		count publish publish
		count stats stats
		count expand expand 1
		count unpublish unpublish
		count unstage unstage
	done
}

use probe ext4
ok "a volume" create probe ext4 layering
ok "published to the node" attach
ok "formatted" stage
ok "unstaged" unstage
ok "$few volumes are staged and published" bench hold few $few
declare -A before
probe 3
for name in "${!calls[@]}"; do before[$name]=${calls[$name]}; done
ok "$many more" bench hold many "$many"
is "all of them have a device" "$(mapped)" $((few + many))
probe 3
for name in stage publish stats expand unpublish unstage; do
	ok "$name: ${before[$name]} system calls with $few volumes, ${calls[$name]} with $((few + many))" \
		eval "((${calls[$name]} > 20 && ${calls[$name]} * 10 <= ${before[$name]} * 11))"
done
is "rbd-csid has one thread" "$(awk '/^Threads/ { print $2 }' "/proc/$csid_pid/status")" 1
resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$csid_pid/status")
ok "and $resident KiB of memory" eval '((resident <= 10240))'

# ---- limits ----------------------------------------------------------------------------------

if [[ $mounter == userspace ]] && ((few + many <= 511)); then
	ok "as many as one session can have" bench hold rest $((511 - few - many))
	fails_with RESOURCE_EXHAUSTED "one more is refused" stage
	like "which is told" "$error" "511 images of this cluster and user"
	is "nothing is left of that" "$(ls -A "$staging")" ""
	ok "the node tells how many it takes" call Node/NodeGetInfo '{}'
	is "511, where the userspace mapper is the only one" "$(jq -r .maxVolumesPerNode <<<"$reply")" 511
	diag "rbd-attachd has $(awk '/^VmRSS/ { print $2 }' "/proc/$(attachds)/status") KiB of memory"
	ok "some go" bench release rest
elif [[ $mounter == rbd ]]; then
	ok "the node tells how many it takes" call Node/NodeGetInfo '{}'
	is "no limit, with krbd" "$(jq -r '.maxVolumesPerNode // 0' <<<"$reply")" 0
	limit=$(</proc/sys/fs/mount-max)
	no_more_mounts() { wc -l </proc/self/mountinfo >/proc/sys/fs/mount-max; }
	more_mounts() { echo "$limit" >/proc/sys/fs/mount-max; }
	ok "as many mounts as the kernel allows" no_more_mounts
	fails_with FAILED_PRECONDITION "one more is refused" stage
	like "which is told" "$error" "fs.mount-max"
	is "nothing is left of that" "$(ls -A "$staging")" ""
	more_mounts
	ok "staged" stage
	no_more_mounts
	fails_with RESOURCE_EXHAUSTED "publishing is refused" publish
	like "which is told" "$error" "fs.mount-max"
	more_mounts
fi
ok "the refused one is staged" stage
ok "and unstaged" unstage

# ---- the daemon goes and comes ---------------------------------------------------------------

in_use=$(find "$work/many" -name target | head -1)
write() { while [[ ! -e $work/enough ]]; do
	dd if=/dev/urandom of="$in_use" bs=64k count=4 oflag=direct conv=notrunc status=none || exit 1
done; }
shown=$(mounts)
write &
writer=$!
for how in KILL TERM; do
	ok "the daemon ends: $how" stop_daemon $how
	is "every mount stays" "$(mounts)" "$shown"
	is "every device, too" "$(mapped)" $((few + many))
	start_daemon
	ok "the next one stages" stage
	ok "publishes" publish
	ok "and has data" put_data probe
	ok "tells statistics" stats
	ok "unpublishes" unpublish
	ok "unstages" unstage
	is "and is in nobody's way" "$(mounts)" "$shown"
done
touch "$work/enough"
ok "no write has failed meanwhile" wait "$writer"
ok "what the first daemon has staged is taken away by the third" bench release many
ok "all of it" bench release few
is "no device is left" "$(mapped)" 0
ok "unpublished from the node" detach
ok "deleted" delete

done_testing
