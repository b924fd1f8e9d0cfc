#!/bin/bash
# node_stuck.t: a map, mount, umount, mkfs or fsck that hangs holds up its own volume only. Its caller gets his deadline, a retry
# joins it, ListOperations and a metric tell its age, and all ends well when what it waits for comes. Here with the userspace
# mapper; tests/vm/krbd-stuck.t runs the same with the kernel's driver.
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cluster
mounter=${mounter:-userspace}
[[ $mounter == rbd ]] || defer stop_attachds
metrics=unix://$work/metrics.sock
# Tools that wait as long as a file is there.
mkdir "$work/bin"
for tool in mkfs.ext4 fsck.ext4; do
	printf '#!/bin/bash\nwhile [[ -e %s/hold ]]; do sleep 0.1; done\nexec %s "$@"\n' "$work" "$(command -v "$tool")" \
		>"$work/bin/$tool"
	chmod +x "$work/bin/$tool"
done
# Places for two children, and more than two hang.
PATH=$work/bin:$PATH start_daemon --metrics-address="$metrics" --offload-max=2
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"

# ---- several volumes ---------------------------------------------------------------------------

declare -A kept
keep() { kept[$1]=$(declare -p volume context staging target data cap image); }
to() { eval "${kept[$1]//declare --/declare -g --}"; }
# new NAME: created and published to the node
new() {
	use "$1" ext4
	create "$1" ext4 layering && attach && keep "$1"
}
device() { findmnt -no SOURCE "$staging/$(jq -r .volumeId <<<"$volume")"; }
umount_staging() { umount "$staging/$(jq -r .volumeId <<<"$volume")"; }

# ---- what hangs --------------------------------------------------------------------------------

is_old() {
	http_get "$metrics" /metrics | awk '/^rbd_csi_requests_oldest_seconds/ && $2 >= 2 { found = 1 } END { exit !found }'
}
is_listed() {
	"$build/rbd-csictl" --endpoint "$endpoint" ops --json | jq -e --arg name "$1" --arg subject "$2" \
		'any(.[]; .name == $name and .subject == $subject and .callers == 1 and (.ageMs | tonumber) > 2900)'
}
declare -A retry
# again WHAT COMMAND: with files of its own
again() {
	local work=$work/$1
	mkdir -p "$work"
	"$2" >"$work/answer" 2>&1
}
# hangs WHAT METHOD COMMAND: of the volume $1 that is current
hangs() {
	call_timeout=3 fails_with DEADLINE_EXCEEDED "$1 hangs: the caller has his deadline" "$3"
	again "$1" "$3" &
	retry[$1]=$!
	ok "$1: a retry joins what is listed with its age" wait_for 60 is_listed "$2" "$(jq -r .volumeId <<<"$volume")"
	# The metric is the same with each mapper, and a look at it takes seconds in the guest.
	[[ $mounter == rbd ]] || ok "$1: a metric has its age" is_old
}
others_go_on() {
	to other
	target=$target-2
	ok "$1: another volume is published meanwhile" publish
	ok "has statistics" stats
	ok "and is unpublished" unpublish
}
# ends WHAT VOLUME
ends() { ok "$1: it ends well" wait "${retry[$1]}"; }
goes() {
	to "$1"
	ok "$1 is unstaged" unstage
	ok "unpublished from the node" detach
	ok "and deleted" delete
}

ok "a volume that goes on" new other
ok "is staged" stage
ok "and published" publish
ok "with a file" dd if=/dev/urandom of="$data" bs=4k count=4 conv=fsync status=none
[[ $mounter == rbd ]] || own_mounts=1

# The same with each mapper, and the guest is slow.
tools() {
	echo "# tools"
	ok "a volume" new tools
	touch "$work/hold"
	hangs mkfs NodeStageVolume stage
	others_go_on mkfs
	rm "$work/hold"
	ends mkfs
	to tools
	ok "the file system is said to have errors" eval 'device=$(device) && umount_staging && debugfs -w -R "ssv state 2" "$device"'
	touch "$work/hold"
	hangs fsck NodeStageVolume stage
	others_go_on fsck
	rm "$work/hold"
	ends fsck
	to tools
	ok "it is staged: staging again is success" stage
	goes tools
}
[[ $mounter == rbd ]] || tools

echo "# the cluster"
for name in map mount umount; do ok "a volume to $name" new "$name"; done
ok "one is staged" stage
ok "and written" dd if=/dev/zero of="$staging/$(jq -r .volumeId <<<"$volume")/file" bs=64k count=16 conv=fsync status=none
to map
ok "one is formatted" stage
ok "and unstaged" unstage
to mount
ok "one is staged" stage
ok "and unmounted, as by a crash" umount_staging
echo 3 >/proc/sys/vm/drop_caches
pause() { timeout 300 ceph -c "$CEPH_CONF" osd "$1" pause; }
defer pause unset
ok "the cluster takes no more I/O" pause set
to other
reads_hang() {
	dd if="$data" of=/dev/null bs=4k count=1 iflag=direct status=none &
	reader=$!
	sleep 1
	[[ -d /proc/$reader ]]
}
ok "which its clients hear of" wait_for 60 reads_hang
to umount
dd if=/dev/urandom of="$staging/$(jq -r .volumeId <<<"$volume")/file" bs=64k count=16 conv=notrunc status=none
hangs umount NodeUnstageVolume unstage
to map
hangs map NodeStageVolume stage
to mount
hangs mount NodeStageVolume stage
others_go_on "the cluster"
ok "the cluster is back" pause unset
for name in map mount umount; do
	# rbd-attachd gives up an open after 30 s: then it is the next retry that succeeds
	wait "${retry[$name]}"
	to "$name"
	[[ $name == umount ]] && step=unstage || step=stage
	ok "$name: all ends well" wait_for 60 "$step"
done
wait "$reader"
for name in map mount umount; do goes "$name"; done
to other
ok "unpublished" unpublish
goes other
ok "nothing is left on the node" nothing_left
done_testing
