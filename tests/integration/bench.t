#!/bin/bash
# bench.t: rbd-csictl bench: what it measures, counts and prints, on rbd-csid without a cluster.
. "$(dirname "$0")/lib.sh"

RBD_CSI_CONFIG=$work/config.json
RBD_CSI_SECRETS=$work/secrets.json
echo '[]' >"$RBD_CSI_CONFIG"
echo '{}' >"$RBD_CSI_SECRETS"
# shellcheck disable=SC2119 # no options of this script's
start_daemon

# doc FILTER: what jq makes of the document in $reply
doc() { jq -c "$1" <<<"$reply"; }
# in_order: each of the times has its figures in their order
in_order() {
	jq -e '[.phases[].times[]] | length > 0 and all(.min <= .p50 and .p50 <= .p90 and .p90 <= .p95 and
		.p95 <= .p99 and .p99 <= .["p99.9"] and .["p99.9"] <= .max and .min <= .mean and
		.mean <= .max and .min > 0 and ([.buckets[][1]] | add) == .count)' <<<"$reply"
}

# ---- one RPC over and over -------------------------------------------------------------------

ctl 0 "calls are timed" bench calls --count 200 --callers 10 -o json
is "all of them" "$(doc '.phases[0] | [.name, .passed, .failed, .callers, .times[0].name, .times[0].count]')" \
	'["calls",200,0,10,"Probe",200]'
ok "in their order" in_order
ok "in time" jq -e '.phases[0] | .rate > 0 and .seconds > 0 and .generator_cpu > 0 and
	(.slots.passed | add) == 200 and (.slowest | length) == 10 and .slowest[0].took == .times[0].max' <<<"$reply"
ctl 0 "another RPC, with a request" bench calls --rpc NodeGetCapabilities --count 20 -o json '{}'
is "by its name" "$(doc '.phases[0].times[0] | [.name, .count]')" '["NodeGetCapabilities",20]'
ctl 0 "with a connection each" bench calls --count 50 --callers 5 --connect-per-call -o csv
is "as CSV" "$(sed -n 's/^\(callers,phase\),.*\|^\(5,calls\),[0-9.]*,\(50,0\),,0,0,.*,Probe,50,.*/\1\2,\3/p' <<<"$reply" | xargs)" \
	"callers,phase, 5,calls,50,0"
ctl 0 "with several that are shared" bench calls --count 50 --callers 5 --connections 3
like "as a table" "$reply" '^calls: 50 in [0-9.]+ s, [0-9.]+/s, 5 at once;'
ctl 0 "a sweep" bench calls --count 30 --sweep 1,2,4 -o json
is "has a run for each" "$(doc '[.phases[] | [.callers, .passed]]')" '[[1,30],[2,30],[4,30]]'
for wrong in "--rpc Nothing" "--rpc Health/Watch" "--sweep 1,x" "--sweep 0" "--rate 0" "nonsense"; do
	# shellcheck disable=SC2086 # words
	ctl 2 "wrong: $wrong" bench calls --count 1 $wrong
	is "... one line says what is wrong: $error" "$(wc -l <<<"$error")" 1
done

ctl 0 "a duration" bench calls --callers 2 --warm-up 1s --ramp 1s --duration 1s -o json
ok "ends, and warming up is not in it" jq -e '.phases[0] | .passed > 0 and .seconds >= 1 and .seconds < 60' <<<"$reply"
ctl 0 "an open loop" bench calls --rate 200 --duration 2s --warm-up 1s -o json
ok "begins as many as it should" jq -e '.phases[0] | .passed == 400 and .missed == 0 and .lag.count == 400' <<<"$reply"
ctl 0 "its ramp" bench calls --rate 200 --ramp 2s --duration 2s -o json
is "has half of them" "$(doc '.phases[0].passed')" 200

# Failures are no rate.
ctl 1 "nobody answers" --endpoint "unix://$work/nobody" bench calls --count 50 --callers 5 -o json
is "... which is counted by its code" "$(doc '.phases[0] | [.passed, .rate == 0, .failed, .codes, .times]')" \
	'[0,true,50,{"UNAVAILABLE":50},[]]'
like "... and told" "$error" '^UNAVAILABLE: Probe: '

# ---- a driver that stands still ----------------------------------------------------------------

# stalled OPTION...: the figures of a load in whose midst the driver stands still for a second
stalled() {
	local load
	"$build/rbd-csictl" --endpoint "$endpoint" bench calls --duration 4s -o json "$@" >"$work/stalled" &
	load=$!
	wait_for 60 begun
	kill -STOP "$csid_pid"
	sleep 1 # the stall itself
	kill -CONT "$csid_pid"
	wait "$load" || return
	reply=$(<"$work/stalled")
}
# The listening socket has the path, and so has each connection.
begun() { (($(grep -cF " ${endpoint#unix://}" /proc/net/unix) > 1)); }
ok "a closed loop over a stall of a second" stalled --callers 1
closed=$(doc '.phases[0].times[0] | [.p90, .max]')
ok "has it in one call: p90 and max are $closed ms" jq -e '.[0] < 100 and .[1] >= 900' <<<"$closed"
ok "an open loop over a stall of a second" stalled --rate 200
open=$(doc '.phases[0].times[0] | [.p90, .max]')
ok "has it in all that it held up: p90 and max are $open ms" jq -e '.[0] > 300 and .[1] >= 900' <<<"$open"
ok "its own lag is not the driver's" jq -e '.phases[0].lag | .count == 800 and .p90 < 300' <<<"$reply"

# ---- ended early -------------------------------------------------------------------------------

"$build/rbd-csictl" --endpoint "$endpoint" bench calls --duration 10m -o json >"$work/ended" 2>"$work/error" &
load=$!
defer eval "kill $load 2>/dev/null; true"
ok "a load without end" wait_for 60 begun
kill "$load"
wait "$load"
is "is ended" "$?" 1
reply=$(<"$work/ended")
ok "and tells what it has measured" jq -e '.phases[0].seconds < 600' <<<"$reply"

ok "the driver stops" stop_daemon
done_testing
