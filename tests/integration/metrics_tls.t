#!/bin/bash
# metrics_tls.t: /metrics by HTTPS: the certificate of a directory, another one in its place while the
# daemon runs, and clients that speak something else, nonsense, or never get to the point.
. "$(dirname "$0")/lib.sh"

RBD_CSI_CONFIG=$work/config.json
RBD_CSI_SECRETS=$work/secrets.json
echo '[{"clusterID": "nowhere", "monitors": ["127.0.0.1:1"]}]' >"$RBD_CSI_CONFIG"
echo '{"userID": "admin", "userKey": "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="}' >"$RBD_CSI_SECRETS"
address=

# certificate NAME [OPTION...]: one that is its own authority, in $work/NAME.
certificate() {
	mkdir "$work/$1"
	openssl req -x509 -newkey rsa:2048 -days 2 -subj "/CN=$1" -addext subjectAltName=IP:127.0.0.1 \
		-keyout "$work/$1/tls.key" -out "$work/$1/tls.crt" "${@:2}" 2>"$work/openssl" ||
		bail "openssl: $(<"$work/openssl")"
}

# secret NAME: mounts it, as kubelet does: a link is replaced in one step.
mkdir "$work/mounted"
ln -s ..data/tls.crt ..data/tls.key "$work/mounted"
secret() { ln -s "$work/$1" "$work/mounted/..new" && mv -T "$work/mounted/..new" "$work/mounted/..data"; }

# get CERTIFICATE PATH: asks a server that must have this certificate.
get() { METRICS_CA=$work/$1/tls.crt "$top/tests/integration/metrics.py" get "https://$address" "$2"; }
is_healthy() { [[ $(get "$1" /healthz 2>&1) == ok ]]; }
warnings() { grep -c 'warn rbd-csid.*metrics.certificate' "$work/csid.log"; }
maps_openssl() { grep -q libssl "/proc/$csid_pid/maps"; }

certificate one -nodes
certificate two -nodes
certificate locked -passout pass:secret
mkdir "$work/mixed" "$work/nonsense" "$work/keyless"
cp "$work/one/tls.crt" "$work/mixed" && cp "$work/two/tls.key" "$work/mixed"
cp "$work/one/tls.crt" "$work/keyless"
echo nonsense | tee "$work/nonsense/tls.crt" >"$work/nonsense/tls.key"

# ---- what is wrong with a directory ----------------------------------------------------------

# starts_not NAME REGEX OPTION...: a daemon that is to end at once, with $status (1), and that in its last words.
starts_not() {
	local rc=0
	timeout 60 "$build/rbd-csid" --type=rbd --nodeid=n --endpoint="unix://$work/other.sock" \
		--config="$RBD_CSI_CONFIG" --statedir="$work/state2" "${@:3}" >"$work/error" 2>&1 || rc=$?
	like "$1" "$rc $(tail -n 1 "$work/error")" "^${status:-1} .*$2"
}
at=--metrics-address=127.0.0.1:0
status=2 starts_not "TLS wants an address" 'metrics-tls-dir: there is no --metrics-address' --metrics-tls-dir="$work/one"
starts_not "a directory that is not there is named" "--metrics-tls-dir.*open $work/no/tls.crt: No such file" \
	$at --metrics-tls-dir="$work/no"
starts_not "so is a key that is not" "open $work/keyless/tls.key: No such file" $at --metrics-tls-dir="$work/keyless"
starts_not "and a certificate that is none" "nonsense/tls.crt: is no certificate in PEM: no start line" \
	$at --metrics-tls-dir="$work/nonsense"
starts_not "and the key of another one" "mixed/tls.key: .*key values mismatch" $at --metrics-tls-dir="$work/mixed"
starts_not "nobody is asked for a passphrase" "locked/tls.key: is no key in PEM, without a passphrase" \
	$at --metrics-tls-dir="$work/locked"

# ---- without it ------------------------------------------------------------------------------

start_daemon $at
ok "OpenSSL takes no memory where no certificate is configured" eval '! maps_openssl'
ok "it ends" stop_daemon

# ---- with it ---------------------------------------------------------------------------------

: >"$work/csid.log"
secret one
start_daemon $at --metrics-tls-dir="$work/mounted"
address=$(sed -n 's/.*metrics.listen address=//p' "$work/csid.log")
ok "/healthz is served by HTTPS" is_healthy one
get one /metrics >"$work/metrics"
ok "so is /metrics, whole" "$top/tests/integration/metrics.py" check <"$work/metrics"
like "who speaks HTTP is told so" "$("$top/tests/integration/metrics.py" get "$address" /healthz 2>&1)" \
	'^https is spoken here.*400'
ok "OpenSSL is there now" maps_openssl
is "with one thread" "$(find "/proc/$csid_pid/task" -mindepth 1 -maxdepth 1 | wc -l)" 1

ctl 0 "an archive for support" support "$work/node-1" --config "$RBD_CSI_CONFIG"
tar -C "$work" -xzf "$work/node-1.tar.gz"
ok "has the metrics, whatever the address speaks" \
	"$top/tests/integration/metrics.py" check <"$work/node-1/metrics.txt"
ctl 0 "and they are printed" metrics
like "as Prometheus gets them" "$reply" 'rbd_csi_grpc_calls_total\{method="/rbdcsi.admin.v1.Admin/Metrics",code="OK"\} 1'

# ---- clients that are none -------------------------------------------------------------------

cat >"$work/client.py" <<'PYTHON'
"""Opens COUNT connections, says BYTES (hexadecimal) on each, and tells when the server has ended the first."""
import socket
import sys

host, port = sys.argv[1].split(":")
open_ones = []
for _ in range(int(sys.argv[2])):
    s = socket.create_connection((host, int(port)))
    s.sendall(bytes.fromhex(sys.argv[3]))
    open_ones.append(s)
print("open", flush=True)
while True:
    try:
        if not open_ones[0].recv(4096):
            break
    except ConnectionResetError:
        break
print("ended", flush=True)
PYTHON

# says NAME COUNT BYTES: a client in the background, its words in $work/NAME.
says() { python3 "$work/client.py" "$address" "$2" "$3" >"$work/$1" 2>&1 & defer eval "kill $! 2>/dev/null; true"; }
told() { grep -q "^$2" "$work/$1"; }
says nonsense.said 1 "$(head -c 64 /dev/zero | tr '\0' 'x' | od -An -v -tx1 | tr -d ' \n')"
ok "who speaks nonsense is sent away at once" wait_for 60 told nonsense.said ended
ok "and others are served" is_healthy one
# The header of a record of 512 bytes, and of a ClientHello: the rest never comes.
says begun 1 16030102000100
wait_for 60 told begun open
ok "while a handshake is not finished others are served" is_healthy one
ok "also by gRPC" call Identity/Probe '{}'
ok "it has 10 s" wait_for 60 told begun ended
says many 40 16030102000100
wait_for 60 told many open
ok "however many there are" is_healthy one
ok "the oldest of them goes for it" wait_for 60 told many ended

# ---- another certificate ---------------------------------------------------------------------

secret two
ok "a certificate that is replaced is used by the next connection" is_healthy two
ok "and the former one no more" eval '! is_healthy one'
ok "the log says so" grep -q "info rbd-csid.*metrics.certificate file=$work/mounted/tls.crt" "$work/csid.log"
secret nonsense
ok "one that is no good leaves the last good one" is_healthy two
is_healthy two
is "which is told once" "$(warnings)" 1
secret gone
ok "so does one that is gone" is_healthy two
is "which is told, too" "$(warnings)" 2
secret one
ok "and a good one is used again" is_healthy one
cp "$work/two/tls.key" "$work/one/tls.key"
ok "files may be replaced one after the other: the first alone changes nothing" is_healthy one
cp "$work/two/tls.crt" "$work/one/tls.crt"
ok "then both do" is_healthy two
ok "it ends on SIGTERM" stop_daemon

# ---- of the helper ---------------------------------------------------------------------------

POD_IP=127.0.0.1 "$build/rbd-csid" --type=liveness --endpoint="$endpoint" --metricsport=0 \
	--metrics-tls-dir="$work/two" 2>"$work/liveness.log" &
liveness=$!
defer eval "kill $liveness 2>/dev/null; true"
wait_for 60 grep -q metrics.listen "$work/liveness.log"
address=$(sed -n 's/.*metrics.listen address=//p' "$work/liveness.log")
like "--type=liveness serves by HTTPS, too" "$(get two /metrics)" 'csi_liveness 0'

done_testing
