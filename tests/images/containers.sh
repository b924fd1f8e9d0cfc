# shellcheck shell=bash
# containers.sh: runs images by runc, as Kubernetes runs a privileged container; to be sourced after lib.sh
#
# A container sees of this machine /dev, /sys, the network, $shared (in which mounts come and go for both sides), and
# what the test has in $work. Its own root is read-only. Its state is $work/NAME.state at /run/rbd-csi, its
# output $work/NAME.log, its exit status $work/NAME.status. It has the capabilities of the list $capabilities, a
# JSON array, and $more_mounts, one of mounts in runc's form, and $more_env, one of NAME=VALUE; it runs as $as_user.
# shellcheck disable=SC2154 # lib.sh has them

# What a privileged container has, as far as this machine's root has it: capabilities with their numbers.
privileged=$(python3 - <<'END'
import json
known = {"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7,
         "NET_ADMIN": 12, "NET_RAW": 13, "IPC_LOCK": 14, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_PTRACE": 19,
         "SYS_ADMIN": 21, "SYS_NICE": 23, "SYS_RESOURCE": 24, "MKNOD": 27}
has = next(int(line.split()[1], 16) for line in open("/proc/self/status") if line.startswith("CapBnd"))
print(json.dumps(["CAP_" + name for name, bit in known.items() if has >> bit & 1]))
END
)

# lock_work: what is in $work belongs to a test that runs.
lock_work() {
	exec {work_lock}>"$work/locking" && flock "$work_lock" && mv "$work/locking" "$work/images.lock"
}

# sweep_killed: takes away what killed tests have left, and says so: nobody holds their lock.
sweep_killed() {
	local lock dir opened loop file
	for lock in /var/tmp/rbd-csi-test.*/images.lock; do
		[[ -e $lock ]] || continue
		exec {opened}<"$lock"
		dir=${lock%/*}
		# its cluster, if it had one of its own, has ended with it
		if flock --nonblock "$opened"; then
			diag "a killed test has left $dir"
			while read -r loop file; do
				[[ -n $loop ]] || continue
				diag "... and /dev/$loop, $file"
				losetup -d "/dev/$loop"
			done < <(left_loops "$dir")
			find /sys/fs/cgroup -depth -type d -name "${dir##*/}-*" -exec rmdir {} +
			rm -rf --one-file-system "$dir"
		fi
		exec {opened}<&-
	done
}

# shared_directory: makes $shared.
shared_directory() {
	shared=$work/shared
	mkdir -p "$shared"
	mount --bind "$shared" "$shared" || bail "no mount"
	defer umount "$shared"
	mount --make-shared "$shared" || bail "no mount"
	# readable as a ConfigMap is
	install -m 644 "$RBD_CSI_CONFIG" "$work/config.json"
}

# unpack DIRECTORY IMAGE: from scripts/images' archive to $work/IMAGE.
unpack() {
	local at=$work/$2 version manifest
	mkdir -p "$at/layout" && tar -C "$at/layout" -xf "$1/$2.oci.tar" || return 1
	version=$(jq -r '.manifests[0].annotations."org.opencontainers.image.ref.name"' "$at/layout/index.json")
	manifest=$(jq -r '.manifests[0].digest' "$at/layout/index.json")
	cp "$at/layout/blobs/sha256/${manifest#sha256:}" "$at/manifest.json"
	umoci unpack --image "$at/layout:$version" "$at/bundle"
}

# container NAME IMAGE ARGUMENT...: starts it; fails if runc does.
container() {
	local name=$1 at=$work/$2 bundle=$work/$1.bundle
	shift 2
	mkdir -p "$bundle" "$work/$name.state"
	chown "${as_user:-0}" "$work/$name.state"
	# umoci has put entry point and environment of the image into it
	jq --arg work "$work" --arg shared "$shared" --arg state "$work/$name.state" --arg root "$at/bundle/rootfs" \
		--arg config "$work/config.json" --argjson more "${more_mounts:-[]}" --argjson more_env "${more_env:-[]}" --argjson user "${as_user:-0}" --argjson capabilities "${capabilities:-$privileged}" --arg mark "RBD_CSI_TEST=$work" '
		def bind($from; $to; $how): {destination: $to, source: $from, type: "bind", options: ["rbind", $how, "rw"]};
		($ARGS.positional) as $arguments |
		.process.terminal = false |
		.process.args += $arguments |
		.process.env += [$mark] + $more_env |
		.process.user = {uid: $user, gid: $user} |
		.process.capabilities = {bounding: $capabilities, effective: $capabilities, permitted: $capabilities} |
		del(.process.rlimits) |
		.process.noNewPrivileges = false |
		.root = {path: $root, readonly: true} |
		.hostname = null | del(.hostname) |
		.mounts = ([.mounts[] | select(.destination == "/proc")] + [
			bind("/dev"; "/dev"; "rslave"), bind("/sys"; "/sys"; "rslave"),
			{destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["mode=1777"]},
			{destination: "/run", type: "tmpfs", source: "tmpfs", options: ["mode=755"]},
			bind($work; $work; "rslave"), bind($shared; $shared; "rshared"),
			bind($state; "/run/rbd-csi"; "rslave"),
			bind($config; "/etc/ceph-csi-config/config.json"; "rslave")] + $more) |
		.linux = {namespaces: [{type: "pid"}, {type: "mount"}, {type: "ipc"}], rootfsPropagation: "rshared",
			resources: {devices: [{allow: true, access: "rwm"}]}}
		' --args -- "$@" <"$at/bundle/config.json" >"$bundle/config.json" || return 1
	(
		status=0
		runc --root "$work/runc" run --bundle "$bundle" "${work##*/}-$name" >>"$work/$name.log" 2>&1 </dev/null || status=$?
		echo "$status" >"$work/$name.status"
	) &
	defer stop_container "$name"
	ended() { [[ -e $work/$name.status ]]; }
	started() { container_runs "$name" || ended; }
	wait_for 60 started
	if ended; then
		cat "$work/$name.log"
		return 1
	fi
}

container_runs() { [[ $(runc --root "$work/runc" state "${work##*/}-$1" 2>/dev/null | jq -r .status) == running ]]; }

# stop_container NAME: SIGTERM, and SIGKILL after a minute, then it fails.
stop_container() {
	local name=$1 rc=0
	[[ ! -e $work/$name.status ]] || return 0
	ended() { [[ -e $work/$name.status ]]; }
	runc --root "$work/runc" kill "${work##*/}-$name" TERM
	wait_for 60 ended || {
		echo "container $name does not end"
		runc --root "$work/runc" kill "${work##*/}-$name" KILL
		wait_for 60 ended
		rc=1
	}
	runc --root "$work/runc" delete --force "${work##*/}-$name" 2>/dev/null
	return "$rc"
}

# answers SOCKET: within a minute.
answers() {
	probe() { "$build/rbd-csictl" --endpoint "unix://$1" --timeout 5 call Identity/Probe '{}' >/dev/null 2>&1; }
	wait_for 60 probe "$1"
}
