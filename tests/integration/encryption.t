#!/bin/bash
# encryption.t: the controller's part of encrypted volumes: what ceph-csi would have written in the
# journal and in the images' metadata, with both key services, for new volumes, snapshots, clones,
# and what is restored; keys that go along, and those that do not.
. "$(dirname "$0")/lib.sh"
need_cluster

pool=t-encryption
ceph osd pool create "$pool" 8 >/dev/null 2>&1
rbd pool init "$pool" || bail "no pool"
defer ceph osd pool rm "$pool" "$pool" --yes-i-really-really-mean-it
kms=$work/kms.json
configure() { echo "$1" >"$kms"; }
configure '{"own-keys": {"encryptionKMSType": "metadata"}, "vault": {"encryptionKMSType": "vault"}}'
defer stop_attachds
start_daemon --kms-config="$kms"

plain=$RBD_CSI_SECRETS
with_passphrase() { # PASSPHRASE: from now on
	RBD_CSI_SECRETS=$work/secrets.json
	jq --arg p "$1" '. + {encryptionPassphrase: $p}' "$plain" >"$RBD_CSI_SECRETS"
}
without_passphrase() { RBD_CSI_SECRETS=$plain; }

# create NAME KMS [SOURCE-JSON]: sets volume and image; KMS "": not encrypted
create() {
	call Controller/CreateVolume "$(jq -n --arg name "$1" --arg pool "$pool" --arg kms "$2" \
		--arg cluster "$RBD_CSI_FSID" --argjson from "${3:-null}" '{
		name: $name, capacityRange: {requiredBytes: "33554432"},
		volumeCapabilities: [{block: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
		parameters: ({clusterID: $cluster, pool: $pool, imageFeatures: "layering"} +
			if $kms == "" then {} else {encrypted: "true", encryptionKMSID: $kms} end)}
		+ if $from == null then {} else {volumeContentSource: $from} end')" || return
	volume=$(jq -r .volume.volumeId <<<"$reply")
	image=csi-vol-${volume: -36}
}
of_volume() { echo "{\"volume\": {\"volumeId\": \"$1\"}}"; }
of_snapshot() { echo "{\"snapshot\": {\"snapshotId\": \"$1\"}}"; }
snapshot() { # NAME VOLUME: sets snap
	call Controller/CreateSnapshot "{\"name\": \"$1\", \"sourceVolumeId\": \"$2\"}" &&
		snap=$(jq -r .snapshot.snapshotId <<<"$reply")
}
delete() { call Controller/DeleteVolume "{\"volumeId\": \"$1\"}"; }
unsnapshot() { call Controller/DeleteSnapshot "{\"snapshotId\": \"$1\"}"; }

meta() { rbd -p "$pool" image-meta get "$1" "rbd.csi.ceph.com/$2" 2>/dev/null; }
entry() { rados -p "$pool" getomapval "$1" "$2" /dev/stdout 2>/dev/null; }
# What ceph-csi 3.17 has on an encrypted volume's image, beside names and mounter.
of_encryption() {
	rbd -p "$pool" image-meta list --format json "$1" |
		jq -c '[keys[] | select(startswith("rbd.csi.ceph.com/"))]'
}
wrapped='^\{"dek":"[A-Za-z0-9+/]{59}=","nonce":"[A-Za-z0-9+/]{16}"\}$'
all_is_gone() { [[ -z $(rbd -p "$pool" ls)$(rbd -p "$pool" trash ls --all) ]]; }

# ---- a key for each volume -------------------------------------------------------------------

with_passphrase "a passphrase of mine"
ok "a volume with a key of its own" create own own-keys
first=$volume
is "has what ceph-csi would set" "$(of_encryption "$image")" \
	'["rbd.csi.ceph.com/dek","rbd.csi.ceph.com/encrypted","rbd.csi.ceph.com/luks2HeaderSize"]'
is "it is prepared" "$(meta "$image" encrypted)" encryptionPrepared
is "with a header of 16 MiB" "$(meta "$image" luks2HeaderSize)" 16777216
like "and its key, encrypted" "$(meta "$image" dek)" "$wrapped"
is "the journal has the service" "$(entry "csi.volume.${volume: -36}" csi.volume.encryptKMS)" own-keys
is "and the type" "$(entry "csi.volume.${volume: -36}" csi.volume.encryptionType)" block
is "the node is told" "$(jq -c '.volume.volumeContext | [.encrypted, .encryptionKMSID]' <<<"$reply")" \
	'["true","own-keys"]'
is "the size is what was asked for" "$(jq -r .volume.capacityBytes <<<"$reply")" 33554432
dek=$(meta "$image" dek)
ok "once more" create own own-keys
is "it is the same volume" "$volume" "$first"
is "with the same key" "$(meta "$image" dek)" "$dek"

ok "it gets encrypted" rbd -p "$pool" image-meta set "$image" rbd.csi.ceph.com/encrypted encrypted
ok "a snapshot" snapshot own-snap "$first"
own_snap=$snap backing=csi-snap-${snap: -36}
is "is as ceph-csi makes it" "$(of_encryption "$backing")" \
	'["rbd.csi.ceph.com/dek","rbd.csi.ceph.com/encrypted","rbd.csi.ceph.com/luks2HeaderSize"]'
is "encrypted" "$(meta "$backing" encrypted)" encrypted
like "with a key that was encrypted anew" "$(meta "$backing" dek)" "$wrapped"
ok "for itself" test "$(meta "$backing" dek)" != "$dek"
is "the journal has the service" "$(entry "csi.snap.${snap: -36}" csi.volume.encryptKMS)" own-keys
is "and the type" "$(entry "csi.snap.${snap: -36}" csi.volume.encryptionType)" block

ok "a clone" create own-clone own-keys "$(of_volume "$first")"
clone=$volume
like "has its key" "$(meta "$image" dek)" "$wrapped"
is "and is encrypted" "$(meta "$image" encrypted)" encrypted
ok "one that is restored" create own-restored own-keys "$(of_snapshot "$snap")"
restored=$volume
like "has its key" "$(meta "$image" dek)" "$wrapped"
# Only a key that was read can be kept for the next one: this proves the chain.
ok "and so has a clone of that" create own-again own-keys "$(of_volume "$restored")"
again=$volume

with_passphrase "another one"
fails_with FAILED_PRECONDITION "with another passphrase nothing is copied" \
	create wrong own-keys "$(of_volume "$first")"
like "which is told" "$error" "encryptionPassphrase is not the one"
fails_with FAILED_PRECONDITION "and nothing is restored" create wrong own-keys "$(of_snapshot "$snap")"
fails_with FAILED_PRECONDITION "no snapshot is made" snapshot wrong-snap "$first"
is "nothing is left of these" "$(rados -p "$pool" listomapkeys csi.volumes.default |
	grep wrong; rados -p "$pool" listomapkeys csi.snaps.default | grep wrong)" ""
without_passphrase
fails_with INVALID_ARGUMENT "without one no volume is made" create none own-keys
like "which is told" "$error" "secrets.encryptionPassphrase: missing"
with_passphrase "a passphrase of mine"

# ---- what does not go together ---------------------------------------------------------------

fails_with FAILED_PRECONDITION "a service that is not configured" create other other
fails_with FAILED_PRECONDITION "one of a kind that is not served" create other vault
fails_with ALREADY_EXISTS "the name with another service" create own default
fails_with ALREADY_EXISTS "the name without encryption" create own ""
fails_with INVALID_ARGUMENT "a plain copy" create copy "" "$(of_volume "$first")"
fails_with INVALID_ARGUMENT "a copy by one key for all" create copy default "$(of_volume "$first")"
fails_with UNIMPLEMENTED "encrypted files" call Controller/CreateVolume "$(jq -n --arg pool "$pool" \
	--arg cluster "$RBD_CSI_FSID" '{name: "files",
	volumeCapabilities: [{mount: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}}],
	parameters: {clusterID: $cluster, pool: $pool, encrypted: "true", encryptionType: "file"}}')"

# ---- one key for all -------------------------------------------------------------------------

ok "a volume with the key of all" create all default
all=$volume
is "has what ceph-csi would set" "$(of_encryption "$image")" \
	'["rbd.csi.ceph.com/encrypted","rbd.csi.ceph.com/luks2HeaderSize"]'
is "the journal has the service" "$(entry "csi.volume.${volume: -36}" csi.volume.encryptKMS)" default
ok "a copy of it with a key of its own" create all-copy own-keys "$(of_volume "$all")"
copy=$volume
like "keeps that" "$(meta "$image" dek)" '^\{"dek":"'
configure '{"own-keys": {"encryptionKMSType": "default"}}'
ok "the configuration is read again" create reread own-keys
reread=$volume
is "and counts at once" "$(meta "$image" dek)" ""
configure '{'
fails_with FAILED_PRECONDITION "one that is broken is told" create broken own-keys
without_passphrase
ok "a snapshot of a volume with the key of all needs none" snapshot all-snap "$all"
all_snap=$snap

# ---- what stays in memory --------------------------------------------------------------------

# All the ways that a passphrase goes, also those that fail; a node without dm-crypt gets as far as the key.
configure '{"own-keys": {"encryptionKMSType": "metadata"}}'
needle=needle-$(</proc/sys/kernel/random/uuid)
with_passphrase "$needle"
ok "a volume by a passphrase of its own" create needle own-keys
found=$volume
ok "a copy" create needle-copy own-keys "$(of_volume "$found")"
found_copy=$volume
ok "a snapshot" snapshot needle-snap "$found"
found_snap=$snap
fails_with ALREADY_EXISTS "the name with another service" create needle default
fails_with FAILED_PRECONDITION "another passphrase at the copy" create needle-wrong own-keys "$(of_volume "$first")"
fails_with INVALID_ARGUMENT "a request that is refused" call Controller/CreateVolume '{"name": "needle"}'
mkdir -p "$work/staging"
fails_with "[A-Z_]+" "staging it" call Node/NodeStageVolume "$(jq -n --arg id "$found" --arg staging "$work/staging" \
	--arg pool "$pool" --arg image "csi-vol-${found: -36}" --arg mons "$RBD_CSI_MONITORS" '{volumeId: $id,
	stagingTargetPath: $staging, volumeCapability: {mount: {}, accessMode: {mode: "SINGLE_NODE_WRITER"}},
	publishContext: {pool: $pool, imageName: $image, monitors: $mons},
	volumeContext: {clusterID: "'"$RBD_CSI_FSID"'", pool: $pool, imageName: $image, mounter: "userspace",
		encrypted: "true", encryptionKMSID: "own-keys"}}')"
in_memory() { "$top/tests/integration/memory.py" "$@" <<<"$needle"; }
# The scan finds what is there: this shell has the passphrase in a variable.
finds() { ! in_memory $$; }
ok "the scan finds it in this test" finds
# shellcheck disable=SC2046 # process ids
is_clean() { in_memory $(ours rbd-csid) $(ours ceph-worker) $(ours rbd-attachd); }
ok "no process of the driver has it any more" wait_for 30 is_clean

# ---- nothing is left -------------------------------------------------------------------------

ok "a snapshot is deleted" unsnapshot "$found_snap"
for id in "$first" "$clone" "$restored" "$again" "$all" "$copy" "$reread" "$found" "$found_copy"; do
	ok "deleted: ${id: -36}" delete "$id"
done
ok "a snapshot is deleted" unsnapshot "$own_snap"
ok "the other one, too" unsnapshot "$all_snap"
ok "all images are gone" wait_for 60 all_is_gone
unlogged() { ! grep -q "passphrase of mine\|another one\|$needle" "$work/csid.log"; }
ok "no passphrase is in the log" unlogged

done_testing
