#!/bin/bash
# cancel.t: callers that give up or are killed, with monitors that accept and say nothing, and with
# a worker that never answers. What they asked for comes to a safe end, and rbd-csid is as before.
# Needs no cluster.
. "$(dirname "$0")/lib.sh"

access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'

create_json() {
	jq -n --arg name "$1" --argjson access "$access" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: "hang", pool: "rbd"}}'
}

logged() { grep -q -- "$1" "$work/csid.log"; }
dump_count() { grep -c 'dump.end' "$work/csid.log"; }
dumped() { (($(dump_count) > $1)); }

# dump: what lives in rbd-csid now, into $work/dump.
dump() {
	local before
	before=$(dump_count)
	kill -USR1 "$csid_pid"
	wait_for 60 dumped "$before" || return 1
	awk '/dump\.begin/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }' \
		"$work/csid.log" >"$work/dump"
}

# server_is CONNECTIONS CALLS REQUESTS: as the dump tells it.
server_is() {
	dump && grep -q "dump server connections=$1 calls=$2 .* requests=$3\$" "$work/dump"
}
ops_are() { dump && grep -q "dump\.end ops=$1\$" "$work/dump"; }

descriptors() { find "/proc/$csid_pid/fd" -mindepth 1 -maxdepth 1 | wc -l; }
descriptors_are() { [[ $(descriptors) == "$1" ]]; }
rss_below() { (($(rss_kib) <= $1)); }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$csid_pid/status"; }

# ask NAME SECONDS: a CreateVolume in the background; its process is $!, what it says is in
# $work/said.NAME.
ask() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout "$2" \
		call Controller/CreateVolume "$(create_json "$1")" >"$work/said.$1" 2>&1 &
}

# ask_many N SECONDS: N different ones; `asked` gets their processes.
ask_many() {
	local i
	asked=()
	for ((i = 0; i < $1; i++)); do
		ask "volume-$i" "$2"
		asked+=($!)
	done
}

kill_all() {
	kill -KILL "$@"
	wait "$@" 2>/dev/null
	return 0
}

# ---- monitors that accept and say nothing --------------------------------------------------------

python3 -c '
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1], "w") as f:
    f.write(str(s.getsockname()[1]))
kept = []
while True:
    kept.append(s.accept())' "$work/port" &
monitor=$!
defer kill "$monitor"
wait_for 60 test -s "$work/port" || bail "no loopback port"
export RBD_CSI_CONFIG=$work/config.json RBD_CSI_SECRETS=$work/secrets.json
echo "[{\"clusterID\": \"hang\", \"monitors\": [\"127.0.0.1:$(<"$work/port")\"]}]" >"$RBD_CSI_CONFIG"
echo '{"userID": "slow", "userKey": "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="}' >"$RBD_CSI_SECRETS"

start_daemon --drain-timeout=25s
ask late 2
wait $!
like "monitors that say nothing: the deadline tells what the call waited for" \
	"$(<"$work/said.late")" '^DEADLINE_EXCEEDED: .*connection to cluster "hang" at 127.0.0.1:'
ok "no connection, call or request is left" wait_for 60 server_is 0 0 0
files=$(descriptors)
ask_many 20 60
ok "20 callers wait" wait_for 60 server_is 20 20 20
kill_all "${asked[@]}"
ok "kill -9 of all: nothing is left" wait_for 60 server_is 0 0 0
ok "no operation either" ops_are 0
ok "nor a descriptor" wait_for 60 descriptors_are "$files"

ask same 60
first=$!
wait_for 60 server_is 1 1 1
cp "$work/said.same" "$work/said.first"
ask same 4
second=$!
ok "two identical calls are one request" wait_for 60 server_is 2 2 1
kill_all "$first"
ok "the first caller is killed: the second one stays" wait_for 60 server_is 1 1 1
wait "$second"
like "and has an answer in its own time" "$(<"$work/said.same")" '^DEADLINE_EXCEEDED: '

# A Node RPC: rbd-attachd is started and waits for the monitors, too.
mkdir "$work/stage"
stage_json=$(jq -n --arg path "$work/stage" --argjson access "$access" \
	'{volume_id: "0001-0004-hang-0000000000000002-11111111-2222-4333-8444-555555555555",
	  staging_target_path: $path, volume_capability: $access,
	  volume_context: {clusterID: "hang", pool: "rbd", imageName: "csi-vol-x", mounter: "userspace"}}')
"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 60 \
	call Node/NodeStageVolume "$stage_json" >"$work/said.stage" 2>&1 &
stager=$!
ok "NodeStageVolume waits for rbd-attachd" wait_for 60 server_is 1 1 1
kill_all "$stager"
ok "kill -9 of its caller: the operation goes on" wait_for 60 server_is 0 0 1
like "SIGUSR1 names it" "$(<"$work/dump")" 'name=NodeStageVolume .*state=STAGE_'
ok "until it has failed, and is undone" wait_for 60 server_is 0 0 0
ok "with all of its operations" wait_for 60 ops_are 0
ok "rbd-attachd has ended" wait_for 60 no_attachd

ask drained 5
waiter=$!
wait_for 60 server_is 1 1 1
kill -TERM "$csid_pid"
ok "SIGTERM: a call that waits for the cluster has its time" wait_for 60 is_gone "$csid_pid"
wait "$waiter"
like "and an answer" "$(<"$work/said.drained")" '^(DEADLINE_EXCEEDED|UNAVAILABLE): '
wait "$csid_pid"
is "rbd-csid ends with status 0" $? 0
csid_pid=

# ---- a worker that works and never answers -------------------------------------------------------

start_daemon --drain-timeout=25s --worker-path="$build/tests/fake/worker"
ask slow 8
wait $!
like "a worker that never answers: the deadline tells what it does" "$(<"$work/said.slow")" \
	'^DEADLINE_EXCEEDED: operation CreateVolume on volume slow .*in state CREATE_CLAIMED'
ok "the request goes on without a caller" wait_for 60 server_is 0 0 1
like "SIGUSR1 names it" "$(<"$work/dump")" 'name=call subject="CreateVolume slow" .*state=REQUEST_ANSWERED'
ask slow 60
again=$!
ok "a retry joins it" wait_for 60 server_is 1 1 1
kill_all "$again"

ask_many 100 60
ok "100 callers more" wait_for 60 server_is 100 100 101
kill_all "${asked[@]}"
ok "kill -9 of all: no call is left, and what runs goes on" wait_for 60 server_is 0 0 101
ask_many 100 60
ok "the same 100 again join what runs" wait_for 60 server_is 100 100 101
kill_all "${asked[@]}"
ok "kill -9 of all" wait_for 60 server_is 0 0 101
ok "when nobody has asked for a while, the worker is told, and all of it ends" \
	wait_for 60 server_is 0 0 0
ok "no operation is left" ops_are 0
rss=$(rss_kib)
files=$(descriptors)
ask_many 100 60
ok "100 callers once more" wait_for 60 server_is 100 100 100
kill_all "${asked[@]}"
ok "kill -9 of all, again" wait_for 60 server_is 0 0 100
ok "descriptors return" wait_for 60 descriptors_are "$files"
# once the heap is trimmed
ok "memory returns to $rss KiB and a half MiB" wait_for 60 rss_below $((rss + 512))

began=${EPOCHREALTIME/./}
kill -TERM "$csid_pid"
ok "SIGTERM: what nobody waits for is told at once" wait_for 60 is_gone "$csid_pid"
took=$(((${EPOCHREALTIME/./} - began) / 1000))
ok "and does not hold up the end ($took ms)" test "$took" -lt 20000
wait "$csid_pid"
is "rbd-csid ends with status 0" $? 0
ok "everything was freed" logged 'daemon.stop complete=1'
csid_pid=
done_testing
