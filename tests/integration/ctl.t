#!/bin/bash
# ctl.t: rbd-csictl call: where requests come from, what it prints, how it ends.
. "$(dirname "$0")/lib.sh"
need_cluster
defer stop_attachds
# shellcheck disable=SC2119 # no options of this script's
start_daemon

ctl 0 "a call without a request" call Node/NodeGetInfo
is "prints the reply as JSON" "$(jq -r .nodeId <<<"$reply")" test-node
ctl 0 "the package may be given" call csi.v1.Node/NodeGetInfo '{}'
ctl 0 "and the path, as gRPC has it" call /csi.v1.Node/NodeGetInfo '{}'

stats='{"volumeId": "some-id", "volume_path": "/nowhere"}'
echo "$stats" >"$work/request"
ctl 1 "an error of the driver ends with 1" call Node/NodeGetVolumeStats "$stats"
like "and is printed as code and text" "$error" '^NOT_FOUND: .*/nowhere'
is "with nothing on standard output" "$reply" ""
ctl 1 "the request may be in a file" call Node/NodeGetVolumeStats "@$work/request"
like "which is sent" "$error" '^NOT_FOUND: .*/nowhere'
ctl 1 "or on standard input" call Node/NodeGetVolumeStats - <"$work/request"
like "which is sent, too" "$error" '^NOT_FOUND: .*/nowhere'

delete='{"volumeId": "no-such-volume"}'
ctl 1 "without secrets" call Controller/DeleteVolume "$delete"
is "the driver says which are missing" "$error" 'INVALID_ARGUMENT: secrets: missing'
ctl 0 "secrets come from a file" --secrets "$RBD_CSI_SECRETS" call Controller/DeleteVolume "$delete"
ctl 1 "those in the request win" --secrets "$RBD_CSI_SECRETS" call Controller/DeleteVolume \
	'{"volumeId": "no-such-volume", "secrets": {"userKey": ""}}'
is "over the file's" "$error" 'INVALID_ARGUMENT: secrets.userKey: is empty'
ctl 0 "a method without secrets needs none" --secrets /nonexistent call Identity/Probe

# PVs of before controllerPublishSecretRef carry no secrets for attaching: as with ceph-csi, the
# controller has nothing to do for them and the node finds the image by the volume context.
volume=0001-0001-c-0000000000000001-9a5d6f1c-3e0b-4a52-8a43-0f6d8b2f7c11
ctl 0 "a publish without secrets succeeds" call Controller/ControllerPublishVolume \
	'{"volumeId": "'$volume'", "nodeId": "test-node", "volumeCapability":
	 {"block": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}}}'
is "with an empty answer" "$reply" "{}"
ctl 0 "so does an unpublish" call Controller/ControllerUnpublishVolume \
	'{"volumeId": "'$volume'", "nodeId": "test-node"}'

ctl 2 "no command is wrong usage"
ctl 2 "so is an unknown one" nonsense
ctl 2 "an unknown option" --nonsense call Identity/Probe
ctl 2 "a bad time-out" --timeout soon call Identity/Probe
ctl 2 "an unknown method" call Node/NodeGetNothing
ctl 2 "a call of nothing" call
like "which says what is missing" "$error" '^rbd-csictl: SERVICE/METHOD .* is missing'
ctl 0 "its help" call --help
like "lists the methods" "$reply" 'SnapshotMetadata/GetMetadataDelta \(stream\)'
like "and those of the health service" "$reply" 'Health/Watch \(stream\)'
ctl 2 "a request that is no JSON" call Identity/Probe '{'
ctl 2 "a field that the message has not" call Node/NodeUnstageVolume '{"volumeID": "x"}'
is "which is named" "$error" \
	'INVALID_ARGUMENT: volumeID: NodeUnstageVolumeRequest has no such field'
ctl 2 "a secrets file that is not there" --secrets /nonexistent call Controller/DeleteVolume \
	"$delete"
ctl 1 "a method that is not served" call Controller/ListVolumes
like "is UNIMPLEMENTED" "$error" '^UNIMPLEMENTED: '
ctl 1 "so is a stream that is not served" call SnapshotMetadata/GetMetadataDelta
like "which is UNIMPLEMENTED, too" "$error" '^UNIMPLEMENTED: '

# ---- help, and what is made of the same tables -------------------------------------------------

ctl 0 "help on the first level" --help
commands=$(sed -n '/^commands:/,/^$/s/^  \(.*[^ ]\)  .*/\1/p' <<<"$reply" | sed 's/  .*//')
ok "lists commands: $(xargs <<<"$commands")" test "$(wc -l <<<"$commands")" -gt 12
without=
while read -r command; do
	# shellcheck disable=SC2086 # one word or two
	help=$("$build/rbd-csictl" $command --help 2>"$work/err") && [[ ! -s $work/err ]] &&
		grep -q '^examples:' <<<"$help" && grep -q "^usage: rbd-csictl .*$command" <<<"$help" || without+=" $command"
done <<<"$commands"
is "each has help with examples on standard output" "$without" ""
ctl 0 "a group has its own" bench --help
like "of its commands" "$reply" 'bench attach .*
.*'
for wrong in "ops x" "ops -o yaml" "ops --nonsense" "audit --cluster" "audit --cluster a" "bench" \
	"bench nonsense" "bench calls --count none" "--timeout 5x ops" "bench volumes --size 1TB" "bench hold --run A --dir x" "bench calls -o yaml" "completion fish"; do
	# shellcheck disable=SC2086 # words
	ctl 2 "wrong: $wrong" $wrong
	is "... one line says what is wrong: $error" "$(wc -l <<<"$error")" 1
done
for wrong in --nonsense --type=foo --nodeid=n "--type=rbd --nodeserver --endpoint=$endpoint --grpc-max-connections=x"; do
	# shellcheck disable=SC2086 # words
	error=$("$build/rbd-csid" $wrong 2>&1)
	is "wrong: rbd-csid $wrong" "$?" 2
	is "... one line says what is wrong: $error" "$(wc -l <<<"$error")" 1
done
# Each command that the documentation has, as it is written there: --help takes its options and values first.
# shellcheck disable=SC2016 # no shell's
ok "the documentation names commands and options that there are" python3 -c '
import glob, re, shlex, subprocess, sys
ctl, docs = sys.argv[1:]
commands = set()
for path in glob.glob(docs + "/*.md") + [docs + "/../README.md"]:
    text = open(path).read().replace("\\\n", " ")
    commands.update(" ".join(c.split()) for c in re.findall(r"`(rbd-csictl [^`]+)`", text))
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        commands.update(c.strip() for c in re.findall(r"^[ \t$]*(?:sudo )?(rbd-csictl .*?)(?: [>|#<]|   |$)", block, re.M))
bad = 0
for command in sorted(commands):
    run = subprocess.run([ctl, *shlex.split(command)[1:], "--help"], capture_output=True, text=True)
    if run.returncode != 0 or not run.stdout.startswith("usage: "):
        print(f"{command}: {run.stderr}", end="")
        bad += 1
print(f"{len(commands)} commands, {bad} of them wrong")
sys.exit(bad > 0 or len(commands) < 30)' "$build/rbd-csictl" "$top/docs"
# completes LINE: what bash would offer for the last word of the line
completes() {
	bash -c '. <("$1" completion bash); read -ra COMP_WORDS <<<"$2"; [[ $2 != *" " ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _rbd_csictl; echo "${COMPREPLY[*]}"' _ "$build/rbd-csictl" "$1"
}
is "bash completes commands" "$(completes "rbd-csictl se")" sessions
is "of a group" "$(completes "rbd-csictl --timeout 5s bench at")" attach
is "and options" "$(completes "rbd-csictl audit --re")" --repair
is "and their values" "$(completes "rbd-csictl ops -o ")" "table json"
is "which may differ" "$(completes "rbd-csictl bench calls -o ")" "table csv json"
is "and not those of another command" "$(completes "rbd-csictl ops --re")" ""
# The same of zsh: what the function of `completion zsh` hands over, of that what begins like the last word.
zsh_completes() {
	zsh -f -c '
		compadd() { shift; local -a fits=(${(M)@:#${words[CURRENT]}*}); print -r -- $fits }
		_files() { print files }
		words=(${=2}) && [[ $2 != *" " ]] || words+=("")
		CURRENT=$#words
		. =("$1" completion zsh)' _ "$build/rbd-csictl" "$1"
}
if command -v zsh >/dev/null; then
	is "zsh completes commands" "$(zsh_completes "rbd-csictl se")" sessions
	is "of a group" "$(zsh_completes "rbd-csictl --timeout 5s bench at")" attach
	is "and options" "$(zsh_completes "rbd-csictl audit --re")" --repair
	is "and their values" "$(zsh_completes "rbd-csictl ops -o ")" "table json"
	is "which may differ" "$(zsh_completes "rbd-csictl bench calls -o ")" "table csv json"
	is "and may be files" "$(zsh_completes "rbd-csictl --secrets ")" files
	is "and not those of another command" "$(zsh_completes "rbd-csictl ops --re")" ""
	# A zsh as somebody has it who types: its own completion finds the function, and completes the line.
	mkdir "$work/zsh"
	"$build/rbd-csictl" completion zsh >"$work/zsh/_rbd-csictl"
	# shellcheck disable=SC2016 # zsh's variables
	ok "a person's zsh does so, too" timeout 120 zsh -f -c '
		zmodload zsh/zpty
		zpty person env TERM=dumb zsh -f -i
		zpty -w person "fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -d $1/dump; print rea\dy"
		zpty -r person seen "*ready*"
		zpty -n -w person $'"'"'rbd-csictl se\t'"'"'
		zpty -r person seen "*sessions*"
		zpty -d person' _ "$work/zsh"
else
	skip "zsh completes commands" "there is no zsh"
fi

# ---- preflight and support ----------------------------------------------------------------------

# check NAME: the state that preflight tells
check() { jq -r --arg name "$1" '[.[] | select(.check == $name) | .state] | unique | join(" ")' <<<"$reply"; }
mkdir "$work/kubelet"
ctl 1 "preflight says what is not ready" preflight -o json --config /nonexistent --kubelet-dir "$work/kubelet"
is "a missing configuration" "$(check clusters)" FAILED
is "what there is, is ok" "$(check driver)" ok
echo '[{"clusterID": "dead", "monitors": ["127.0.0.1:1"]}, {"clusterID": "none", "monitors": []}]' >"$work/dead.json"
ctl 1 "preflight with monitors that nobody is at" preflight --json --config "$work/dead.json"
is "which are told" "$(check "cluster dead") $(check "cluster none")" "FAILED FAILED"
config=$(tr '\0' '\n' <"/proc/$csid_pid/cmdline" | sed -n 's/^--config=//p')
"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" preflight --json --config "$config" \
	--cluster "$RBD_CSI_FSID" --pool rbd >"$work/preflight" 2>&1
reply=$(<"$work/preflight")
is "preflight of a cluster that is there" "$(check "cluster $RBD_CSI_FSID") $(check "pool rbd")" "ok ok"
"$build/rbd-csictl" --endpoint "$endpoint" --secrets "$RBD_CSI_SECRETS" preflight --json --config "$config" \
	--cluster "$RBD_CSI_FSID" --pool no-such >"$work/preflight" 2>&1
reply=$(<"$work/preflight")
is "and of a pool that is not" "$(check "pool no-such")" FAILED

# preflight_tries KEYFILE USER: as that user
preflight_tries() {
	jq -n --arg user "$2" --arg key "$1" '{userID: $user, userKey: $key}' >"$work/tried.json"
	ctl "$3" "preflight of $2, who is to make a volume" --secrets "$work/tried.json" preflight --json \
		--config "$config" --kubelet-dir /proc --cluster "$RBD_CSI_FSID" --pool rbd --try
	text=$(jq -r '.[] | select(.check == "pool rbd") | .text' <<<"$reply")
}
preflight_tries "$(jq -r .userKey "$RBD_CSI_SECRETS")" "$(jq -r .userID "$RBD_CSI_SECRETS")" 1
is "can" "$(check "pool rbd"): $text" "ok: the user of --secrets can make and delete volumes"
is "and nothing is left of it" "$(timeout 60 rados -p rbd listomapkeys csi.volumes.default | grep -c preflight)" 0
defer timeout 60 ceph auth rm "client.looker-$$"
looker=$(timeout 60 ceph auth get-or-create-key "client.looker-$$" mon 'profile rbd-read-only' osd 'profile rbd-read-only')
preflight_tries "$looker" "looker-$$" 1
like "cannot, and it says which caps" "$(check "pool rbd"): $text" '^FAILED: create preflight-.*PERMISSION_DENIED: .*docs/ACCESS.md'

# seen COMMAND...: what a person sees on a terminal
seen() { script -qefc "$(printf '%q ' "$@")" /dev/null </dev/null; }
like "on a terminal states have a colour" "$(seen "$build/rbd-csictl" preflight --config /nonexistent)" \
	$'clusters +\033\\[31mFAILED +\033\\[m'
is "but not for who wants none" "$(NO_COLOR=1 seen "$build/rbd-csictl" preflight | grep -c $'\033')" 0
is "nor in a pipe" "$("$build/rbd-csictl" preflight | grep -c $'\033')" 0
statuses() { sed -n '/^[Ee]xit status:/,/^$/s/^ *\([0-9]\)\( .*\|$\)/\1/p' | xargs; }
is "all programs have one list of exit statuses" "$("$build/rbd-csid" --help | statuses)" \
	"$("$build/rbd-csictl" --help | statuses)"
ctl 1 "without --metrics-address nothing is counted" metrics
like "which is said" "$error" '^FAILED_PRECONDITION: there is no --metrics-address'

jq '.[0] += {"kmsToken": "hidden-1", "rbd": {"passphrase": "hidden-2"}}' "$config" >"$work/secret.json"
ctl 0 "support makes an archive" support "$work/node-1" --config "$work/secret.json" --log "$work/csid.log"
is "and says where" "$reply" "$work/node-1.tar.gz"
is "for this user only" "$(stat -c %a "$work/node-1.tar.gz")" 600
tar -C "$work" -xzf "$work/node-1.tar.gz"
ok "with the driver's answers" jq -es 'length == 4' "$work"/node-1/{operations,sessions,trace,driver}.json
ok "its log" grep -q daemon.start "$work/node-1/log-0-csid.log"
ok "its processes" grep -q "^Name:.rbd-csid" "$work/node-1/processes.txt"
is "without secrets" "$(grep -rlE "hidden-[12]|$(jq -r .userKey "$RBD_CSI_SECRETS")" "$work/node-1")" ""
is "and nothing is left beside it" "$(find "$work" -maxdepth 1 -name 'node-1.*' ! -name node-1.tar.gz)" ""
ctl 2 "an archive that cannot be made" support /nonexistent/x

ctl 0 "metadata may be sent" --header x-trace:abc --header x-trace-bin:AAEC call Identity/Probe
ctl 2 "but not what is none" --header grpc-timeout:1S call Identity/Probe
like "which is named" "$error" '^INVALID_ARGUMENT: --header grpc-timeout:1S'

ctl 0 "the health service can be called" call Health/Check
is "and says how it is" "$(jq -r .status <<<"$reply")" SERVING
ctl 0 "of each service" call /grpc.health.v1.Health/List
is "by name" "$(jq -r '.statuses["csi.v1.Node"].status' <<<"$reply")" SERVING

# A stream is printed as it comes, until it ends or is cancelled.
watch() {
	"$build/rbd-csictl" --endpoint "$endpoint" call Health/Watch >"$work/watch" 2>"$work/watch.err" &
	watch_pid=$!
	defer stop_watch
}
stop_watch() {
	[[ -z $watch_pid ]] || kill -KILL "$watch_pid" 2>/dev/null
	watch_pid=
}
# watch_ends: its exit status, into watch_rc.
watch_ends() {
	wait_for 60 is_gone "$watch_pid" || return 1
	wait "$watch_pid" && watch_rc=0 || watch_rc=$?
	watch_pid=
}
watch
ok "a stream prints what comes" wait_for 60 grep -qw SERVING "$work/watch"
# Not INT: a shell lets its background jobs ignore that.
kill -TERM "$watch_pid"
ok "a signal ends it" watch_ends
is "with 1" "$watch_rc" 1
like "as CANCELLED" "$(<"$work/watch.err")" '^CANCELLED: '
ctl 2 "there are kinds of loads" bench nonsense
ctl 2 "most want a directory" bench attach
like "as they say" "$error" '^rbd-csictl: --dir is missing'

# Connections are held until there is a line.
# The listening socket and each connection have the path.
connections() { echo $(($(grep -cF " ${endpoint#unix://}" /proc/net/unix) - 1)); }
connections_are() { (($(connections) == $1)); }
hold() {
	"$build/rbd-csictl" --endpoint "$endpoint" bench connections --count 40 --callers 8 -o csv \
		<"$work/hold.in" >"$work/hold" 2>"$work/hold.err" &
	hold_pid=$!
	defer stop_hold
}
stop_hold() { [[ -z $hold_pid ]] || kill -KILL "$hold_pid" 2>/dev/null || true; }
hold_ends() {
	wait_for 60 is_gone "$hold_pid" && wait "$hold_pid" && hold_pid=
}
ok "all others are gone" wait_for 60 connections_are 0
mkfifo "$work/hold.in"
exec 7<>"$work/hold.in"
hold
ok "new ones are opened" wait_for 60 grep -q '^8,connections,[0-9.]*,40,0,' "$work/hold"
is "and stay" "$(connections)" 40
echo >&7
ok "until they are told" hold_ends
ok "which closes them" wait_for 60 connections_are 0
exec 7<&-

watch
ok "and again" wait_for 60 grep -qw SERVING "$work/watch"

ok "the driver stops" stop_daemon
ok "which ends the stream" watch_ends
is "after its last message" "$(jq -r .status "$work/watch" | xargs)" "SERVING NOT_SERVING"
like "as UNAVAILABLE" "$(<"$work/watch.err")" '^UNAVAILABLE: '
ctl 3 "nobody at the endpoint ends with 3" call Identity/Probe
like "and is UNAVAILABLE" "$error" '^UNAVAILABLE: '
done_testing
