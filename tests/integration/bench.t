#!/bin/bash
# bench.t: rbd-csictl bench: what it measures, counts and prints: calls of rbd-csid without a cluster, and
# volumes of a driver without storage that can less than rbd-csid. bench_volumes.t has the rest.
# shellcheck disable=SC2016 # the variables in single quotes are jq's
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

# on_terminal COMMAND...: what a person sees of it, to $work/seen
on_terminal() { script -qefc "$(printf '%q ' "$@")" "$work/seen" </dev/null >/dev/null; }
ok "on a terminal" on_terminal "$build/rbd-csictl" --endpoint "$endpoint" bench calls --rate 50 --duration 3s
like "a line tells how it goes" "$(tr '\r' '\n' <"$work/seen")" \
	'calls: [1-9][0-9]* done, [0-9]+/s, [0-9]+ in flight, 0 failed, [0-3] s left'
is "in its place until the end, when it is gone" \
	"$(grep -c ' done, ' "$work/seen") $(sed -n $'s/.*\\r\\x1b\\[K\\(calls: 150 in\\) .*/\\1/p' "$work/seen")" "1 calls: 150 in"
"$build/rbd-csictl" --endpoint "$endpoint" bench calls --rate 50 --duration 1s >"$work/piped" 2>&1
is "elsewhere there is none" "$(grep -c " in flight" "$work/piped")" 0

# Failures are no rate.
ctl 1 "nobody answers" --endpoint "unix://$work/nobody" bench calls --count 50 --callers 5 -o json
is "... which is counted by its code" "$(doc '.phases[0] | [.passed, .rate == 0, .failed, .codes, .times]')" \
	'[0,true,50,{"UNAVAILABLE":50},[]]'
like "... and told" "$error" '^UNAVAILABLE: Probe: '

# ---- ended early -------------------------------------------------------------------------------

ctl 0 "calls are in the log" log-level debug
# Ctrl-C, which a shell lets its background jobs ignore
env --default-signal=INT "$build/rbd-csictl" --endpoint "$endpoint" bench calls --rate 20 --duration 10m -o json >"$work/ended" 2>"$work/error" &
load=$!
defer eval "kill $load 2>/dev/null; true"
begun() { (($(grep -cF 'rpc.end method=/csi.v1.Identity/Probe' "$work/csid.log") >= 5)); }
ok "a load without end" wait_for 60 begun
kill -INT "$load"
wait "$load"
is "is ended by Ctrl-C" "$?" 1
reply=$(<"$work/ended")
ok "and tells what it has measured" jq -e '.phases[0] | .seconds < 600 and .passed >= 1' <<<"$reply"

ok "the driver stops" stop_daemon

# ---- another driver ----------------------------------------------------------------------------

fake_pid=
fake() { # WORD...: a driver that can what the words say
	stop_fake
	"$build/tests/fake/csi_driver" "$work/fake.sock" "$@" 2>"$work/fake.err" &
	fake_pid=$!
	endpoint=unix://$work/fake.sock
	wait_for 60 _answers || bail "the driver does not answer"
}
stop_fake() {
	[[ -z $fake_pid ]] || kill "$fake_pid"
	[[ -z $fake_pid ]] || wait "$fake_pid" || true
	fake_pid=
}
defer stop_fake

# ---- a driver that stands still ----------------------------------------------------------------

# It does so by itself, at its 25th call, whatever the machine is at: for 3 of at least 4 seconds.
fake stalls
ctl 0 "a closed loop over a stall of three seconds" bench calls --callers 1 --count 200 -o json
closed=$(doc '.phases[0].times[0] | [.p90, .max]')
ok "has it in one call: p90 and max are $closed ms" jq -e '.[0] * 10 < .[1] and .[1] >= 2900' <<<"$closed"
fake stalls
ctl 0 "an open loop over the same" bench calls --rate 50 --duration 4s -o json
open=$(doc '.phases[0].times[0] | [.p50, .max]')
ok "has it in all that it held up: p50 and max are $open ms" jq -e '.[0] > 300 and .[1] >= 2900' <<<"$open"
ok "its own lag is not the driver's" jq -e '.phases[0].lag | .count == 200 and .p50 < 300' <<<"$reply"

# ---- volumes ---------------------------------------------------------------------------------------

volumes=$work/volumes runs=$work/runs
mkdir "$volumes"
attach=(bench attach --dir "$volumes" --runs "$runs" -o json)
there() {
	call Controller/ListVolumes '{}' >/dev/null
	jq '.entries // [] | length' <<<"$reply"
}
nothing_is_left() {
	is "... its volumes are gone" "$(there)" 0
	is "... and its directories" "$(ls "$volumes")" ""
	is "... and its notes" "$(ls "$runs")" ""
}
calls_of() { doc '[.phases[] | .name as $p | .times[] | select(.name | test("^[A-Z]")) | "\($p).\(.name)"] | unique | join(" ")'; }

fake attach stage
ctl 0 "a driver that stages and attaches" "${attach[@]}" --count 5 --callers 2
is "has all phases" "$(calls_of)" '"attach.NodePublishVolume attach.NodeStageVolume attach_format.NodePublishVolume attach_format.NodeStageVolume create.ControllerPublishVolume create.CreateVolume delete.ControllerUnpublishVolume delete.DeleteVolume detach.NodeUnpublishVolume detach.NodeUnstageVolume detach_again.NodeUnpublishVolume detach_again.NodeUnstageVolume"'
is "its name and that of its node" "$(doc '[.driver.name, .driver.version, .driver.node_id]')" '["fake.csi.example","7","fake-node"]'
is "and the time until it is usable" "$(doc '.phases[] | .times[] | select(.name == "create to usable") | .count')" 5
ok "which is more than that of its parts" jq -e '[.phases[0, 1].times[] | select(.name == "volume") | .min] as [$a, $b] |
	.phases[1].times[] | select(.name == "create to usable") | .min >= ([$a, $b] | max)' <<<"$reply"
ok "with all circumstances" jq -e '.host.kernel and .host.processors > 0 and .tool and .began and .options.count == "5" and
	(.interrupted | not)' <<<"$reply"
nothing_is_left
cp <(echo "$reply") "$work/whole.json"

fake
ctl 0 "a driver that only publishes" "${attach[@]}" --count 4
is "has no more than that" "$(calls_of)" '"attach.NodePublishVolume attach_format.NodePublishVolume create.CreateVolume delete.DeleteVolume detach.NodeUnpublishVolume detach_again.NodeUnpublishVolume"'
is "what is left out is told" "$(doc '.left_out | length')" 6
nothing_is_left
ctl 0 "without snapshots, clones and expansion" bench controller --runs "$runs" --count 2
like "they are left out" "$reply" '^left out, for the driver does not serve it: snapshot: CreateSnapshot, restore: CreateVolume, clone: '
nothing_is_left
fake clone
ctl 0 "with clones" bench controller --runs "$runs" --count 2 -o csv
is "they are there" "$(cut -d, -f2 <<<"$reply" | uniq | xargs)" "phase create exists clone delete_clone delete"
nothing_is_left

fake attach stage
ctl 0 "volumes that come and go" "${attach[@]}" --rate 20 --duration 2s --warm-up 1s
is "at that rate" "$(doc '[.phases[] | .passed] | unique')" '[40]'
ok "with lag of their own" jq -e '.phases[0].lag.count == 40 and .phases[0].missed == 0' <<<"$reply"
nothing_is_left
ctl 0 "a sweep" "${attach[@]}" --count 4 --sweep 1,4 --warm-up 1s
is "runs twice" "$(doc '[.phases[] | select(.name == "attach") | [.callers, .passed]]')" '[[1,4],[4,4]]'
nothing_is_left

# ---- failures ----------------------------------------------------------------------------------

fake attach stage third
ctl 1 "each third volume fails" "${attach[@]}" --count 9 --callers 3
is "which is counted, and no rate" "$(doc '.phases[0] | [.passed, .failed, .codes]')" '[6,3,{"RESOURCE_EXHAUSTED":3}]'
is "and the others go on" "$(doc '[.phases[1:][] | [.passed, .failed]] | unique')" '[[6,0]]'
like "and told" "$error" '^RESOURCE_EXHAUSTED: CreateVolume of bench-[0-9a-f]{8}-[0-8]: one of three'
nothing_is_left
fake attach stage flaky
ctl 1 "a driver that is not yet ready" "${attach[@]}" --count 3
is "fails" "$(doc '.phases[0].codes')" '{"UNAVAILABLE":3}'
nothing_is_left
ctl 0 "but not if it is asked again" "${attach[@]}" --count 3 --callers 3 --retry-for 1m
ok "after the pause of a sidecar, which is in its time" jq -e '.phases[0] | .retried == 3 and .failed == 0 and
	.times[0].min >= 1000' <<<"$reply"
nothing_is_left

# ---- ended, killed, cleaned ----------------------------------------------------------------------

# in_background RUN OPTION...: a load that goes on for long
in_background() {
	env --default-signal=INT "$build/rbd-csictl" --endpoint "$endpoint" "${attach[@]}" --run "$1" --duration 10m "${@:2}" >"$work/$1.json" 2>"$work/$1.err" &
	load=$!
	defer eval "kill -KILL $load 2>/dev/null; true"
	wait_for 60 made "$1"
}
# held PID: stops the load with volumes in its hands
held() { kill -STOP "$1" && { (($(there) > 0)) || { kill -CONT "$1" && false; }; }; }
made() { (($(there) > 1)) && [[ -n $(find "$volumes" -path "*bench-$1-*" -name staging) ]]; }
fake attach stage slow
ok "a load" in_background ended --callers 4
kill -INT "$load"
wait "$load"
is "is ended by Ctrl-C" "$?" 1
reply=$(<"$work/ended.json")
is "says so" "$(doc .interrupted)" true
nothing_is_left

ok "another one" in_background killed --callers 4
ctl 2 "is not cleaned while it runs" bench clean --runs "$runs" killed
like "for a process works with it" "$error" 'a process works with it'
ctl 0 "nor by a clean of all" bench clean --runs "$runs"
is "which has nothing to do" "$reply" ""
ctl 2 "nor can its name be taken" "${attach[@]}" --run killed --count 1
like "as that says" "$error" '^ALREADY_EXISTS: run killed: '
ok "a second one beside it" in_background other --callers 2
kill "$load"
wait "$load"
is "takes away what it has made" "$(find "$volumes" -name 'bench-other-*')$(jq -r .run "$work/other.json")" other
killed=$(pgrep -f -- "--run killed")
ok "the first has volumes" wait_for 60 held "$killed"
kill -KILL "$killed"
ok "and is killed" wait_for 60 is_gone "$killed"
ok "and leaves volumes" test "$(there)" -gt 0
ctl 0 "they are cleaned" bench clean --runs "$runs"
like "as told" "$reply" '^run killed: [1-9][0-9]* volumes taken away, 0 left'
nothing_is_left

ok "a load whose driver hangs" in_background hung --callers 4
kill -STOP "$fake_pid"
interrupted() { kill -INT "$load" 2>/dev/null; is_gone "$load"; }
ok "is given up by one more Ctrl-C, as it cannot clean up" wait_for 60 interrupted
wait "$load"
is "with status 1" "$?" 1
like "and tells what is left behind" "$(<"$work/hung.err")" '`rbd-csictl bench clean hung`'
kill -CONT "$fake_pid"
ctl 0 "which is cleaned when the driver answers" bench clean --runs "$runs"
nothing_is_left

fake attach stage slow
ctl 0 "a load that is left attached" bench hold --run held --count 3 --dir "$volumes" --runs "$runs"
ctl 0 "is no clean of all's" bench clean --runs "$runs"
is "but told" "$reply" "run held: 3 volumes are held"
ctl 0 "it is released" bench release --run held --runs "$runs"
like "phase by phase" "$reply" 'detach: 3 in '
nothing_is_left
ok "a load whose driver ends" in_background lost --callers 2
ok "while it has volumes" wait_for 60 held "$load"
stop_fake
kill -CONT "$load"
kill "$load" # so that it does not try for long
wait "$load"
is "fails" "$?" 1
like "and tells what is left behind" "$(<"$work/lost.err")" '`rbd-csictl bench clean lost`'
fake attach stage # which has forgotten its volumes
ctl 1 "cleaning tells what it cannot take away" bench clean --runs "$runs"
like "by name" "$error" 'left behind: volume bench-lost-'
rm "$runs/lost"
rm -r "${volumes:?}"/*

mkdir -m 777 "$work/public"
ctl 2 "notes that others could write" bench clean --runs "$work/public"
like "are not read" "$error" 'that only this user can write'

# ---- two results -------------------------------------------------------------------------------

fake
quick=(bench calls --duration 2s --callers 4 -o json)
"$build/rbd-csictl" --endpoint "$endpoint" "${quick[@]}" >"$work/a.json"
ctl 0 "a result and itself" bench compare "$work/a.json" "$work/a.json" -o json
ok "are the same" jq -e '.differ == [] and (.figures | length) == 5 and
	all(.figures[]; .ratio == 1 and (.low == null or (.low <= 1 and .high >= 1)) and (.verdict | test("^B is") | not))' <<<"$reply"
jq '.phases[0].times[0].buckets |= map([.[0] * 10, .[1]]) |
	.phases[0].times[0] |= (.mean *= 10 | .p50 *= 10 | .p90 *= 10 | .p99 *= 10) | .host.name = "other"' "$work/a.json" >"$work/b.json"
ctl 0 "and one that is ten times slower" bench compare "$work/a.json" "$work/b.json" -o json
ok "is told apart" jq -e '[.figures[] | select(.figure == "mean" or .figure == "p50")] | length == 2 and
	all(.low <= 10 and .high >= 10 and .low > 1 and .verdict == "B is worse")' <<<"$reply"
is "with what differs" "$(doc .differ)" '["host.name"]'
ctl 0 "as a table" bench compare "$work/a.json" "$work/b.json"
like "for people" "$reply" 'calls, 4 at once +Probe +p50 .* B is worse'
ctl 2 "what is no result" bench compare "$work/a.json" "$work/config.json"
like "is refused" "$error" 'is no result of `bench'

# ---- a page ------------------------------------------------------------------------------------

fake attach stage
ctl 0 "a page of it" "${attach[@]}" --count 20 --callers 5 --html "$work/page.html"
ok "is one file without script or address" eval '! grep -qiE "<script|https?://|src=|@import|url\(" "$work/page.html"'
ok "and well-formed where that matters" python3 -c '
import html.parser, sys
class Check(html.parser.HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "line", "rect", "polyline"): self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
    def handle_startendtag(self, tag, attrs): pass
c = Check(); c.feed(open(sys.argv[1]).read()); assert c.open == [], c.open' "$work/page.html"
look_at "file://$work/page.html"
like "with the driver" "$dom" '<td class="w">fake.csi.example 7</td>'
like "its times" "$dom" 'NodeStageVolume</td><td class="n">20</td>'
is "and a plot of each phase's times" "$(grep -o '<polyline' <<<"$dom" | wc -l)" 19
ctl 2 "a page that cannot be written" "${attach[@]}" --count 1 --html /nonexistent/page.html
nothing_is_left

stop_fake

# ---- scripts/bench -----------------------------------------------------------------------------

mkdir "$work/path"
python=$(python3 -c 'import sys; print(sys.executable)')
reply=$(PATH=$work/path "$python" "$top/scripts/bench" --build "$work" insight grpc 2>&1)
is "scripts/bench begins nothing without what it needs" "$?" 1
like "and names it" "$reply" '^bench: missing: .*ceph-worker .*rbd-csid .*scripts/install-deps'
is "in one line" "$(wc -l <<<"$reply")" 1
done_testing
