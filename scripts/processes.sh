# shellcheck shell=bash
# processes.sh: which processes are ours; to be sourced
#
# A process is ours if and only if it was started with our mark in its environment, a variable
# with a value that nobody else has, or descends from such a process: the mark is inherited. A
# process id alone does not say so, it comes again; nor does a command line: between fork and
# exec it is the parent's or empty, and an editor or a grep may have ours in its own.

# is_marked PID NAME=VALUE: true if that process is ours and has not ended.
is_marked() { grep -qsxzF -- "$2" "/proc/$1/environ"; }

# marked NAME=VALUE: prints the ids of our processes. Not the caller's own, which has the
# variable at most since it was started, and not those of this pipe.
marked() (
	unset "${1%%=*}"
	# some process or other always ends while grep looks, which is an error to it
	{ grep -lsxzF -- "$1" /proc/[0-9]*/environ || true; } | cut -d/ -f3
)

# end_marked NAME=VALUE: kills our processes; fails if one has not ended after 20 s.
end_marked() {
	local pids end=$((SECONDS + 20))
	while mapfile -t pids < <(marked "$1") && ((${#pids[@]})); do
		((SECONDS < end)) || { echo "does not end: process ${pids[*]}"; return 1; }
		kill -KILL "${pids[@]}" 2>/dev/null || true
		sleep 0.05
	done
}

# leave_mounts: in a new mount namespace, lets go of the mounts of tests that run beside this one. Their
# copies here would keep loop devices busy that those tests wait for.
leave_mounts() {
	local list _
	for _ in {1..20}; do
		list=$(awk '$5 ~ "^/var/tmp/rbd-csi-" { print $5 }' /proc/self/mountinfo | tac)
		[[ -n $list ]] || return 0
		# one whose directory is removed out there meanwhile is gone in here, too
		xargs -r -d '\n' umount -l <<<"$list" 2>/dev/null || true
	done
	echo "mounts of other tests stay: $list" >&2
	return 1
}
