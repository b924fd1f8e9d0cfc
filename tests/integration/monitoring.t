#!/bin/bash
# monitoring.t: deploy/monitoring against a daemon under load that a real Prometheus scrapes: promtool
# likes the metrics and fires each alert, and every query of the dashboard has an answer.
. "$(dirname "$0")/lib.sh"
need_cluster

monitoring=$top/deploy/monitoring
address=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

ok "the alert rules are right" promtool check rules "$monitoring/rules.yaml"
ok "each of them fires when it should, and not else" promtool test rules "$monitoring/rules.test.yaml"
is "each of them is tested" \
	"$(sed -n 's/.*alertname: //p' "$monitoring/rules.test.yaml" | sort)" \
	"$(sed -n 's/.*alert: //p' "$monitoring/rules.yaml" | sort)"

# ---- a daemon that has something to tell -----------------------------------------------------

defer stop_attachds
start_daemon --metrics-address="$address"
jq -n --arg c "$RBD_CSI_FSID" '{clusterID: $c, pool: "rbd", mounter: "userspace"}' >"$work/parameters.json"
cat >"$work/prometheus.yaml" <<EOT
global: {scrape_interval: 3s, evaluation_interval: 3s} # also what one scrape may take
rule_files: ["$monitoring/rules.yaml"]
scrape_configs:
  - job_name: rbd-csi
    static_configs: [{targets: ["$address"]}]
EOT
ok "Prometheus' configuration is right" promtool check config "$work/prometheus.yaml"
prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/tsdb" \
	--web.listen-address="$server" >"$work/prometheus.out" 2>&1 &
prometheus=$!
defer kill "$prometheus"

# asks SECONDS [EXPRESSION...]: waits until each expression, or each line of the input, has an answer of at
# least one series; 0: that Prometheus takes them is enough. Prints those that have not.
asks() {
	python3 - "$server" "$@" 3<&0 <<'PYTHON'
import json, os, sys, time, urllib.error, urllib.parse, urllib.request
server, seconds, *queries = sys.argv[1:]
end = time.monotonic() + float(seconds)

def ask(query):
    url = f"http://{server}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]["result"], None
    except urllib.error.HTTPError as e:
        return [], None if e.code == 503 else json.load(e)["error"]  # 503: it is not ready yet
    except OSError:
        return [], None

bad = 0
for query in queries or os.fdopen(3).read().splitlines():
    result, error = ask(query)
    while not result and not error and time.monotonic() < end:
        time.sleep(0.2)
        result, error = ask(query)
    if error or (not result and float(seconds) > 0):
        print(f"{query}: {error or 'no answer'}")
        bad = 1
sys.exit(bad)
PYTHON
}
ask_all() { asks "$1" <"$2"; }

ok "it scrapes the daemon" asks 180 'up == 1'
bench() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" call "$@" >"$work/called" 2>&1
}
# Calls of all kinds until the load is taken away: attached volumes, failures, deletions.
capability='{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
volume=$(jq -n --slurpfile p "$work/parameters.json" --argjson c "$capability" '{name: "pvc-monitored",
	capacity_range: {required_bytes: 16777216}, volume_capabilities: [$c], parameters: $p[0]}')
ok "a volume is made" call Controller/CreateVolume "$volume"
made=$(jq '{volume_id: .volume.volumeId, volume_context: .volume.volumeContext}' <<<"$reply")
id=$(jq -r .volume_id <<<"$made")
mkdir "$work/staging"
ok "and staged" call Node/NodeStageVolume "$(jq --argjson c "$capability" --arg s "$work/staging" \
	'. + {staging_target_path: $s, volume_capability: $c}' <<<"$made")"
load() {
	until wait_for 1 test -e "$work/enough"; do # its pause
		bench Controller/CreateVolume "$volume"
		bench Controller/ValidateVolumeCapabilities "{\"volume_id\": \"$id\"}"
		bench Identity/Probe '{}'
	done
}
load &
load=$!
defer eval "touch '$work/enough'; wait $load; true"
ok "rates are known" asks 180 'sum(rate(rbd_csi_grpc_calls_total{code!="OK"}[2m])) > 0'

# ---- what promtool says of the metrics -------------------------------------------------------

http_get "$address" /metrics >"$work/metrics"
ok "promtool check metrics has nothing to say" test -z "$(promtool check metrics <"$work/metrics" 2>&1)"
diag "$(promtool check metrics <"$work/metrics" 2>&1 | head -n 5)"
diag "$(wc -c <"$work/metrics") bytes"

# ---- the dashboard ---------------------------------------------------------------------------

# shellcheck disable=SC2016  # the dollars are Grafana's
jq -r '.panels[].targets[]?.expr' "$monitoring/dashboard.json" |
	sed 's/\$__rate_interval/2m/g; s/\$instance/.*/g' >"$work/queries"
python3 -c 'import sys, yaml
for rule in yaml.safe_load(open(sys.argv[1]))["groups"][0]["rules"]:
    print(" ".join(rule["expr"].split()))' "$monitoring/rules.yaml" >"$work/alerts"
ok "the dashboard has queries" test "$(wc -l <"$work/queries")" -gt 40
ok "each has an answer" ask_all 180 "$work/queries"
ok "Prometheus takes those of the alerts, too" ask_all 0 "$work/alerts"
grep -oh 'rbd_csi_[a-z_]*' "$work/queries" "$work/alerts" | sed 's/_\(bucket\|sum\|count\)$//' | sort -u >"$work/used"
is "every metric has a place there, but some of the server's" "$(
	sed -n 's/^# TYPE \(rbd_csi_[^ ]*\) .*/\1/p' "$work/metrics" | sort | comm -23 - "$work/used")" \
	"$(printf '%s\n' rbd_csi_grpc_calls_running rbd_csi_grpc_connections_accepted_total \
		rbd_csi_grpc_received_bytes_total rbd_csi_grpc_sent_bytes_total rbd_csi_grpc_streams_refused_total)"

# ---- however many volumes there are ----------------------------------------------------------

mkdir "$work/many"
# series N FILE: makes, attaches, detaches and deletes so many volumes; then all series there are
series() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" bench attach --count "$1" --callers 4 \
		--parameters "$work/parameters.json" --dir "$work/many" --runs "$work/runs" --size 16MiB --fstype block || return
	http_get "$address" /metrics | sed -n 's/^\([a-z][^ ]*\) .*/\1/p' | sort >"$2"
}
ok "volumes are made, attached, detached and deleted" series 4 "$work/few"
ok "and 24 more" series 24 "$work/lots"
ok "there are $(wc -l <"$work/few") series" test "$(wc -l <"$work/few")" -gt 500
# A state that nobody came by before may be new; op/metrics has their bound.
is "and no others after 24 volumes more" \
	"$(comm -3 "$work/few" "$work/lots" | grep -v request_state_seconds)" ""
is "none has the name of anything" "$(grep -cE 'bench-|pvc-|csi-vol-|0001-' "$work/lots")" 0

touch "$work/enough"
wait "$load"
ok "the volume goes" call Node/NodeUnstageVolume \
	"{\"volume_id\": \"$id\", \"staging_target_path\": \"$work/staging\"}"
ok "from the cluster, too" call Controller/DeleteVolume "{\"volume_id\": \"$id\"}"
ok "its purge is counted" asks 180 'rbd_csi_purges_ended_total{result="done"} > 0'

done_testing
