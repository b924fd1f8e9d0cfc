#!/bin/bash
# node_gone.t: what is left of a staged volume after a boot, without its device, or when its staging directory is another one: staged
# anew or a clear error, and nothing but the volume is ever published. Here with the userspace mapper; tests/vm/krbd-gone.t runs
# the same with the kernel's driver.
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's, or eval's
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cluster
mounter=${mounter:-userspace}
[[ $mounter == rbd ]] || defer stop_attachds
start_daemon
# shellcheck source=../vm/volume.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/volume.sh"

declare -A kept
keep() { kept[$1]=$(declare -p volume context staging target data cap image); }
to() { eval "${kept[$1]//declare --/declare -g --}"; }
# new NAME: staged, published and written to
new() {
	use "$1" ext4
	create "gone-$1" ext4 layering,exclusive-lock && attach && keep "$1" && stage && publish && put_data "$1"
}
point() { echo "$staging/$(jq -r .volumeId <<<"$volume")"; }
is_volume() { [[ $(<"$target/data") == "precious $1" ]]; }
goes() {
	to "$1"
	ok "$1 is unpublished" unpublish
	ok "unstaged" unstage
	ok "unpublished from the node" detach
	ok "and deleted" wait_for 60 delete
}
unmap_all() {
	local device
	if [[ $mounter == rbd ]]; then
		for device in /sys/bus/rbd/devices/*; do
			echo "${device##*/}" >/sys/bus/rbd/remove_single_major || return
		done
	else
		while read -r device; do
			losetup -d "/dev/$device" || return
		done < <(grep -ls "^$work/" /sys/block/loop*/loop/backing_file | cut -d/ -f4)
	fi
}
no_loops() { ! grep -qs "^$work/" /sys/block/loop*/loop/backing_file; }
# boot: what a boot leaves is on disk: the staging and target directories, and what is in them
boot() {
	local dir pid
	stop_daemon KILL
	for dir in "${booted[@]}"; do umount "$dir" || return; done
	unmap_all && wait_for 60 no_loops || return
	if [[ $mounter != rbd ]]; then
		for pid in $(attachds); do
			kill -KILL "$pid"
			wait_for 60 is_gone "$pid"
		done
		stop_attachds
	fi
	rm -rf "$work/state"
	start_daemon
}

echo "# a boot"
booted=()
for name in published staged left; do
	ok "a volume to be $name" new "$name"
	booted+=("$target" "$(point)")
done
ok "the node boots" boot
for name in published staged left; do
	to "$name"
	ok "$name: its record is there" test -s "$staging/image-meta.json"
	ok "and an empty directory" eval '[[ -d $(point) && -z $(ls -A "$(point)") ]]'
done
to published
ok "publishing stages it anew, when the cluster has forgotten the dead client" wait_for 90 publish
ok "with its data" is_volume published
to staged
ok "another one is staged" wait_for 90 stage
ok "and published" publish
ok "with its data" is_volume staged
to left
ok "the third one is unstaged" unstage
is "of which nothing is left" "$(ls -A "$staging")" ""
for name in published staged left; do goes "$name"; done

echo "# a plain directory instead of the staging directory"
ok "a volume" new plain
ok "is unpublished" unpublish
ok "its staging directory becomes another one" eval 'umount "$(point)" && rm -r "$staging" && mkdir "$staging"'
fails_with FAILED_PRECONDITION "it is not published" publish
like "which says why" "$error" "is not staged: nothing is mounted at"
ok "and no target made" test ! -e "$target"
mkdir "$(point)" && echo other >"$(point)/data"
fails_with FAILED_PRECONDITION "nor from a directory of somebody's" publish
like "which says why" "$error" "is not staged: nothing is mounted at"
ok "and no target made" test ! -e "$target"
rm -r "$(point)"
ok "a mount of somebody's" eval 'mkdir "$(point)" && mount -t tmpfs none "$(point)" && echo other >"$(point)/data"'
for step in stage publish unstage; do
	fails_with FAILED_PRECONDITION "$step: refused" "$step"
	like "which says why" "$error" "what is (staged|mounted there) is not volume"
done
ok "it is there as before" test "$(<"$(point)/data")" = other
ok "it goes" umount "$(point)"
is "the image is mapped all the time" "$(mapped)" 1
ok "it is staged" stage
is "by the mapping that is there" "$(mapped)" 1
ok "published" publish
ok "with its data" is_volume plain
ok "unpublished" unpublish
ok "its staging directory becomes another one" eval 'umount "$(point)" && rm -r "$staging" && mkdir "$staging"'
ok "it is unstaged" unstage
is "and not mapped any more" "$(mapped)" 0
goes plain

if [[ $mounter == rbd ]]; then
	echo "# a device that vanishes; with rbd-attachd: both_killed.t"
	ok "a volume" new vanished
	sync
	ok "its device goes, by force" eval 'echo "$(ls /sys/bus/rbd/devices) force" >/sys/bus/rbd/remove_single_major'
	ok "health" call Node/NodeGetVolumeHealth "$(with '. + {volumePublishPath: $target, stagingTargetPath: $staging}' id)"
	is "tells that" "$(jq -r '.volumeHealth.healthStatuses[0].reason' <<<"$reply")" DeviceDead
	old=$target
	target=$target-2
	ok "published for another pod, it is staged anew" publish
	ok "with its data" is_volume vanished
	ok "unpublished there" unpublish
	target=$old
	ok "published over the dead mount" publish
	ok "with its data" is_volume vanished
	goes vanished
fi

echo "# another cluster, of which the names are the same"
ok "a volume" eval 'use foreign ext4; create gone-foreign ext4 layering && attach && keep foreign'
ok "is known to be in a cluster that is no longer at these monitors" eval \
	'other=11111111-2222-3333-4444-555555555555 && context=$(jq -c --arg o "$other" ".clusterFsid = \$o" <<<"$context")'
fails_with NOT_FOUND "what has its name there is not staged" stage
is "nor mapped" "$(mapped)" 0
is "and nothing is noted" "$(ls -A "$staging")" ""
to foreign
ok "staged" stage
ok "published" publish
ok "and written to" put_data foreign
ok "unpublished" unpublish
foreign() { sed -i "s/\"fsid\": *\"[^\"]*\"/\"fsid\":\"$other\"/" "$staging/image-meta.json"; }
ok "the record is of a volume in the other cluster" eval 'foreign && grep -q "$other" "$staging/image-meta.json"'
fails_with FAILED_PRECONDITION "the mount is not taken for that" publish
like "which is told" "$error" "is not volume"
fails_with FAILED_PRECONDITION "nor taken away" unstage
like "which is told" "$error" "is not volume"
is "it is mapped all the time" "$(mapped)" 1
ok "the record is what it was" sed -i "s/$other/$RBD_CSI_FSID/" "$staging/image-meta.json"
ok "published" publish
ok "with its data" is_volume foreign
goes foreign

own_mounts=$([[ $mounter == rbd ]] && echo 0 || echo 1)
ok "nothing is left on the node" nothing_left
done_testing
