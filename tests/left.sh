# shellcheck shell=bash
# left.sh: what tests have left behind; to be sourced, after scripts/processes.sh
#
# DIR is the directory in which a test, or a run of tests, has all of its files. Each function prints a line for each
# thing. What stands in DIR's logs is ours, too: a loop device outlives the directory of its file.

_uuid='[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'

# left_mounts DIR: their paths, the topmost first: a file system may be on a loop device whose file is served by a
# process of ours.
left_mounts() { awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | tac; }

# left_loops DIR: "loopN FILE". A file in a file system that is no longer mounted is shown as /SERIAL-TAG-IMAGE, and
# "(deleted)" behind it if it was removed: then the logs in DIR tell whose it is, but for what they found of others.
left_loops() {
	local at file logs
	for at in /sys/block/loop*/loop/backing_file; do
		IFS= read -r file 2>/dev/null <"$at" || continue
		if [[ $file != "$1/"* ]]; then
			[[ $file =~ ^/[0-9]+-[^/]*($_uuid) ]] || continue
			mapfile -t logs < <(find "$1" -name '*.log' 2>/dev/null)
			[[ -n $(grep -hsF -- "${BASH_REMATCH[1]}" /dev/null "${logs[@]}" | grep -v ' userspace.leftover ') ]] || continue
		fi
		at=${at#/sys/block/}
		echo "${at%%/*} $file"
	done
}

# left_of DIR: what a run of tests has left whose processes have RBD_CSI_RUN=DIR in their environment. A process that
# is just ending has a minute for it.
left_of() {
	local end=$((SECONDS + 60)) pid
	while [[ -n $(marked "RBD_CSI_RUN=$1") ]] && ((SECONDS < end)); do sleep 0.1; done
	for pid in $(marked "RBD_CSI_RUN=$1"); do
		echo "process $pid $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
	done
	left_mounts "$1" | sed 's/^/mount /'
	left_loops "$1" | sed 's/^/loop device /'
	compgen -G "$1/*" | sed 's/^/directory /'
}

# left_new BEFORE AFTER STATUS: what of the second list is not in the first, each "#   LINE"; fails if there is nothing.
# A test that has failed keeps its directory.
left_new() {
	comm -13 <(sort <<<"$1") <(sort <<<"$2") | if (($3)); then grep -v '^directory '; else cat; fi | grep . | sed 's/^/#   /'
}

# left_all DIR: the same, and what has no owner, on a machine where nothing else runs.
left_all() {
	local at name
	left_of "$1"
	for at in /sys/block/loop*/loop/backing_file; do
		IFS= read -r name 2>/dev/null <"$at" && echo "loop device $name"
	done
	for at in /sys/bus/rbd/devices/*/name; do
		IFS= read -r name 2>/dev/null <"$at" && echo "mapping $name"
	done
	for at in /sys/block/dm-*/dm/name; do
		IFS= read -r name 2>/dev/null <"$at" && echo "dm device $name"
	done
	awk '$8 ~ /^(ceph|logon|encrypted|trusted)$/ || /cryptsetup/ { $1 = ""; print "key" $0 }' /proc/keys
}
