#!/bin/bash
# status_page.t: the page of --status-page in a browser, wide and narrow, while a request hangs. No
# cluster is asked: the one in its configuration is not there.
. "$(dirname "$0")/lib.sh"

RBD_CSI_CONFIG=$work/config.json
RBD_CSI_SECRETS=$work/secrets.json
echo '[{"clusterID": "nowhere", "monitors": ["127.0.0.1:1"]}]' >"$RBD_CSI_CONFIG"
echo '{"userID": "admin", "userKey": "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="}' >"$RBD_CSI_SECRETS"
volume='{"name": "pvc-<b>1</b>", "capacity_range": {"required_bytes": 16777216},
	"volume_capabilities": [{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}],
	"parameters": {"clusterID": "nowhere", "pool": "rbd"}}'

start_daemon --metrics-address=127.0.0.1:0
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
no_page() { ! http_get "$address" /; }
ok "there is no page unless it is asked for" no_page
ok "the daemon ends" stop_daemon

: >"$work/csid.log"
start_daemon --metrics-address=127.0.0.1:0 --status-page
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
before=$(awk '/^VmRSS/ { print $2 }' "/proc/$csid_pid/status")
call Controller/DeleteVolume '{"volume_id": ""}' >/dev/null
create() {
	exec "$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 60 \
		call Controller/CreateVolume "$volume"
}
# Until the page has been looked at: what has failed is asked again.
hang() { while [[ ! -e $work/enough ]]; do (create) >/dev/null 2>&1; done; }
hang &
hanging=$!
defer eval "touch '$work/enough'; pkill -P $hanging; wait $hanging; true"
page_has() { http_get "$address" / | grep -q "$1"; }
ok "a request that hangs is on the page" wait_for 60 page_has 'pvc-&lt;b&gt;1&lt;/b&gt;'

forks() { http_get "$address" /metrics | sed -n 's/^rbd_csi_offload_forks_total //p'; }
forked=$(forks) began=$EPOCHREALTIME
ok "the page is asked for many times" python3 -c '
import sys, urllib.request
for i in range(200):
    urllib.request.urlopen(f"http://{sys.argv[1]}/", timeout=60).read()' "$address"
forked=$(($(forks) - forked)) took=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
diag "200 pages in $took ms: $forked looks at the volumes"
ok "the volumes are looked at every 4 s at most, however often they are asked for" \
	test "$forked" -le $((took / 4000 + 2))

look_at "http://$address/"
like "the browser sees the request's name as text" "$dom" 'pvc-&lt;b&gt;1&lt;/b&gt;'
like "its session" "$dom" '<td><code>nowhere</code></td><td><code>127.0.0.1:1</code></td><td><code>admin</code></td>'
like "and the calls" "$dom" '<code>/csi.v1.Identity/Probe</code>'
after=$(awk '/^VmRSS/ { print $2 }' "/proc/$csid_pid/status")
diag "resident: $before KiB, with pages served $after KiB"
ok "it costs less than 2 MiB" test $((after - before)) -lt 2048
touch "$work/enough"
pkill -P "$hanging"
ok "the daemon ends" stop_daemon

done_testing
