# shellcheck shell=bash
# crypt.sh: what the tests of encrypted volumes here share: a daemon with a KMS, and dm-crypt. Opening a LUKS
# device takes an emulated processor 8 seconds for argon2, making one 27: each has to prove something.
# shellcheck disable=SC2034,SC2154 # the variables are volume.sh's and the tests'

need_cluster
ok "dm-crypt is there" modprobe dm-crypt
kms=$work/kms.json
echo '{"own-keys": {"encryptionKMSType": "metadata"}}' >"$kms"
defer stop_attachds
start_daemon --kms-config="$kms"
# shellcheck source=volume.sh
. "$(dirname "$0")/volume.sh"
bytes=134217728
call_timeout=400
secrets=$RBD_CSI_SECRETS
with_passphrase() {
	RBD_CSI_SECRETS=$work/secrets.json
	jq --arg p "$1" '. + {encryptionPassphrase: $p}' "$secrets" >"$RBD_CSI_SECRETS"
}
# encrypted KMS [MORE]: how the next volume is made; MORE parameters in JSON
encrypted() {
	parameters=$(jq -nc --arg kms "$1" --argjson more "${2:-{\}}" \
		'{encrypted: "true", encryptionKMSID: $kms} + $more')
}
ceph_tool() { timeout 60 "$1" --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" "${@:2}"; }
meta() { ceph_tool rbd image-meta get "$image" "rbd.csi.ceph.com/$1"; }
# stage_by MOUNTER
stage_by() {
	volume=$(jq -c --arg mounter "$1" '.volumeContext.mounter = $mounter' <<<"$volume")
	stage
}
# rbd-attachd's own mount stays as long as it runs
mounts() { grep -F " $work/" /proc/self/mountinfo | grep -vcF " $work/state/"; }

# ---- what ceph-csi and people do ---------------------------------------------------------------

map() {
	echo "$RBD_CSI_MONITORS name=$RBD_CSI_USER,secret=$(<"$RBD_CSI_KEYFILE") rbd $image -" \
		>/sys/bus/rbd/add_single_major && device=/dev/rbd$(ls /sys/bus/rbd/devices)
}
unmap() { echo "${device#/dev/rbd}" >/sys/bus/rbd/remove_single_major; }
luks() { printf 'a passphrase' | cryptsetup -q "$@" -d -; }
# the key slot of what is opened often from then on: the header tells whoever opens it how
quick_key() { luks luksConvertKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$device"; }

# ---- kills -------------------------------------------------------------------------------------

# crash: the daemon and all that it has started die at once; `crash only`: the daemon alone
crash() {
	local all=("$csid_pid") more i
	for ((i = 0; i < ${#all[@]} && $# == 0; i++)); do
		more=() # no newline is there, so read fails
		read -ra more <"/proc/${all[i]}/task/${all[i]}/children"
		all+=("${more[@]}")
	done 2>/dev/null
	kill -KILL "${all[@]}"
	wait_for 60 is_gone "$csid_pid"
	csid_pid=
}
# killed_when STEP [only]: stages, again if that fails, and kills when STEP is true, a function that should start no
# program; fails, and tells how the stages ended, if it never was. Then there is a daemon again.
killed_when() {
	local caller rc=0 nap stat
	log_before=$(<"$work/csid.log")
	exec {nap}<>"$work/nap"
	wait_for 500 stage >"$work/staged" 2>&1 &
	caller=$!
	until "$1"; do
		read -r stat 2>/dev/null <"/proc/$caller/stat" && [[ $stat != *") Z "* ]] || {
			cat "$work/staged"
			rc=1
			break
		}
		read -rt 0.01 -u "$nap"
	done
	kill -KILL "$caller" # its last call ends with the daemon
	crash "${@:2}"
	wait "$caller"
	start_daemon --kms-config="$kms"
	exec {nap}<&-
	return "$rc"
}
mkfifo "$work/nap"
is_mapped() { compgen -G '/sys/bus/rbd/devices/*' >/dev/null; }
# Nobody writes to a device that is to be encrypted but who makes its LUKS header, and that for a long time. What a
# read would show may be a page of before.
has_writes() {
	local writes
	read -r _ _ _ _ writes _ 2>/dev/null </sys/block/rbd0/stat && ((writes > 0))
}
has_mapping() { # SUFFIX
	local name
	for name in /sys/block/dm-*/dm/name; do
		[[ -e $name && $(<"$name") == "luks-rbd-$id${1:-}" ]] && return
	done
	return 1
}
is_told() { # EVENT: since the stage began
	local log
	log=$(<"$work/csid.log")
	[[ ${log:${#log_before}} == *" $1 "* ]]
}
is_mounted() { [[ $(</proc/self/mountinfo) == *" $point "* ]]; }
