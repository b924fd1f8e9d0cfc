#!/bin/bash
# metrics.t: what rbd-csid tells on --metrics-address, over TCP and over a unix socket, and the
# owner and mode of its sockets. No cluster is asked: the one in its configuration is not there.
. "$(dirname "$0")/lib.sh"

RBD_CSI_CONFIG=$work/config.json
RBD_CSI_SECRETS=$work/secrets.json
echo '[{"clusterID": "nowhere", "monitors": ["127.0.0.1:1"]}]' >"$RBD_CSI_CONFIG"
echo '{"userID": "admin", "userKey": "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="}' >"$RBD_CSI_SECRETS"
volume='{"name": "pvc-1", "capacity_range": {"required_bytes": 16777216},
	"volume_capabilities": [{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}],
	"parameters": {"clusterID": "nowhere", "pool": "rbd"}}'
address=

metrics() { "$top/tests/integration/metrics.py" "$@"; }
threads() { find "/proc/$csid_pid/task" -mindepth 1 -maxdepth 1 | wc -l; }

# body PATH: what is answered, without a program to start where that is possible: what is looked at
# may be over within seconds, and a busy machine takes these to start one.
body() {
	if [[ $address == unix:* ]]; then
		metrics get "$address" "$1"
		return
	fi
	exec 9<>"/dev/tcp/${address%:*}/${address##*:}" || return 1
	printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&9
	cat <&9 >"$work/answer"
	exec 9<&-
	sed '1,/^\r$/d' "$work/answer"
}

# scrape: the text, as of now, for value_of.
scrape() { body /metrics >"$work/metrics"; }

# value_of SAMPLE: in the last scrape.
value_of() { awk -v s="$1" 'substr($0, 1, length(s) + 1) == s " " { print $NF }' "$work/metrics"; }
value_is() { scrape && [[ $(value_of "$1") == "$2" ]]; }
calls() { value_of "rbd_csi_grpc_calls_total{method=\"/csi.v1.$1\",code=\"$2\"}"; }

# starts_not OPTION...: a daemon that is to end at once; sets rc, and error to what it says.
starts_not() {
	rc=0
	timeout 10 "$build/rbd-csid" --type=rbd --nodeid=n --endpoint="unix://$work/other.sock" \
		--config="$RBD_CSI_CONFIG" --statedir="$work/state2" "$@" >"$work/error" 2>&1 || rc=$?
	error=$(tail -n 1 "$work/error")
}

# ---- what is wrong with an address -----------------------------------------------------------

starts_not --metrics-address=9809
is "an address that is none ends it with status 2" "$rc" 2
like "and is named" "$error" '^rbd-csid: --metrics-address: 9809 is not address:port'
starts_not --metrics-address="unix://$work/nowhere/m.sock"
is "a directory that is not there, with 1" "$rc" 1
like "which is named" "$error" "daemon.start text=.*--metrics-address=.*$work/nowhere"
starts_not --socket-owner=no-such-user
is "an owner whom nobody knows, with 2" "$rc" 2
like "who is named" "$error" '--socket-owner=no-such-user: there is no user of that name'

# ---- over TCP --------------------------------------------------------------------------------

start_daemon --metrics-address=127.0.0.1:0
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
like "it tells its port in the log" "$address" '^127\.0\.0\.1:[0-9]+$'
"$build/rbd-csid" --type=rbd --nodeid=second --endpoint="unix://$work/second.sock" \
	--config="$RBD_CSI_CONFIG" --statedir="$work/state2" --metrics-address="$address" \
	2>"$work/second.log" &
second=$!
defer kill "$second"
ok "a port that is taken does not keep a second daemon from serving" wait_for 60 \
	"$build/rbd-csictl" --endpoint "unix://$work/second.sock" call Identity/Probe '{}'
like "which warns of it" "$(<"$work/second.log")" \
	"warn rbd-csid.*metrics.unavailable address=$address .*in use"
is "/healthz is ok" "$(metrics get "$address" /healthz)" ok
ok "/metrics is served" scrape
ok "as Prometheus reads it" metrics check <"$work/metrics"
metrics names <"$work/metrics" >"$work/told"
# shellcheck disable=SC2016  # the backticks are those of Markdown
sed -n 's/^| `\([a-z_]*\)` | \([a-z]*\) |.*/\1 \2/p' "$top/docs/METRICS.md" | sort >"$work/written"
ok "docs/METRICS.md has each of them, and no other" diff "$work/written" "$work/told"

# ---- calls -----------------------------------------------------------------------------------

probes=$(calls Identity/Probe OK)
accepted=$(value_of rbd_csi_grpc_connections_accepted_total)
for _ in 1 2 3; do call Identity/Probe '{}'; done
call Node/NodeUnstageVolume '{}' >/dev/null
"$build/rbd-csictl" --endpoint "$endpoint" bench calls --rpc NodeGetCapabilities --count 500 --callers 7 \
	>/dev/null
scrape
is "calls are counted" "$(calls Identity/Probe OK)" $((probes + 3))
is "by their code" "$(calls Node/NodeUnstageVolume INVALID_ARGUMENT)" 1
is "all of them" "$(calls Node/NodeGetCapabilities OK)" 500
is "and each has its time" "$(value_of \
	'rbd_csi_grpc_call_duration_seconds_count{method="/csi.v1.Node/NodeGetCapabilities"}')" 500
is "connections, too" "$(value_of rbd_csi_grpc_connections_accepted_total)" $((accepted + 6))
ok "none of them is left" wait_for 60 value_is rbd_csi_grpc_connections 0
is "nor is a call" "$(value_of rbd_csi_grpc_calls_running)" 0
is "nor a byte of them" "$(value_of rbd_csi_grpc_buffered_bytes)" 0
ok "bytes are counted both ways" test "$(value_of rbd_csi_grpc_received_bytes_total)" -gt 5000 \
	-a "$(value_of rbd_csi_grpc_sent_bytes_total)" -gt 5000
ok "the text is good after that, too" metrics check <"$work/metrics"

# ---- who does not speak HTTP/2 ---------------------------------------------------------------

python3 - "$work/csi.sock" <<'PYTHON'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 64)
while s.recv(4096):
    pass
PYTHON
scrape
is "a peer that breaks the protocol is counted" \
	"$(value_of 'rbd_csi_grpc_peer_faults_total{reason="protocol"}')" 1
is "and nothing else of it" "$(grep -c '^rbd_csi_grpc_peer_faults_total.* [1-9]' "$work/metrics")" 1

# ---- the configuration -----------------------------------------------------------------------

is "config.json is in use" "$(value_of rbd_csi_config_last_reload_successful)" 1
is "with its cluster" "$(value_of rbd_csi_config_clusters)" 1
echo '[{"clusterID":' >"$RBD_CSI_CONFIG"
ok "one that is broken is told" wait_for 60 value_is rbd_csi_config_last_reload_successful 0
is "and the cluster stays" "$(value_of rbd_csi_config_clusters)" 1

# ---- what runs -------------------------------------------------------------------------------

running='rbd_csi_requests_running{method="/csi.v1.Controller/CreateVolume"}'
joined=$(value_of rbd_csi_requests_joined_total)
started=$(value_of rbd_csi_requests_started_total)
create() {
	exec "$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 60 \
		call Controller/CreateVolume "$volume"
}
(create) >"$work/first" 2>&1 &
first=$!
defer eval "kill $first 2>/dev/null; true"
ok "a request that waits for its cluster is seen" wait_for 60 value_is "$running" 1
ok "its session connects" wait_for 60 value_is 'rbd_csi_worker_sessions{cluster="nowhere",state="connecting"}' 1
waits_are_told() { [[ $(body /healthz) == *"cluster nowhere: "*", 1 requests wait"* ]]; }
ok "a cluster that is waited for is told by /healthz" wait_for 60 waits_are_told
like "which stays ok, as the daemon does not hang" "$(body /healthz)" ^ok
(create) >"$work/second" 2>&1 &
second=$!
defer eval "kill $second 2>/dev/null; true"
ok "a retry joins it" wait_for 60 value_is rbd_csi_requests_joined_total $((joined + 1))
is "and starts none" "$(value_of rbd_csi_requests_started_total)" $((started + 1))
is "two calls run" "$(value_of rbd_csi_grpc_calls_running)" 2
is "for one request" "$(value_of "$running")" 1
ok "it has an age" test "$(value_of "rbd_csi_requests_oldest_seconds${running#*running}")" != 0
is "a process was started for it" "$(value_of 'rbd_csi_process_starts_total{program="ceph-worker"}')" 1
kill "$second"
ok "a caller that goes is no call any more" wait_for 60 value_is rbd_csi_grpc_calls_running 1
is "the other one still waits" "$(value_of "$running")" 1
is "it has one thread all the while" "$(threads)" 1
lag_is_known() { scrape && (($(value_of rbd_csi_loop_lag_seconds_count) >= 1)); }
is "its worker is a process" "$(value_of 'rbd_csi_processes{program="ceph-worker"}')" 1
ok "which has memory" test "$(value_of \
	'rbd_csi_processes_resident_memory_bytes{program="ceph-worker"}')" -gt 1000000
is "the limit of requests is told" "$(value_of 'rbd_csi_limit{resource="requests"}')" 4096
is "and how many there are" "$(value_of 'rbd_csi_used{resource="requests"}')" 1
ok "that thread is measured" wait_for 60 lag_is_known
ok "so is its memory" test "$(value_of process_resident_memory_bytes)" -gt 1000000 \
	-a "$(value_of process_resident_memory_bytes)" -lt 16777216

# ---- the end ---------------------------------------------------------------------------------

is "it is alive" "$(value_of csi_liveness)" 1
kill -TERM "$csid_pid"
ok "when it drains it is not" wait_for 60 value_is csi_liveness 0
is "and /healthz says so" "$(body /healthz | head -n 1)" draining
like "by its status, too" "$(head -n 1 "$work/answer")" '^HTTP/1.1 503 '
kill "$first"
ok "it ends when the last call has gone" wait_for 60 is_gone "$csid_pid"
csid_pid=
ok "the daemon that found the port taken has it now" wait_for 60 \
	grep -q "metrics.listen address=$address" "$work/second.log"
is "and serves it" "$(metrics get "$address" /healthz)" ok

# ---- over a unix socket ----------------------------------------------------------------------

address=unix://$work/metrics.sock
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$work/metrics.sock"
start_daemon --metrics-address="$address" --socket-mode=0660 --socket-owner=65534 --socket-group=4242
is "the socket of the metrics has mode, owner and group" \
	"$(stat -c '%a %u %g' "$work/metrics.sock")" "660 65534 4242"
is "and so has that of the driver" "$(stat -c '%a %u %g' "$work/csi.sock")" "660 65534 4242"
ok "a stale socket was replaced by one that is served" scrape
is "which has counted the two calls of the start" "$(calls Identity/Probe OK)" 2
is "/healthz is there, too" "$(metrics get "$address" /healthz)" ok
starts_not --metrics-address="$address"
is "a live one is not replaced" "$rc" 1
like "and named" "$error" "$work/metrics.sock is served by another process"
ok "it goes on" scrape
is "with one thread" "$(threads)" 1
ok "and ends" stop_daemon
ok "its sockets end with it" test ! -e "$work/metrics.sock" -a ! -e "$work/csi.sock"

# ---- a cluster that hangs, and a daemon that does --------------------------------------------

: >"$work/csid.log"
echo '[{"clusterID": "nowhere", "monitors": ["127.0.0.1:1"]}]' >"$RBD_CSI_CONFIG"
start_daemon --metrics-address=127.0.0.1:0 --logslowopinterval=1s
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
POD_IP=127.0.0.1 "$build/rbd-csid" --type=liveness --endpoint="$endpoint" --metricsport=0 --polltime=100ms \
	--timeout=2s 2>"$work/liveness.log" &
liveness=$!
defer eval "kill $liveness 2>/dev/null; true"
live_is() {
	local at
	at=$(sed -n 's/.*metrics.listen address=//p' "$work/liveness.log")
	[[ $(metrics get "$at" /metrics 2>/dev/null) == *$'\n'"csi_liveness $1"$'\n'* ]]
}
tries() { until [[ -e $work/enough ]]; do (create) >"$work/tried" 2>&1; done; }
tries &
tries=$!
defer eval "touch '$work/enough'; wait $tries; true"
hangs_are_told() { [[ $(body /healthz) == ok*"requests: 1 run, the oldest for "* ]]; }
ok "what runs longer than --logslowopinterval is told by /healthz" wait_for 120 hangs_are_told
ok "--type=liveness: the daemon answers, 1" wait_for 60 live_is 1
touch "$work/enough"
wait "$tries"
kill -STOP "$csid_pid"
defer eval "kill -CONT $csid_pid 2>/dev/null; true"
hangs() { ! timeout 5 "$top/tests/integration/metrics.py" get "$address" /healthz; }
ok "a daemon that hangs does not answer /healthz" hangs
ok "and --type=liveness says 0" wait_for 60 live_is 0
ok "after its time-out" grep -q 'liveness.ready is=0 code=DEADLINE_EXCEEDED' "$work/liveness.log"
kill -CONT "$csid_pid"
ok "when it goes on, 1 again" wait_for 60 live_is 1
like "and /healthz is ok" "$(metrics get "$address" /healthz)" ^ok
kill "$liveness"
ok "it ends" stop_daemon

# ---- without it ------------------------------------------------------------------------------

: >"$work/csid.log"
start_daemon
ok "no metrics are served unless they are asked for" test -z "$(grep metrics.listen "$work/csid.log")"
is "nothing but the socket of the driver is listened on" \
	"$(find "/proc/$csid_pid/fd" -lname 'socket:*' | wc -l)" 1
ok "it ends" stop_daemon

done_testing
