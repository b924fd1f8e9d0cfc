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
		read -ra more <"/proc/${all[i]}/task/${all[i]}/children" && all+=("${more[@]}")
	done 2>/dev/null
	kill -KILL "${all[@]}"
	wait_for 60 is_gone "$csid_pid"
	csid_pid=
}
# killed_when STEP [only]: stages, and kills when STEP is true, a function that should start no program;
# fails if it never was before the stage ended. Then there is a daemon again.
killed_when() {
	local caller rc=0 nap
	exec {nap}<>"$work/nap"
	stage >/dev/null 2>&1 &
	caller=$!
	until "$1"; do
		[[ -d /proc/$caller ]] || { rc=1; break; }
		read -rt 0.01 -u "$nap"
	done
	crash "${@:2}"
	wait "$caller"
	start_daemon --kms-config="$kms"
	exec {nap}<&-
	return "$rc"
}
mkfifo "$work/nap"
is_mapped() { compgen -G '/sys/bus/rbd/devices/*' >/dev/null; }
# What of a LUKS header is there first; its key slot is made for a long time then.
has_header() { is_mapped && IFS= read -rd '' -n 4 magic </dev/rbd0 && [[ $magic == LUKS ]]; }
has_mapping() { # SUFFIX
	local name
	for name in /sys/block/dm-*/dm/name; do
		[[ -e $name && $(<"$name") == "luks-rbd-$id${1:-}" ]] && return
	done
	return 1
}
is_told() { [[ $(<"$work/csid.log") == *" $1 "* ]]; }
is_mounted() { [[ $(</proc/self/mountinfo) == *" $point "* ]]; }
