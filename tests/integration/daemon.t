#!/bin/bash
# daemon.t: rbd-csid as a process: one thread, flat memory and descriptors, signals, bad
# configuration and credentials, unreachable clusters, death of worker and daemon.
. "$(dirname "$0")/lib.sh"

need_cluster

access='{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}'
unset_id=0001-0005-unset-0000000000000001-00000000-0000-4000-8000-000000000000

# create_json NAME CLUSTER-ID [POOL]
create_json() {
	jq -n --arg name "$1" --arg cluster "$2" --arg pool "${3:-rbd}" --argjson access "$access" \
		'{name: $name, capacity_range: {required_bytes: 16777216}, volume_capabilities: [$access],
		  parameters: {clusterID: $cluster, pool: $pool}}'
}

# remove_volume NAME: deletes what create_json made.
remove_volume() {
	call Controller/CreateVolume "$(create_json "$1" "$RBD_CSI_FSID")" &&
		call Controller/DeleteVolume \
			"{\"volume_id\": \"$(jq -r .volume.volumeId <<<"$reply")\"}"
}

threads() { find "/proc/$csid_pid/task" -mindepth 1 -maxdepth 1 | wc -l; }
descriptors() { find "/proc/$csid_pid/fd" -mindepth 1 -maxdepth 1 | wc -l; }
rss_below() { (($(rss_kib) <= $1)); }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$csid_pid/status"; }
logged() { grep -q -- "$1" "$work/csid.log"; }
workers() { pgrep -P "$csid_pid" -x ceph-worker; }
worker_count_is() { [[ $(workers | wc -l) == "$1" ]]; }
descriptors_at_most() { (($(descriptors) <= $1)); }
images() { timeout 60 rbd -c "$CEPH_CONF" ls --pool rbd | grep -c .; }
trash() { timeout 60 rbd -c "$CEPH_CONF" trash ls --pool rbd --all | grep -c .; }
images_are() { [[ $(images) == "$1" ]]; }
# What an earlier test left there may be purged meanwhile.
trash_at_most() { (($(trash) <= $1)); }
created() { [[ $(grep -c 'CreateVolume code=OK' "$work/csid.log") -gt $1 ]]; }
not_logged() { ! logged "$1"; }

# Workers of daemons that are gone, which end when they notice.
no_orphans() {
	local pid
	for pid in $(ours ceph-worker); do
		[[ $(ps -o ppid= -p "$pid") -ne 1 ]] || return 1
	done
}
bench() {
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" bench "$@"
}

# call_with SECRETS-JSON SERVICE/METHOD JSON
call_with() {
	local RBD_CSI_SECRETS=$work/secrets.json
	printf '%s' "$1" >"$RBD_CSI_SECRETS"
	call "$2" "$3"
}

# ---- configuration: a good cluster, one that nobody is at, and a broken file ------------------

config=$work/config.json
jq '. + [{clusterID: "nowhere", monitors: ["127.0.0.1:1"]}, {clusterID: "empty", monitors: []}]' \
	"$RBD_CSI_CONFIG" >"$config"
jq -n --arg c "$RBD_CSI_FSID" '{clusterID: $c, pool: "rbd"}' >"$work/parameters.json"
good_config=$RBD_CSI_CONFIG
RBD_CSI_CONFIG=$config

images_before=$(images)
trash_before=$(trash)

# ---- the command line ------------------------------------------------------------------------

ok "--version" "$build/rbd-csid" --version
ok "--help" "$build/rbd-csid" --help
"$build/rbd-csid" --type=rbd --nodeid=n --frob 2>"$work/usage"
is "an unknown option ends it with status 2" $? 2
like "and is named" "$(<"$work/usage")" 'unknown option "--frob"'
"$build/rbd-csid" --type=cephfs --nodeid=n 2>"$work/usage"
is "a type that it does not serve ends it with status 2" $? 2

(
	ulimit -n 40
	exec "$build/rbd-csid" --type=rbd --nodeid=n --endpoint="$endpoint" --config="$config" \
		--statedir="$work/state2"
) 2>"$work/usage"
is "too few descriptors end it with status 1" $? 1
like "and are named" "$(<"$work/usage")" 'limit of open files \(ulimit -Hn.* is 40, .*needs 64'

# ---- what stands beside the driver in ceph-csi's manifests -----------------------------------

end_helper() { is_gone "$1" || kill -KILL "$1"; }
port() { sed -n 's/.*metrics.listen address=//p' "$work/liveness.log"; }
live_is() { [[ $(http_get "$(port)" /probes 2>/dev/null | sed -n 's/^csi_liveness //p') == "$1" ]]; }
POD_IP=127.0.0.1 "$build/rbd-csid" --type=liveness --endpoint="$endpoint" --metricsport=0 \
	--metricspath=/probes --polltime=100ms --timeout=3s --v=5 2>"$work/liveness.log" &
liveness=$!
defer end_helper "$liveness"
ok "--type=liveness serves csi_liveness: no driver, 0" wait_for 60 live_is 0
"$build/rbd-csid" --type=controller --v=5 --drivername=rbd.csi.ceph.com --drivernamespace=default \
	--setmetadata=true 2>"$work/controller.log" &
controller=$!
defer end_helper "$controller"
ok "--type=controller starts" wait_for 60 grep -q controller.idle "$work/controller.log"

# ---- socket ----------------------------------------------------------------------------------

python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$work/csi.sock"
start_daemon --drain-timeout=25s
ok "--type=liveness: a driver that answers, 1" wait_for 60 live_is 1
ok "a stale socket is replaced" call Identity/GetPluginInfo '{}'
is "it is root's alone" "$(stat -c %a "$work/csi.sock")" 600
"$build/rbd-csid" --type=rbd --nodeid=n --endpoint="$endpoint" --config="$config" \
	--statedir="$work/state2" >"$work/second.log" 2>&1
is "a live one is not: the second daemon ends with status 1" $? 1
ok "and the first one goes on" call Identity/Probe '{}'
is "it has one thread" "$(threads)" 1

# ---- what is wrong with a request ------------------------------------------------------------

fails_with INVALID_ARGUMENT "an unknown clusterID is refused" \
	call Controller/CreateVolume "$(create_json a unknown)"
like "and named" "$error" 'clusterID "unknown" is not in'
fails_with FAILED_PRECONDITION "one that a volume ID has, too" \
	call Controller/DeleteVolume "{\"volume_id\": \"$unset_id\"}"
like "and named" "$error" 'clusterID "unset" is not in'
fails_with INVALID_ARGUMENT "a cluster without monitors is refused" \
	call Controller/CreateVolume "$(create_json a empty)"
fails_with INVALID_ARGUMENT "a pool that is not there is refused" \
	call Controller/CreateVolume "$(create_json a "$RBD_CSI_FSID" nopool)"
like "and named" "$error" 'nopool'
user=$(jq -r .userID "$RBD_CSI_SECRETS")
key=$(jq -r .userKey "$RBD_CSI_SECRETS")
fails_with INVALID_ARGUMENT "a missing userKey is refused" \
	call_with "{\"userID\": \"$user\"}" Controller/CreateVolume "$(create_json a "$RBD_CSI_FSID")"
like "and named" "$error" userKey
fails_with INVALID_ARGUMENT "a missing userID is refused" \
	call_with "{\"userKey\": \"$key\"}" Controller/CreateVolume "$(create_json a "$RBD_CSI_FSID")"
like "and named" "$error" userID
wrong=AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==
call_with "{\"userID\": \"$user\", \"userKey\": \"$wrong\"}" Controller/CreateVolume \
	"$(create_json a "$RBD_CSI_FSID")" >/dev/null
like "a wrong key: the step that failed is told" "$error" \
	"^(UNAUTHENTICATED|PERMISSION_DENIED): connect to cluster.*client.$user"
call_with "{\"userID\": \"nobody\", \"userKey\": \"$key\"}" Controller/CreateVolume \
	"$(create_json a "$RBD_CSI_FSID")" >/dev/null
like "an unknown user, too" "$error" "^(UNAUTHENTICATED|PERMISSION_DENIED): .*client.nobody"
ok "the right key goes on beside them" call Controller/CreateVolume "$(create_json a "$RBD_CSI_FSID")"
ok "and what it made is removed" remove_volume a

# ---- a cluster that does not answer ----------------------------------------------------------

ask_nowhere() {
	local begin=${EPOCHREALTIME/./}
	"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" --timeout 6 \
		call Controller/CreateVolume "$(create_json b nowhere)" 2>&1
	echo $(((${EPOCHREALTIME/./} - begin) / 1000)) >"$work/took"
}
ask_nowhere >"$work/nowhere" &
nowhere=$!
wait_for 60 worker_count_is 2
ok "meanwhile another cluster is served" call Controller/CreateVolume \
	"$(create_json c "$RBD_CSI_FSID")"
ok "and what it made removed" remove_volume c
fails_with INVALID_ARGUMENT "and Node calls" call Node/NodeUnstageVolume '{"volume_id": "x"}'
ok "and Identity" call Identity/Probe '{}'
wait "$nowhere"
took=$(<"$work/took")
ok "unreachable monitors are answered within the caller's deadline ($took ms)" \
	test "$took" -ge 5500 -a "$took" -le 25000
like "with what it waits for" "$(<"$work/nowhere")" \
	'^DEADLINE_EXCEEDED: .*connection to cluster "nowhere" at 127.0.0.1:1'

# ---- the configuration changes ---------------------------------------------------------------

jq '. + [{clusterID: "late", monitors: ["127.0.0.1:1"]}]' "$config" >"$work/next"
mv "$work/next" "$config"
ok "a changed config.json is read" wait_for 60 logged 'config.loaded.*clusters=5'
echo '[{"clusterID": "very-secret"' >"$config"
ok "a broken one is logged" wait_for 60 logged 'config.broken'
ok "without its content" not_logged very-secret
ok "and the last good one stays" call Controller/CreateVolume "$(create_json d "$RBD_CSI_FSID")"
ok "for deleting, too" remove_volume d

# ---- load ------------------------------------------------------------------------------------

ok "1000 calls, a connection each" bench calls --count 1000 --callers 64 --connect-per-call
ok "volumes made and removed" bench volumes --count 32 --callers 8 \
	--parameters "$work/parameters.json" --runs "$work/runs"
is "it still has one thread" "$(threads)" 1
files=$(descriptors)
# The heap is trimmed a second after many connections have ended.
ok "resident memory is 8 MiB at most after that" wait_for 60 rss_below 8192
rss=$(rss_kib)
# How high it goes depends on how many connections were open at once: only
# after some ten thousand calls at this rate does growth mean a leak.
ok "40000 more" bench calls --count 40000 --callers 64 --connect-per-call
bench calls --count 10000 --callers 64 --connect-per-call >"$work/bench" 2>&1 &
bench=$!
most=0
while kill -0 "$bench" 2>/dev/null; do
	now=$(threads)
	((now <= most)) || most=$now
done
ok "and another 10000" wait "$bench"
is "it never had more than one thread" "$most" 1
ok "memory is flat: not more than $rss KiB and a half MiB" wait_for 60 rss_below $((rss + 512))
ok "so are descriptors: $(descriptors)" wait_for 60 descriptors_at_most "$files"

# ---- a dump of what lives --------------------------------------------------------------------

kill -USR1 "$csid_pid"
ok "SIGUSR1 writes sessions and operations to the log" wait_for 60 logged \
	'dump session cluster=.*state=ready'
# not the one which is still connecting to monitors that do not answer
worker=$(sed -n 's/.*dump session .*state=ready .*worker=\([0-9]*\) .*/\1/p' "$work/csid.log" | tail -n 1)
kill -USR1 "$worker"
ok "SIGUSR1 to a worker its operations" wait_for 60 logged "ceph-worker\[$worker\] dump.end"
ok "which goes on" kill -0 "$worker"

# All of its processes: children that it has forked have its name.
family() { pgrep -f "^$build/rbd-csid .*--endpoint=$endpoint "; }
tell_all() {
	while [[ ! -e $work/told-enough ]]; do
		for signal in USR1 HUP; do
			# shellcheck disable=SC2046  # one argument a process
			kill "-$signal" $(family) 2>/dev/null
		done
	done
}
asked_without_harm() {
	local i
	for ((i = 0; i < 100; i++)); do
		call Node/NodeGetVolumeStats "{\"volume_id\": \"x\", \"volume_path\": \"$work\"}"
		[[ $error != *signal* ]] || return 1
	done
}
tell_all &
teller=$!
ok "SIGUSR1 and SIGHUP to all of its processes harm no call" asked_without_harm
touch "$work/told-enough"
wait "$teller"
is "no core file of it can be" "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$csid_pid/limits")" \
	"0 0"

# ---- death of the worker ---------------------------------------------------------------------

kill_worker() {
	local pid
	for pid in $(workers); do kill -KILL "$pid"; done
	wait_for 60 worker_count_is 0
}

# Kills the worker after each of some delays, in the middle of a create and of a delete, and asks
# for the same again.
survives_worker_kill() {
	local delay id
	for delay in 0 0.002 0.004 0.006 0.010 0.015 0.020 0.030; do
		call Controller/CreateVolume "$(create_json "kill-$delay" "$RBD_CSI_FSID")" &
		sleep "$delay"
		kill_worker
		wait $!
		call Controller/CreateVolume "$(create_json "kill-$delay" "$RBD_CSI_FSID")" || return 1
		id=$(jq -r .volume.volumeId <<<"$reply")
		call Controller/DeleteVolume "{\"volume_id\": \"$id\"}" &
		sleep "$delay"
		kill_worker
		wait $!
		call Controller/DeleteVolume "{\"volume_id\": \"$id\"}" || return 1
	done
}
ok "kill -9 of ceph-worker: the next identical call succeeds" survives_worker_kill
ok "the death is logged" logged 'worker.exit.*signal=9'
is "the daemon lives on" "$(threads)" 1

# ---- death of the daemon ---------------------------------------------------------------------

survives_daemon_kill() {
	local delay
	for delay in 0 0.005 0.010 0.020; do
		call Controller/CreateVolume "$(create_json "die-$delay" "$RBD_CSI_FSID")" &
		sleep "$delay"
		stop_daemon KILL
		wait $!
		start_daemon --drain-timeout=25s
		call Controller/CreateVolume "$(create_json "die-$delay" "$RBD_CSI_FSID")" || return 1
		remove_volume "die-$delay" || return 1
	done
}
cp "$good_config" "$config"
ok "kill -9 of rbd-csid: the next identical call succeeds" survives_daemon_kill
ok "its workers end by themselves" wait_for 60 no_orphans

# ---- nothing is left on the cluster ----------------------------------------------------------

ok "no image is left" wait_for 60 images_are "$images_before"
ok "nor anything in the trash" wait_for 60 trash_at_most "$trash_before"

# ---- drain -----------------------------------------------------------------------------------

bench volumes --count 200 --callers 16 --parameters "$work/parameters.json" --runs "$work/runs" >"$work/bench" 2>&1 &
bench=$!
wait_for 60 created "$(($(grep -c 'CreateVolume code=OK' "$work/csid.log") + 60))"
kill -TERM "$csid_pid"
ok "SIGTERM: it ends by itself" wait_for 60 is_gone "$csid_pid"
wait "$csid_pid"
is "with status 0" $? 0
wait "$bench"
ok "what ran was finished" logged 'drain.end'
ok "and everything was freed" logged 'daemon.stop complete=1'
csid_pid=
start_daemon --drain-timeout=25s
ok "what the clients could not finish is made again and removed" \
	bench volumes --count 200 --callers 16 --parameters "$work/parameters.json" --runs "$work/runs"
ok "what was left of the first ones is taken away" bench clean --runs "$work/runs"
ok "SIGTERM ends it at once when nothing runs" stop_daemon
ok "--type=liveness: the driver is gone, 0" wait_for 60 live_is 0
kill "$liveness" "$controller"
wait "$liveness"
is "--type=liveness ends on SIGTERM with status 0" $? 0
wait "$controller"
is "so does --type=controller" $? 0

done_testing
