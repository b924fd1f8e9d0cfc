#!/bin/bash
# limits.t: the options that bound the gRPC server and what runs behind it, each with a client that
# goes beyond: the client is refused or sent away in the way that docs/GRPC.md tells, and counted.
# No cluster is asked: the one in the configuration is not there.
. "$(dirname "$0")/lib.sh"

RBD_CSI_CONFIG=$work/config.json
RBD_CSI_SECRETS=$work/secrets.json
echo '[{"clusterID": "nowhere", "monitors": ["127.0.0.1:1"]}]' >"$RBD_CSI_CONFIG"
echo '{"userID": "admin", "userKey": "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="}' >"$RBD_CSI_SECRETS"
address=unix://$work/metrics.sock

peer() { timeout 150 "$top/tests/integration/peer.py" "$work/csi.sock" "$@"; }
value_of() {
	"$top/tests/integration/metrics.py" get "$address" /metrics |
		awk -v s="$1" 'substr($0, 1, length(s) + 1) == s " " { print $NF }'
}
value_is() { [[ $(value_of "$1") == "$2" ]]; }
faults() { value_of "rbd_csi_grpc_peer_faults_total{reason=\"$1\"}"; }
refusals() { value_of "rbd_csi_grpc_refusals_total{reason=\"$1\"}"; }

clients=()

# in_background COMMAND...: a client of the daemon, until clients_go.
in_background() {
	"$@" >"$work/client" 2>&1 &
	clients+=($!)
	defer eval "kill $! 2>/dev/null; true"
}
clients_go() {
	kill "${clients[@]}" 2>/dev/null
	clients=()
}

# create NAME: a request that waits for its cluster.
create() {
	in_background "$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" \
		--timeout 120 call Controller/CreateVolume "$(volume "$1")"
}
volume() {
	jq -n --arg name "$1" '{name: $name, capacity_range: {required_bytes: 16777216},
		volume_capabilities: [{mount: {}, access_mode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: {clusterID: "nowhere", pool: "rbd"}}'
}

# ---- times -----------------------------------------------------------------------------------

start_daemon --metrics-address="$address" --grpc-handshake-timeout=1s \
	--grpc-first-call-timeout=1s --grpc-idle-timeout=1s --grpc-request-timeout=1s \
	--grpc-write-timeout=1s
is "who says nothing is sent away" "$(peer silent)" ended
is "--grpc-handshake-timeout" "$(faults handshake)" 1
is "who makes no call is sent away" "$(peer greets)" ended
is "--grpc-first-call-timeout" "$(faults first_call)" 1
is "who makes no more calls is sent away" "$(peer stays)" ended
is "--grpc-idle-timeout" "$(faults idle)" 1
is "who does not take his answer is sent away" "$(peer deaf)" ended
is "--grpc-write-timeout" "$(faults slow_reader)" 1
is "a request that does not arrive is DEADLINE_EXCEEDED" "$(peer half)" 4
is "--grpc-request-timeout" "$(refusals slow)" 1
is "who behaves is served" "$(peer calls)" 0
ok "the daemon ends" stop_daemon

# ---- sizes -----------------------------------------------------------------------------------

start_daemon --metrics-address="$address" --grpc-max-header-bytes=2KiB \
	--grpc-max-request-bytes=1KiB --grpc-max-reply-bytes=1KiB --grpc-max-streams=7
is "--grpc-max-streams is told" "$(peer streams)" 7
is "headers below the limit are taken" "$(peer calls 1500)" 0
is "those above it are RESOURCE_EXHAUSTED" "$(peer calls 2000)" 8
is "--grpc-max-header-bytes" "$(refusals headers)" 1
fails_with INVALID_ARGUMENT "a request below the limit is taken" \
	call Node/NodeUnstageVolume "{\"volume_id\": \"$(printf '%0900d' 0)\"}"
fails_with RESOURCE_EXHAUSTED "--grpc-max-request-bytes" \
	call Node/NodeUnstageVolume "{\"volume_id\": \"$(printf '%01100d' 0)\"}"
is "--grpc-max-reply-bytes" "$(peer asks)" 8
ok "the daemon ends" stop_daemon
start_daemon --metrics-address="$address"
is "by default an answer may be larger" "$(peer asks)" 0
is "and headers, too" "$(peer calls 2000)" 0
ok "the daemon ends" stop_daemon

# ---- numbers ---------------------------------------------------------------------------------

start_daemon --metrics-address="$address" --grpc-max-connections=3
for _ in 1 2 3; do
	in_background "$top/tests/integration/peer.py" "$work/csi.sock" silent
done
ok "three connections that do nothing" wait_for 60 value_is rbd_csi_grpc_connections 3
is "make room for one that makes a call" "$(peer calls)" 0
is "--grpc-max-connections" "$(faults evicted)" 1
clients_go
ok "they go" wait_for 60 value_is rbd_csi_grpc_connections 0
ok "the daemon ends" stop_daemon

start_daemon --metrics-address="$address" --grpc-max-calls=2
create first
ok "one call runs" wait_for 60 value_is rbd_csi_grpc_calls_running 1
is "a third one is refused" "$(peer beside)" 14
is "--grpc-max-calls" "$(refusals calls)" 1
create second
ok "two calls run" wait_for 60 value_is rbd_csi_grpc_calls_running 2
ok "another one gets in, as its connection has no other" call Identity/Probe '{}'
clients_go
ok "when they have ended" wait_for 60 value_is rbd_csi_grpc_calls_running 0
is "there is room again" "$(peer beside)" 0
ok "the daemon ends" stop_daemon

running='rbd_csi_requests_running{method="/csi.v1.Controller/CreateVolume"}'
start_daemon --metrics-address="$address" --max-requests=2
create first
create second
ok "two requests run" wait_for 60 value_is "$running" 2
fails_with UNAVAILABLE "another one is refused" call Controller/CreateVolume "$(volume third)"
like "and told why" "$error" '2 requests are running, which is the limit'
ok "--max-requests" test "$(value_of rbd_csi_requests_refused_total)" -ge 1
create second
ok "a retry joins one" wait_for 60 value_is rbd_csi_requests_joined_total 1
ok "what needs no request is served" call Identity/Probe '{}'
kill "${clients[0]}"
ok "when one has gone" wait_for 60 value_is "$running" 1
create third
ok "there is room again" wait_for 60 value_is "$running" 2
ok "the daemon has one thread all the while" test \
	"$(find "/proc/$csid_pid/task" -mindepth 1 -maxdepth 1 | wc -l)" = 1
clients_go
ok "the daemon ends" stop_daemon

# ---- descriptors -----------------------------------------------------------------------------

: >"$work/csid.log"
ulimit -n 512
start_daemon --metrics-address="$address"
like "fewer descriptors than connections are told in the log" "$(<"$work/csid.log")" \
	'daemon.files limit=512 connections=256'
ok "and all the same it serves" call Identity/Probe '{}'
ok "the daemon ends" stop_daemon

done_testing
