# shellcheck shell=bash
# lib.sh: what the integration tests share. A test sources it first:
#
#   . "$(dirname "$0")/lib.sh"
#   need_cluster
#   start_daemon
#   ok "CreateVolume makes an image" call Controller/CreateVolume '{"name": "pvc-1", ...}'
#   is "the volume has the size asked for" "$(jq -r .volume.capacityBytes <<<"$reply")" 1073741824
#   fails_with ALREADY_EXISTS "another size is refused" call Controller/CreateVolume '...'
#   done_testing
#
# Tests speak TAP on stdout. What a test starts or mounts it hands to `defer` at once, so that
# nothing is left behind however the test ends. Nothing here sleeps for a fixed time: wait_for.
#
# From the environment: RBD_CSI_BUILD, where the programs are (the current directory), and what
# `scripts/dev-cluster env` prints; without the latter need_cluster starts a cluster.
set -uo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=../../scripts/processes.sh
. "$top/scripts/processes.sh"
# shellcheck source=../left.sh
. "$top/tests/left.sh"
build=$(cd "${RBD_CSI_BUILD:-.}" && pwd -P)
# /var/tmp: a directory which is no tmpfs; loop devices with direct I/O may refuse one
work=$(mktemp -d "${RBD_CSI_RUN:-/var/tmp}/rbd-csi-test.XXXXXX")
endpoint=unix://$work/csi.sock
reply=
error=
csid_pid=
# the mark of this test's processes
export RBD_CSI_TEST=$work

# ---- cleaning up -----------------------------------------------------------------------------

_deferred=()

# defer COMMAND...: to run at the end of the test, the latest first.
defer() {
	_deferred+=("$(printf '%q ' "$@")")
}

_clean_up() {
	local rc=$? i
	trap - EXIT
	for ((i = ${#_deferred[@]} - 1; i >= 0; i--)); do
		eval "${_deferred[i]}" >"$work/cleanup" 2>&1 || {
			sed "s|^|# cleaning up, ${_deferred[i]}: |" "$work/cleanup"
			rc=1
		}
	done
	_sweep || rc=1
	_check_logs || rc=1
	if ((_finished && rc == 0)); then
		rm -rf --one-file-system "$work"
	else
		echo "# the files of this test are in $work"
		((rc)) || rc=1
	fi
	exit "$rc"
}

# What the programs have written must be as docs/LOGS.md has it.
_check_logs() {
	local logs=("$work"/*.log)
	[[ -e ${logs[0]} ]] || return 0
	"$top/scripts/check-logs" "${logs[@]}" | head -n 20 | sed 's/^/# /'
	return "${PIPESTATUS[0]}"
}

# Takes away what is still mounted or attached from below $work, and what of this test still runs,
# and fails if there was a mount or a loop device: a test that passes leaves none. The devices are
# looked for first, since their paths go with the mounts.
_sweep() {
	local rc=0 point loop file loops
	loops=$(left_loops "$work")
	while read -r point; do
		echo "# left mounted: $point"
		timeout 20 umount "$point" || umount -l "$point"
		rc=1
	done < <(left_mounts "$work")
	while read -r loop file; do
		[[ -n $loop ]] || continue
		echo "# left attached: /dev/$loop, $file"
		rc=1
		# it may have gone with its mount, and be somebody else's now
		[[ $(cat "/sys/block/$loop/loop/backing_file" 2>/dev/null) == */"${file##*/}" ]] && losetup -d "/dev/$loop"
	done <<<"$loops"
	end_marked "RBD_CSI_TEST=$work" || rc=1
	return "$rc"
}
trap _clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- TAP -------------------------------------------------------------------------------------

_count=0
_failed=0
_failures=()
_skipped=0
_finished=0

_result() {
	((++_count))
	if (($1 == 0)); then
		echo "ok $_count - $2"
	else
		((++_failed))
		_failures+=("$_count - $2")
		echo "not ok $_count - $2"
	fi
	return "$1"
}

# diag TEXT...: lines for people.
diag() { printf '%s\n' "$@" | sed 's/^/# /'; }

# ok NAME COMMAND...: passes if the command succeeds. It runs in this shell, so it may set
# variables; its output is shown if it fails.
ok() {
	local name=$1 rc=0
	shift
	"$@" >"$work/out" 2>&1 || rc=$?
	_result $((rc != 0)) "$name" && return
	diag "$* -> $rc"
	sed 's/^/#   /' "$work/out"
	return 1
}

# is NAME GOT WANT: passes if the two texts are the same.
is() {
	[[ $2 == "$3" ]]
	_result $? "$1" && return
	diag "got  $2" "want $3"
	return 1
}

# like NAME TEXT REGEX: passes if the text matches the extended regular expression.
like() {
	[[ $2 =~ $3 ]]
	_result $? "$1" && return
	diag "got  $2" "want something like $3"
	return 1
}

# fails_with CODE NAME call ...: passes if the call fails with this gRPC code.
fails_with() {
	local code=$1 name=$2
	shift 2
	if "$@" >/dev/null; then
		_result 1 "$name"
		diag "succeeded: $reply"
		return 1
	fi
	like "$name" "$error" "^$code: "
}

# skip NAME WHY: for what this machine cannot do, whatever rbd-csi does.
skip() {
	((++_skipped))
	echo "ok $((++_count)) - $1 # SKIP $2"
}

# bail WHY: without what is missing now no test makes sense.
bail() {
	echo "Bail out! $*"
	exit 1
}

# done_testing: the last line of a test; the exit status is 0 if all passed.
done_testing() {
	echo "1..$_count"
	finish
}

# finish: the end of a script that does not speak TAP itself.
finish() {
	_finished=1
	exit $((_failed != 0))
}

# ---- waiting ---------------------------------------------------------------------------------

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over.
wait_for() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		((${EPOCHREALTIME/./} < end)) || return 1
		sleep 0.05
	done
}

is_gone() { [[ ! -d /proc/$1 || $(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) == Z ]]; }

# ours PROGRAM: prints the ids of this test's processes that run it, whoever started them; fails
# if there is none.
ours() {
	local pid none=1
	for pid in $(marked "RBD_CSI_TEST=$work"); do
		[[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]] && echo "$pid" && none=0
	done
	return "$none"
}

attachds() { ours rbd-attachd; }
no_attachd() { ! attachds >/dev/null; }

# stop_attachds: for `defer` before start_daemon: ends every rbd-attachd, which outlives rbd-csid, and
# takes away what it had mounted.
stop_attachds() {
	local pid point
	for pid in $(attachds); do
		kill -TERM "$pid"
		wait_for 60 is_gone "$pid" || kill -KILL "$pid"
	done
	while read -r point; do
		umount "$point" || return
	done < <(awk -v d="$work/state/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo)
}
# http_get ADDRESS PATH: the body of an answer of ADDRESS, host:port or unix:///path; fails unless it
# is 200.
http_get() {
	python3 -c '
import http.client, socket, sys
address, path = sys.argv[1:]
peer = http.client.HTTPConnection(address if address[:4] != "unix" else "localhost", timeout=10)
if address[:7] == "unix://":
    peer.sock = socket.socket(socket.AF_UNIX)
    peer.sock.connect(address[7:])
peer.request("GET", path)
answer = peer.getresponse()
sys.stdout.write(answer.read().decode())
sys.exit(answer.status != 200)' "$@"
}

# ---- a browser -------------------------------------------------------------------------------

browser() {
	timeout 300 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
		--user-data-dir="$work/chromium" --hide-scrollbars "$@" 2>"$work/chromium.err"
}

# look_at URL: passes if Debian's chromium draws the page, wide and narrow; sets dom to what it has
# made of it. The pictures are for people: in $KEEP_PICTURES, if that is set.
look_at() {
	local width
	for width in 1280 390; do
		ok "a browser draws the page, $width wide" \
			browser --window-size="$width,1600" --screenshot="$work/$width.png" "$1"
		is "and so is the picture" "$(python3 -c '
import struct, sys
print(struct.unpack(">I", open(sys.argv[1], "rb").read(24)[16:20])[0])' "$work/$width.png")" $width
	done
	# shellcheck disable=SC2034 # for the test
	dom=$(browser --dump-dom "$1")
	[[ -z ${KEEP_PICTURES:-} ]] || cp "$work"/*.png "$KEEP_PICTURES"
}

# ---- cluster and daemon ----------------------------------------------------------------------

# need_cluster: the one that the environment names, else one of this test's own.
need_cluster() {
	[[ -z ${RBD_CSI_CLUSTER_DIR:-} ]] || return 0
	defer "$top/scripts/dev-cluster" down --dir "$work/ceph"
	"$top/scripts/dev-cluster" up --dir "$work/ceph" >&2 || bail "no Ceph cluster"
	eval "$("$top/scripts/dev-cluster" env --dir "$work/ceph")"
}

# start_daemon [OPTION...]: rbd-csid at $endpoint, both services, with the options added. Sets
# csid_pid. Its log is $work/csid.log, its state directory $work/state; a second start goes on
# with both, as a restart does.
start_daemon() {
	mkdir -p "$work/state"
	"$build/rbd-csid" --type=rbd --nodeserver --controllerserver --nodeid=test-node \
		--endpoint="$endpoint" --config="$RBD_CSI_CONFIG" --statedir="$work/state" \
		--worker-path="$build/ceph-worker" --attachd-path="$build/rbd-attachd" \
		--drivername=rbd.csi.ceph.com --mounter-fallback=userspace "$@" \
		>>"$work/csid.log" 2>&1 &
	csid_pid=$!
	defer stop_daemon
	wait_for 60 _answers_or_gone
	_answers || {
		sed 's/^/# rbd-csid: /' "$work/csid.log"
		bail "rbd-csid does not answer"
	}
}

_answers() { call Identity/Probe '{}' >/dev/null; }
_answers_or_gone() { is_gone "$csid_pid" || _answers; }

# stop_daemon [SIGNAL]: ends it (TERM) and waits for its end; fails if it does not come.
stop_daemon() {
	local pid=$csid_pid
	[[ -n $pid ]] || return 0
	csid_pid=
	kill "-${1:-TERM}" "$pid" 2>/dev/null
	wait_for 60 is_gone "$pid" || {
		echo "rbd-csid does not end on ${1:-TERM}"
		kill -KILL "$pid"
		return 1
	}
}

# call SERVICE/METHOD JSON: one RPC with the cluster's secrets. Sets reply, or else error, which
# is "CODE: text"; the exit status is rbd-csictl's. $call_timeout: seconds until it is given up.
call() {
	local rc=0
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" \
		--timeout "${call_timeout:-120}" call "$1" "$2" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	((rc == 0)) || echo "$error"
	return "$rc"
}

# ctl WANTED-STATUS NAME ARGUMENT...: passes if rbd-csictl ends so. Sets reply and error.
ctl() {
	local want=$1 name=$2 rc=0
	shift 2
	reply=$("$build/rbd-csictl" --endpoint "$endpoint" "$@" 2>"$work/error") || rc=$?
	error=$(<"$work/error")
	is "$name" "$rc" "$want" || diag "$error"
}
