#!/bin/bash
# userspace.t: the userspace mapper on a real cluster: attach and detach, file systems, freeing
# space, growing, locks, takeovers under verified I/O, stuck clusters. rbd-csid's part is played
# by userspace_holder, which may be killed.
#
# With arguments only the sections named. Those that are not the default are run by
# userspace_takeover.t and userspace_lost.t.
. "$(dirname "$0")/lib.sh"
need_cluster

holder=$build/tests/fake/userspace_holder
server=$build/rbd-attachd
state=$work/state
mkdir -p "$state" "$work/mnt"
prefix=us$$
sections=${*:-life space grow readonly many lock}

wants() { [[ " $sections " == *" $1 "* ]]; }

# ---- the holder ------------------------------------------------------------------------------

holder_pid=
group= # of cgroups
holder_under=() # what starts it

start_holder() {
	rm -f "$work/to" "$work/from"
	mkfifo "$work/to" "$work/from"
	"${holder_under[@]}" "$holder" "$1" "$server" "$RBD_CSI_MONITORS" \
		"$RBD_CSI_USER" "$RBD_CSI_KEYFILE" rbd \
		<"$work/to" >"$work/from" 2>>"$work/holder.log" &
	holder_pid=$!
	exec {to_holder}>"$work/to" {from_holder}<"$work/from"
	read -r -t 120 -u "$from_holder" reply || bail "the holder does not start"
}

kill_holder() {
	kill -KILL "$holder_pid"
	wait "$holder_pid" 2>/dev/null
	exec {to_holder}>&- {from_holder}<&-
}

# hold COMMAND...: its answer goes to $reply, the last word's number to $ms.
hold() {
	local line
	echo "$*" >&"$to_holder"
	reply=
	while read -r -t 120 -u "$from_holder" line; do
		case $line in
		ok*) ms=${line#ok}; return 0 ;;
		err*) ms=${line#err}; error=$reply; return 1 ;;
		*) reply+=${reply:+$'\n'}$line ;;
		esac
	done
	error="no answer"
	return 1
}

# attach IMAGE [ro]: its device in $device
attach() {
	hold attach "${@:2}" "$1" || return
	device=$(cut -d' ' -f2 <<<"$reply")
}

attachd_pid() {
	hold pids
	awk '{ print $1; exit }' <<<"$reply"
}

image() {
	timeout 60 rbd create -s "$2" --image-feature "${3:-layering}" "rbd/$1" || bail "rbd create"
	defer timeout 60 rbd rm --no-progress "rbd/$1"
}

all_features=layering,exclusive-lock,object-map,fast-diff,deep-flatten

objects() {
	local id
	id=$(timeout 60 rbd info --format json "rbd/$1" | jq -r .id)
	timeout 60 rados -p rbd ls | grep -c "^rbd_data.$id\\."
}

# At the end: every image detached, the holder gone, its rbd-attachd too.
put_away() {
	kill -TERM "$holder_pid"
	wait "$holder_pid" 2>/dev/null
	stop_attachds "$state"
}

# stop_attachds DIR: those that serve below it, and what they leave mounted
stop_attachds() {
	local pid mnt
	for pid in $(attachds); do
		grep -qsF -- "$1/" "/proc/$pid/cmdline" || continue
		kill -TERM "$pid"
		wait_for 60 is_gone "$pid" || kill -KILL "$pid"
	done
	# Not mountpoint(1): nobody answers its stat any more.
	while read -r mnt; do
		umount "$mnt"
	done < <(awk -v d="$1/attach/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)
}

start_holder "$state"
defer put_away

# ---- one image's life ------------------------------------------------------------------------

life() {
	local type sum
	image "$prefix-life" 1G "$all_features"
	for type in ext4 xfs; do
		ok "an image is attached for $type" attach "$prefix-life"
		is "its blocks have 512 bytes" "$(blockdev --getss "$device")" 512
		ok "mkfs.$type" timeout 60 "mkfs.$type" -q "$([[ $type == xfs ]] && echo -f || echo -F)" "$device"
		ok "mount" mount "$device" "$work/mnt"
		dd if=/dev/urandom of="$work/mnt/file" bs=64k count=800 conv=fsync status=none
		sum=$(md5sum <"$work/mnt/file")
		ok "umount" umount "$work/mnt"
		ok "detach" hold detach "$prefix-life"
		ok "the loop device is free" wait_for 60 test ! -e "/sys/block/${device#/dev/}/loop"
		ok "attach again" attach "$prefix-life"
		ok "mount again" mount -o ro "$device" "$work/mnt"
		is "the data is there" "$(md5sum <"$work/mnt/file")" "$sum"
		umount "$work/mnt"
		ok "detach again" hold detach "$prefix-life"
	done
	is "nobody watches the image then" \
		"$(timeout 60 rbd status --format json "rbd/$prefix-life" | jq '.watchers | length')" 0
	ok "attaching twice" attach "$prefix-life"
	local first=$device
	ok "is the same device" attach "$prefix-life"
	is "is the same device" "$device" "$first"
	ok "detach" hold detach "$prefix-life"
	ok "detaching twice is success" hold detach "$prefix-life"
	hold attach "$prefix-nosuch"
	like "an image that does not exist is NOT_FOUND" "$error" "NOT_FOUND"
}

# trims_to COUNT: are there fewer objects after one more fstrim?
trims_to() {
	sync -f "$work/mnt" && timeout 60 fstrim "$work/mnt" && (($(objects "$prefix-space") < $1))
}

space() {
	local before
	image "$prefix-space" 1G "$all_features"
	attach "$prefix-space"
	mkfs.xfs -q -f "$device" && mount "$device" "$work/mnt"
	dd if=/dev/urandom of="$work/mnt/file" bs=1M count=100 conv=fsync status=none
	before=$(objects "$prefix-space")
	rm "$work/mnt/file"
	ok "fstrim" timeout 60 fstrim "$work/mnt"
	# xfs frees the space of removed files a moment later
	ok "frees objects, of which there were $before" wait_for 60 trims_to $((before - 20))
	umount "$work/mnt"
	ok "blkdiscard" timeout 60 blkdiscard "$device"
	is "frees all objects" "$(objects "$prefix-space")" 0
	is "in pieces of 64 MiB" "$(cat "/sys/block/${device#/dev/}/queue/discard_max_bytes")" 67108864
	dd if=/dev/urandom of="$device" bs=64k count=1 oflag=direct status=none
	ok "fallocate -p of 4 KiB" timeout 60 fallocate -p -o 4096 -l 4096 "$device"
	is "reads as zeros" "$(dd if="$device" bs=4096 skip=1 count=1 iflag=direct status=none |
		tr -d '\0' | wc -c)" 0
	is "and nothing else does" "$(dd if="$device" bs=4096 count=1 iflag=direct status=none |
		md5sum | cut -c1-8 | grep -c "$(head -c 4096 /dev/zero | md5sum | cut -c1-8)")" 0
	ok "detach" hold detach "$prefix-space"
}

size_is() { [[ $(blockdev --getsize64 "$1") == "$2" ]]; }

grow() {
	image "$prefix-grow" 512M "$all_features"
	attach "$prefix-grow"
	mkfs.xfs -q -f "$device" && mount "$device" "$work/mnt"
	ok "an image grows while it is mounted" timeout 60 rbd resize --no-progress -s 1G "rbd/$prefix-grow"
	ok "the device follows" wait_for 60 size_is "$device" 1073741824
	ok "and so does its file system" xfs_growfs "$work/mnt"
	dd if=/dev/zero of="$work/mnt/file" bs=1M count=600 conv=fsync status=none
	ok "which can be filled" test "$(stat -c %s "$work/mnt/file")" = 629145600
	kill_holder
	ok "it grows while no rbd-csid runs" timeout 60 rbd resize --no-progress -s 2G "rbd/$prefix-grow"
	start_holder "$state"
	ok "the next one sees to it" wait_for 60 size_is "$device" 2147483648
	umount "$work/mnt"
	ok "detach" hold detach "$prefix-grow"
}

readonly_() {
	image "$prefix-ro" 64M "$all_features"
	attach "$prefix-ro"
	dd if=/dev/urandom of="$device" bs=4k count=1 oflag=direct status=none
	hold detach "$prefix-ro"
	ok "an image is attached read-only" attach "$prefix-ro" ro
	is "the device is" "$(blockdev --getro "$device")" 1
	ok "a write fails" bash -c "! dd if=/dev/zero of=$device bs=4k count=1 oflag=direct status=none"
	is "nobody holds its lock" "$(timeout 60 rbd lock ls "rbd/$prefix-ro" | wc -l)" 0
	ok "then for writing" attach "$prefix-ro"
	is "the device is" "$(blockdev --getro "$device")" 0
	ok "a write succeeds" dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct
	ok "detach" hold detach "$prefix-ro"
}

many() {
	local i names=
	for i in {1..32}; do
		image "$prefix-m$i" 1G "$all_features"
		names+=" $prefix-m$i"
	done
	ok "32 images are attached at once" hold attach "$names"
	diag "in $ms ms"
	is "each has a device of its own" "$(cut -d' ' -f2 <<<"$reply" | sort -u | wc -l)" 32
	is "by one rbd-attachd" "$(hold pids; wc -l <<<"$reply")" 1
	ok "and detached at once" hold detach "$names"
	diag "in $ms ms"
}

# ---- two of us -------------------------------------------------------------------------------

lock() {
	local other=$work/other out line pid to
	image "$prefix-lock" 64M "$all_features"
	mkdir -p "$other"
	attach "$prefix-lock"
	coproc SECOND { "$holder" "$other" "$server" "$RBD_CSI_MONITORS" "$RBD_CSI_USER" \
		"$RBD_CSI_KEYFILE" rbd 2>>"$work/other.log"; }
	echo "attach $prefix-lock" >&"${SECOND[1]}"
	while read -r -t 120 -u "${SECOND[0]}" line && [[ $line != @(ok|err)* ]]; do
		out+=$line$'\n'
	done
	pid=$SECOND_PID to=${SECOND[1]}
	exec {to}>&-
	wait "$pid"
	like "a second attacher is refused, told by whom" "$out" \
		"FAILED_PRECONDITION .*is locked by client\.[0-9]+ at [0-9.]+:0/[0-9]+"
	ok "the first one goes on writing" \
		timeout 20 dd if=/dev/zero of="$device" bs=4k count=10 oflag=direct
	ok "a polite client cannot have the lock either" \
		bash -c "! timeout 20 rbd bench --io-type write --io-total 4K rbd/$prefix-lock"
	ok "the first one still goes on" \
		timeout 20 dd if=/dev/zero of="$device" bs=4k count=10 oflag=direct
	ok "detach" hold detach "$prefix-lock"
	stop_attachds "$other"

	ok "an image that others may write to, too, is attached" attach "$prefix-lock" shared
	ok "it is written" timeout 60 dd if=/dev/zero of="$device" bs=4k count=10 oflag=direct
	ok "a polite client gets the lock" timeout 60 rbd bench --io-type write --io-total 4K "rbd/$prefix-lock"
	ok "and gives it back" timeout 60 dd if=/dev/zero of="$device" bs=4k count=10 oflag=direct
	ok "for itself alone it is attached anew" attach "$prefix-lock"
	ok "a polite client cannot have the lock then" \
		bash -c "! timeout 20 rbd bench --io-type write --io-total 4K rbd/$prefix-lock"
	ok "detach" hold detach "$prefix-lock"
}

# ---- takeovers -------------------------------------------------------------------------------

# verify DEVICE NAME: fio writes and verifies everything, at several sizes
verify() {
	timeout 300 fio --name="$2" --filename="$1" --ioengine=libaio --direct=1 --iodepth=32 \
		--rw=randwrite --bssplit=4k/60:64k/30:1m/10 --size=192M --rate=,24m \
		--verify_state_save=0 --verify=crc32c \
		--verify_fatal=1 --fsync=32 --output="$work/$2.fio" --output-format=json \
		>"$work/$2.out" 2>&1
}

# One that has failed says why.
fio_is_clean() {
	local n
	n=$(jq -r '.jobs[0].error' <"$work/$1.fio")
	max_ms=$(jq -r '[.jobs[0].write.clat_ns.max, .jobs[0].read.clat_ns.max] | max / 1e6 | floor' <"$work/$1.fio")
	[[ $n == 0 ]] || { cat "$work/$1.out"; grep -v '^[ {}]' "$work/$1.fio"; return 1; }
}

# under_load WHAT COMMAND...: two images under fio, the command three times meanwhile
under_load() {
	local what=$1 i pids=() name devices=()
	shift
	for name in excl plain; do
		attach "$prefix-$name"
		devices+=("$device")
		verify "$device" "$name" &
		pids+=($!)
	done
	for i in 1 2 3; do
		sleep 1.5
		"$@"
	done
	ok "$what: I/O with the exclusive lock has no error" wait "${pids[0]}"
	ok "$what: its data is verified" fio_is_clean excl
	diag "longest request $max_ms ms"
	ok "$what: I/O without a lock has no error" wait "${pids[1]}"
	ok "$what: its data is verified" fio_is_clean plain
	diag "longest request $max_ms ms"
	hold settle
	ok "$what: detach" hold detach "$prefix-excl" "$prefix-plain"
}

# No pid is told while the next one is being started.
has_attachd() { [[ $(attachd_pid) -gt 1 ]]; }
kill_attachd() { wait_for 60 has_attachd && kill -KILL "$(attachd_pid)"; }
restart_attachd() { hold restart; }
restart_holder() {
	kill_holder
	start_holder "$state"
}
kill_after_restart() {
	restart_holder
	hold settle
	kill_attachd
}

takeover() {
	image "$prefix-excl" 1G "$all_features"
	image "$prefix-plain" 1G
	under_load "kill -9 of rbd-attachd" kill_attachd
	under_load "planned restart" restart_attachd
	under_load "kill -9 of rbd-csid" restart_holder
	under_load "kill -9 of both, one after the other" kill_after_restart
	diag "$(grep -c "takeover.fenced" "$work/holder.log") fenced in all," \
		"$(grep "takeover.fenced" "$work/holder.log" | tail -1)"
}

# ---- a stuck cluster -------------------------------------------------------------------------

stuck() {
	local osds dd_pid began
	mapfile -t osds < <(cat "$RBD_CSI_CLUSTER_DIR"/run/osd.*.pid)
	((${#osds[@]})) || { skip "a stuck image" "no OSD of our own"; return; }
	image "$prefix-stuck" 64M "$all_features"
	attach "$prefix-stuck"
	kill -STOP "${osds[@]}"
	defer kill -CONT "${osds[@]}"
	timeout 60 dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct status=none 2>/dev/null &
	dd_pid=$!
	sleep 1
	ok "I/O on a stuck cluster waits" test -d "/proc/$dd_pid"
	began=$EPOCHSECONDS
	ok "an abort ends it and detaches the image" hold abort "$prefix-stuck"
	ok "within a bound ($((EPOCHSECONDS - began)) s)" test $((EPOCHSECONDS - began)) -le 60
	ok "the user's I/O has failed" fails_in_the_end "$dd_pid"
	ok "the loop device is free" wait_for 60 test ! -e "/sys/block/${device#/dev/}/loop"
	kill -CONT "${osds[@]}"
	hold settle
	ok "it can be attached again" attach "$prefix-stuck"
	ok "and written" timeout 60 dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct
	ok "detach" hold detach "$prefix-stuck"
}

# ---- both dead at once -----------------------------------------------------------------------

dead() {
	local pid
	image "$prefix-dead" 64M "$all_features"
	attach "$prefix-dead"
	pid=$(attachd_pid)
	kill -KILL "$holder_pid" "$pid"
	kill_holder 2>/dev/null
	ok "I/O ends with an error" bash -c \
		"! timeout 20 dd if=$device of=/dev/null bs=4k count=1 iflag=direct status=none"
	start_holder "$state"
	ok "the next rbd-csid says so" grep -q "userspace.stale" "$work/holder.log"
	ok "and unmounts" wait_for 60 bash -c "! grep -q ' $state/attach/' /proc/self/mountinfo"
	ok "the dead loop device keeps its number, no other image gets it" \
		test -e "/sys/block/${device#/dev/}/loop"
	ok "the image can be attached again at once" attach "$prefix-dead"
	ok "detach" hold detach "$prefix-dead"
	is "no loop device is left" \
		"$(grep -ls -- "-$prefix-dead\$" /sys/block/loop*/loop/backing_file | wc -l)" 0
}

# ---- no cluster, and one of us dies after the other --------------------------------------------

attachds() { pgrep -f "^$server $state/" || true; }
new_attachd() { [[ -n $(attachds) && $(attachds) != "$1" ]]; }
logged() { grep -q -- "$1" "$work/holder.log"; }
lines() { grep -c -- "$1" "$work/holder.log"; }
more_lines() { (($(lines "$1") > $2)); }

# kill_attachd_for_next: its successor runs, however far it has come; its pid in $next
kill_attachd_for_next() {
	local old
	old=$(attachds)
	kill -KILL "$old"
	wait_for 60 new_attachd "$old" && next=$(attachds)
}

alone() {
	local daemons dd_pid name next
	mapfile -t daemons < <(pgrep -f "^ceph-(osd|mon) .*$RBD_CSI_CLUSTER_DIR/")
	((${#daemons[@]} > 1)) || bail "no cluster of our own"
	for name in alone1 alone2; do image "$prefix-$name" 64M "$all_features"; done
	attach "$prefix-alone1"
	hold attach "$prefix-alone2"
	kill -STOP "${daemons[@]}"
	defer kill -CONT "${daemons[@]}"
	timeout 200 dd if=/dev/urandom of="$device" bs=64k count=16 oflag=direct status=none \
		2>"$work/dd.err" &
	dd_pid=$!
	ok "no OSD and no monitor answers; rbd-attachd is killed" kill_attachd_for_next
	kill_holder
	ok "and rbd-csid: the successor tries, in vain" wait_for 60 more_lines "start step=" 0
	ok "and stays, for it holds the images" kill -0 "$next"
	ok "also on SIGTERM, for nobody would follow it" kill -TERM "$next"
	wait_for 60 logged "terminate images=2" || true
	ok "which it says" logged "terminate images=2"
	start_holder "$state"
	ok "the next rbd-csid joins it" logged "userspace.join .* pid=$next images=2"
	ok "it is killed while it cannot answer that" kill_attachd_for_next
	kill_holder
	start_holder "$state"
	ok "one that has just been started is found as well" \
		logged "userspace.join .* pid=$next images=2"
	kill -CONT "${daemons[@]}"
	hold settle
	ok "the write that waited all the time has succeeded" wait "$dd_pid"
	is "no connection was lost" "$(lines 'userspace.\(stale\|lost\)')" 0
	ok "what was attached still is" attach "$prefix-alone1"
	ok "detach" hold detach "$prefix-alone1" "$prefix-alone2"
}

# ---- sessions that are lost while both processes live ----------------------------------------

reads() { timeout 20 dd if="$1" of=/dev/null bs=4k count=1 iflag=direct status=none; }
fails_to_read() { ! reads "$1"; }
fuse_mount() { awk -v d="$state/attach/" 'index($5, d) == 1 { print $5; exit }' /proc/self/mountinfo; }
our_loops() { grep -lsE -- "-$prefix-" /sys/block/loop*/loop/backing_file | wc -l; }
no_loops() { [[ $(our_loops) == 0 ]]; }

# is_lost WHAT MORE...: the session of images lost1 (at $first) and lost2 is over; the next
# attach begins another one
is_lost() {
	local what=$1 lost1=$2 lost2=$3 count=$4 old_pid=$5
	ok "$what: another image is attached, in a new session" hold attach "$prefix-lost3"
	ok "$what: that the old one is lost is logged" wait_for 60 more_lines "userspace.lost" "$count"
	ok "$what: its rbd-attachd ends" wait_for 60 is_gone "$old_pid"
	ok "$what: I/O of its images fails" fails_to_read "$lost1"
	ok "$what: a dead image is attached anew" attach "$prefix-lost1"
	ok "$what: with its data" cmp -n 4096 "$work/block" "$device"
	is "$what: by one rbd-attachd, not two" "$(attachds | wc -l)" 1
	is "$what: the loss was logged once" "$(lines userspace.lost)" $((count + 1))
	ok "$what: all are detached, also the one that is dead" \
		hold detach "$prefix-lost1" "$prefix-lost2" "$prefix-lost3"
	ok "$what: no loop device is left" wait_for 60 no_loops
	ok "$what: nobody has the image open" wait_for 60 unwatched "$prefix-lost2"
}

unwatched() { [[ $(timeout 60 rbd status --format json "rbd/$1" | jq '.watchers | length') == 0 ]]; }

# lose_by WHAT COMMAND...: two images are attached, then the command ends their session
lose_by() {
	local what=$1 lost1 lost2 count old_pid
	shift
	attach "$prefix-lost1"
	lost1=$device
	dd if="$work/block" of="$device" bs=4k oflag=direct status=none
	attach "$prefix-lost2"
	lost2=$device
	count=$(lines userspace.lost)
	old_pid=$(attachd_pid)
	ok "$what" "$@"
	is_lost "$what" "$lost1" "$lost2" "$count" "$old_pid"
}

umount_by_force() { umount -f "$(fuse_mount)" 2>/dev/null || true; }

# With a server that does not see it.
abort_by_fusectl() {
	local control=$work/fusectl dev pid
	mkdir -p "$control"
	mount -t fusectl none "$control" || return
	defer umount "$control"
	dev=$(awk -v m="$(fuse_mount)" '$5 == m { split($3, n, ":"); print n[2] }' /proc/self/mountinfo)
	pid=$(attachd_pid)
	kill -STOP "$pid"
	echo 1 >"$control/$dev/abort"
	{ sleep 3; kill -CONT "$pid"; } &
}

blocklist_attachd() {
	timeout 60 ceph osd blocklist add "$(cat "$state"/attach/*/address)" 600
}

lost() {
	local name old count
	for name in lost1 lost2 lost3; do image "$prefix-$name" 64M "$all_features"; done
	dd if=/dev/urandom of="$work/block" bs=4k count=1 status=none
	lose_by "umount -f" umount_by_force
	lose_by "fusectl" abort_by_fusectl
	lose_by "blocklist" blocklist_attachd

	attach "$prefix-lost1"
	dd if="$work/block" of="$device" bs=4k oflag=direct status=none
	count=$(lines userspace.lost)
	ok "rbd-attachd is blocklisted while there is no I/O" blocklist_attachd
	ok "and noticed" wait_for 60 more_lines userspace.lost "$count"
	like "with the reason" "$(grep userspace.lost "$work/holder.log" | tail -1)" \
		"has blocklisted client\..* at .*:0/[0-9]+"
	ok "the image is attached anew" attach "$prefix-lost1"
	ok "with its data" cmp -n 4096 "$work/block" "$device"
	ok "detach" hold detach "$prefix-lost1"

	attach "$prefix-lost1"
	old=$device
	ok "umount -l of the directory" umount -l "$(fuse_mount)"
	ok "the image is there" reads "$old"
	ok "the next one is attached in another session" attach "$prefix-lost2"
	is "which takes another rbd-attachd" "$(attachds | wc -l)" 2
	ok "both can be read" reads "$old"
	ok "the other one, too" reads "$device"
	ok "detach" hold detach "$prefix-lost1" "$prefix-lost2"
	is "no loop device is left" "$(our_loops)" 0
}

# ---- images that are no good -------------------------------------------------------------------

# set_header IMAGE KEY HEX: what the image's header says there from now on
set_header() {
	local id
	id=$(timeout 60 rados -p rbd get "rbd_id.$1" - | tail -c +5) || return
	perl -e 'print pack("H*", shift)' "$3" >"$work/value"
	timeout 60 rados -p rbd setomapval "rbd_header.$id" "$2" --input-file "$work/value"
}

get_header() {
	local id
	id=$(timeout 60 rados -p rbd get "rbd_id.$1" - | tail -c +5)
	timeout 60 rados -p rbd getomapval "rbd_header.$id" "$2" "$work/was" >/dev/null 2>&1
	od -An -v -tx1 "$work/was" | tr -d ' \n'
}

# hex_string TEXT: as the cluster encodes it
hex_string() {
	printf '%02x000000%s' "${#1}" "$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')"
}

# is_refused IMAGE WHAT KEY HEX TEXT: with that in its header the image is refused, which says
# so; the image is as before afterwards
is_refused() {
	local was name=$prefix-$1
	was=$(get_header "$name" "$3")
	set_header "$name" "$3" "$4" || bail "set the header"
	hold attach "$name"
	like "$2: refused" "$error" "$5"
	is "$2: by the same rbd-attachd" "$(attachds)" "$good_pid"
	ok "$2: other images are served" reads "$good_device"
	set_header "$name" "$3" "$was" || bail "restore the header"
}

bad() {
	local good_pid good_device name long
	image "$prefix-good" 64M "$all_features"
	image "$prefix-bad" 64M "$all_features"
	timeout 60 rbd create -s 64M --image-feature layering,striping --stripe-unit 64K \
		--stripe-count 4 "rbd/$prefix-striped" || bail "rbd create"
	defer timeout 60 rbd rm --no-progress "rbd/$prefix-striped"
	dd if=/dev/urandom of="$work/block" bs=4k count=1 status=none
	attach "$prefix-good"
	good_device=$device
	good_pid=$(attachds)
	long=rbd_data.$(printf '%071d' 0)

	is_refused bad "a long object prefix" object_prefix "$(hex_string "$long")" \
		"DATA_LOSS .*object prefix"
	is_refused bad "a longer one" object_prefix "$(hex_string "$long$long")" DATA_LOSS
	is_refused bad "one that is a format" object_prefix "$(hex_string rbd_data.%n)" DATA_LOSS
	is_refused bad "an empty one" object_prefix 00000000 DATA_LOSS
	is_refused bad "order 0" order 00 "DATA_LOSS .*object size 2\^0"
	is_refused bad "order 26" order 1a "DATA_LOSS .*object size 2\^26"
	is_refused bad "order 255" order ff DATA_LOSS
	is_refused bad "a size above 2^63" size 00000000000000f0 "DATA_LOSS .*image size"
	is_refused bad "a size that no object map has" size 0000000000000040 \
		"DATA_LOSS .*object map"
	is_refused bad "an unknown feature" features 3d00000000010000 "image $prefix-bad|rbd/$prefix-bad"
	is_refused bad "half a size" size 000000 "$prefix-bad|header"
	is_refused striped "stripe unit 0" stripe_unit 0000000000000000 DATA_LOSS
	is_refused striped "a stripe unit that does not divide" stripe_unit 0130000000000000 DATA_LOSS
	is_refused striped "stripe count 0" stripe_count 0000000000000000 DATA_LOSS
	ok "what is whole again is attached" hold attach "$prefix-bad" "$prefix-striped"

	# With what is in its header now the successor must not open it.
	attach "$prefix-bad"
	dd if="$work/block" of="$device" bs=4k oflag=direct status=none
	long=$(get_header "$prefix-bad" object_prefix)
	set_header "$prefix-bad" object_prefix "$(hex_string "rbd_data.$(printf '%090d' 0)")"
	kill_attachd_for_next
	hold settle
	ok "a header that is damaged while the image is attached ends the image" \
		wait_for 60 fails_to_read "$device"
	ok "which is told" logged "image.aborted pool=rbd image=$prefix-bad .*header is damaged"
	ok "and no other" reads "$good_device"
	set_header "$prefix-bad" object_prefix "$long"
	ok "when it is repaired it is attached anew" attach "$prefix-bad"
	ok "with its data" cmp -n 4096 "$work/block" "$device"
	ok "detach" hold detach "$prefix-good" "$prefix-bad" "$prefix-striped"
	is "no loop device is left" "$(our_loops)" 0
}

# crash: as an assertion in librbd does it
crash() { kill -ABRT "$(attachds)"; }
crash_for_next() {
	local old
	old=$(attachds)
	kill -ABRT "$old"
	wait_for 60 new_attachd "$old"
}

crashes() {
	local osds busy idle dd_pid
	mapfile -t osds < <(pgrep -f "^ceph-osd -c $RBD_CSI_CLUSTER_DIR/ceph.conf")
	((${#osds[@]})) || bail "no OSD of our own"
	image "$prefix-busy" 64M
	image "$prefix-idle" 64M
	attach "$prefix-idle"
	idle=$device
	attach "$prefix-busy"
	busy=$device

	kill -STOP "${osds[@]}"
	defer kill -CONT "${osds[@]}"
	timeout 100 dd if=/dev/zero of="$busy" bs=4k count=1 oflag=direct status=none 2>/dev/null &
	dd_pid=$!
	wait_for 60 in_flight "$busy" || bail "no write"
	ok "rbd-attachd crashes while an image has I/O" crash_for_next
	ok "that image is opened last" wait_for 60 logged "image.trial pool=rbd image=$prefix-busy"
	is "the other one is not suspected" "$(lines "image.trial pool=rbd image=$prefix-idle")" 0
	kill -CONT "${osds[@]}"
	ok "the write succeeds" wait "$dd_pid"
	ok "and the image is acquitted" wait_for 60 logged "image.acquitted image=$prefix-busy"

	kill -STOP "${osds[@]}"
	timeout 100 dd if=/dev/zero of="$busy" bs=4k count=1 oflag=direct status=none 2>/dev/null &
	dd_pid=$!
	wait_for 60 in_flight "$busy" || bail "no write"
	ok "it crashes again" crash_for_next
	ok "the image is on trial again" wait_for 60 more_lines "image.trial pool=rbd image=$prefix-busy" 1
	ok "and ends that server, too" crash_for_next
	ok "it is set aside, and named" wait_for 60 logged \
		"image.aborted pool=rbd image=$prefix-busy .*set aside: its I/O has ended rbd-attachd twice"
	ok "its I/O fails" fails_in_the_end "$dd_pid"
	kill -CONT "${osds[@]}"
	ok "the other one is served" wait_for 60 reads "$idle"
	ok "a kill is no crash" kill_attachd_for_next
	hold settle
	ok "it is attached anew" attach "$prefix-busy"
	ok "and written" timeout 60 dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct
	ok "detach" hold detach "$prefix-busy" "$prefix-idle"
	is "no loop device is left" "$(our_loops)" 0
}

fails_in_the_end() { ! wait "$1"; }

# in_flight DEVICE: has it I/O that is not finished?
in_flight() { [[ $(awk '{ print $9 }' "/sys/block/${1#/dev/}/stat") -gt 0 ]]; }

# ---- memory ------------------------------------------------------------------------------------

memory_root=
for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
	[[ -e $root/memory.stat || $(cat "$root/cgroup.controllers" 2>/dev/null) == *memory* ]] &&
		memory_root=$root && break
done

limit_file=memory.max
no_limit=max
[[ -e $memory_root/memory.limit_in_bytes ]] && limit_file=memory.limit_in_bytes no_limit=-1
set_limit() { echo "$2" >"$1/$limit_file"; }

# without the capability that would spare rbd-attachd the limit
unspared=(setpriv --bounding-set -sys_resource --inh-caps -sys_resource)

# limited COMMAND...: becomes it, in $group
limited() { exec bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }

# Whatever waits for memory goes on then, and can end.
remove_group() {
	local pid
	set_limit "$1" "$no_limit"
	while read -r pid; do echo "$pid" >"$memory_root/cgroup.procs"; done <"$1/cgroup.procs"
	wait_for 60 rmdir "$1" 2>/dev/null
}

memory() {
	[[ -n $memory_root ]] || { skip "memory limits" "no memory cgroup"; return; }
	put_away
	group=$memory_root/rbd-csi-$$
	mkdir "$group"
	defer remove_group "$group"
	image "$prefix-mem" 64M
	set_limit "$group" $((40 << 20))
	holder_under=(limited "${unspared[@]}")
	start_holder "$state"
	hold attach "$prefix-mem"
	like "where I/O could wait for itself no image is attached, and why is told" "$error" \
		"FAILED_PRECONDITION memory limit of 40 MiB.* CAP_SYS_RESOURCE"
	set_limit "$group" "$no_limit"
	ok "without a limit it is attached" wait_for 60 hold attach "$prefix-mem"
	ok "detach" hold detach "$prefix-mem"
	put_away
	holder_under=()
	start_holder "$state"
}

# The limit comes after the images, and whoever dirties their pages shares it: rbd-attachd waits
# for itself.
hang() {
	local i old_pid device devices=() writers=() failed=0
	[[ $limit_file == memory.limit_in_bytes ]] ||
		{ skip "a rbd-attachd that waits for itself" "no memory cgroup of version 1"; return; }
	put_away
	group=$memory_root/rbd-csi-$$-hang
	mkdir "$group"
	defer remove_group "$group"
	holder_under=("${unspared[@]}")
	start_holder "$state"
	for i in 1 2 3 4 5 6 7 8; do
		image "$prefix-hang$i" 256M "$all_features"
		attach "$prefix-hang$i"
		devices+=("$device")
	done
	old_pid=$(attachds)
	echo "$old_pid" >"$group/cgroup.procs"
	set_limit "$group" $((40 << 20))
	for device in "${devices[@]}"; do
		limited timeout 200 dd if=/dev/zero of="$device" bs=1M count=200 conv=fsync \
			status=none 2>>"$work/dd.err" &
		writers+=("$!")
	done
	ok "a rbd-attachd that waits for itself is killed" wait_for 90 logged \
		"userspace.stuck .*pid=$old_pid .*killing it"
	ok "as it cannot die, its FUSE connection is aborted" wait_for 120 logged \
		"userspace.stuck .*pid=$old_pid .*aborting"
	ok "it ends" wait_for 60 is_gone "$old_pid"
	set_limit "$group" "$no_limit"
	for i in "${writers[@]}"; do wait "$i" 2>/dev/null || ((++failed)); done
	ok "whoever waited has failed, and does not wait any more" test "$failed" -gt 0
	ok "the image is attached anew" attach "$prefix-hang1"
	ok "and can be read" reads "$device"
	ok "detach" hold detach "$prefix-hang"{1..8}
	ok "no loop device is left" wait_for 60 no_loops
	put_away
	holder_under=()
	start_holder "$state"
}

for section in $sections; do
	diag "section $section"
	case $section in
	readonly) readonly_ ;;
	*) "$section" ;;
	esac
done
done_testing
