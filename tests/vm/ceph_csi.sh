# shellcheck shell=bash
# ceph_csi.sh: what ceph-csi does on a node with krbd, by the commands that it runs; after volume.sh, on its one volume, of
# which `use`, `create` and `attach` are done
# shellcheck disable=SC2016,SC2034,SC2154 # the variables in single quotes are jq's; others are volume.sh's and the tests'

their_rbd() {
	rbd --id "$RBD_CSI_USER" -m "$RBD_CSI_MONITORS" --keyfile="$RBD_CSI_KEYFILE" "$@" --device-type krbd --options noudev
}
their_path() { echo "$staging/$(jq -r .volumeId <<<"$volume")"; }
their_mapping() { echo "luks-rbd-$(jq -r .volumeId <<<"$volume")"; }
# stash FILTER [-r]: of the record that lies beside the mount
stash() { jq "${2:--c}" "$1" "$staging/image-meta.json"; }

# ---- stage, in this order ----------------------------------------------------------------------

# they_note ENCRYPTED: true or false
they_note() {
	printf '{"Version":3,"pool":"rbd","radosNamespace":"","image":"%s","unmapOptions":"","accessType":false,"encrypted":%s,"device":"","logDir":"","logFileStrategy":""}' \
		"$image" "$1" >"$staging/image-meta.json" && chmod 600 "$staging/image-meta.json"
}
they_map() { device=$(their_rbd map "rbd/$image"); }
# Only the iterations are not theirs: an emulated processor takes long to find its own.
they_encrypt() {
	luks luksFormat --type luks2 --hash sha256 --luks2-metadata-size 4096k --luks2-keyslots-size 8192k \
		--pbkdf-memory 32768 --pbkdf-force-iterations 4 "$device" &&
		ceph_tool rbd image-meta set "$image" rbd.csi.ceph.com/encrypted encrypted
}
they_open() {
	luks luksOpen "$device" "$(their_mapping)" --disable-keyring && device=/dev/mapper/$(their_mapping)
}
they_mount() { mkdir -p "$(their_path)" && mount -o _netdev "$device" "$(their_path)"; }
they_bind() { touch "$(their_path)" && mount -o bind,_netdev "$device" "$(their_path)"; }

# ---- the other three ---------------------------------------------------------------------------

they_publish() {
	if [[ -d $(their_path) ]]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi &&
		mount -o bind,_netdev "$(their_path)" "$target"
}
they_unpublish() { umount "$target" && rm -d "$target"; }
they_unstage() {
	local of status
	of=rbd/$(stash .image -r)
	umount "$(their_path)" && rm -d "$(their_path)" || return
	if [[ $(stash .encrypted) == true ]]; then
		status=$(cryptsetup status "$(their_mapping)") && [[ $status == *" is active"* ]] || return
		of=$(sed -n 's/^ *device: *//p' <<<"$status")
		cryptsetup -q luksClose "$(their_mapping)" || return
	fi
	their_rbd unmap "$of" && rm "$staging/image-meta.json"
}

# ---- what is there -----------------------------------------------------------------------------

MIB=1048576
keys_of_ceph_csi="Version pool radosNamespace image unmapOptions accessType encrypted device logDir logFileStrategy"
mapping() { cat /sys/block/dm-*/dm/{name,uuid} /sys/block/dm-*/dev; }
has_their_stash() { # ENCRYPTED: as ceph-csi writes it, and for this image
	is "the stash has what ceph-csi reads, as it writes it" \
		"$(grep -oE '"[[:alpha:]]+":' "$staging/image-meta.json" | head -n 10 | tr -d '":' | paste -sd ' ')" "$keys_of_ceph_csi"
	is "with its values" "$(stash '[.Version, .pool, .radosNamespace, .image, .accessType, .encrypted, .device]')" \
		"[3,\"rbd\",\"\",\"$image\",false,$1,\"\"]"
}
expand_both() { # BYTES
	call Controller/ControllerExpandVolume "$(with ". + {capacityRange: {requiredBytes: \"$1\"}, volumeCapability: \$cap}" id)" &&
		expand "$1"
}

# ---- I/O that goes on --------------------------------------------------------------------------

# A record more each time, of 512 bytes, each on the disk before the next is begun.
writes() { # FILE
	local n=0
	until [[ -e $work/enough ]]; do
		printf 'record %0504d\n' "$n" | dd of="$1" bs=512 seek="$n" oflag=dsync conv=notrunc status=none || return
		echo $((++n)) >"$work/written"
	done
}
begin_io() { rm -f "$work/enough" "$work/written" && { writes "$1" & writer=$!; } && goes_on; }
goes_on() {
	local before
	before=$(cat "$work/written" 2>/dev/null)
	wait_for 120 eval '[[ $(cat "$work/written" 2>/dev/null) != "'"$before"'" ]]'
}
end_io() { touch "$work/enough" && wait "$writer"; }
is_all_there() { # FILE
	local n
	n=$(<"$work/written")
	cmp <(for ((i = 0; i < n; i++)); do printf 'record %0504d\n' "$i"; done) <(head -c $((512 * n)) "$1")
}
