# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# examples.sh: each file of deploy/examples is applied, its claim bound, its pod's data right

# example NAME [SED-SCRIPT]: applies it and waits for the pod of its name.
example() {
	ok "examples/$1.yaml is applied" apply_example "$@"
	ok "... and its pod runs" ready "$1" || diag "$(why "$1")"
}

# size_of POD: of its file system, in MiB.
size_of() { in_pod "$1" "df -Pk /data | awk 'NR == 2 { print int(\$2 / 1024) }'"; }

ok "nothing is there of an earlier run" cleared
rbd rm --no-progress rbd/somebodys 2>/dev/null

example filesystem
is "... and has written" "$(lines filesystem)" 1
example xfs
is "... on xfs" "$(in_pod xfs "awk '\$2 == \"/data\" { print \$3 }' /proc/mounts")" xfs
example userspace
is "... and has written" "$(lines userspace)" 1
example block
ok "... and its device keeps what is written" in_pod block \
	'echo data | dd of=/dev/volume bs=4096 conv=sync,fsync && [ "$(dd if=/dev/volume bs=4096 count=1 | head -n 1)" = data ]'

ok "examples/block-rwx.yaml is applied" apply_example block-rwx
ok "... and both of its pods run" ready block-rwx-a block-rwx-b || diag "$(why block-rwx-a)" "$(why block-rwx-b)"
ok "... and one reads what the other writes" eval \
	"in_pod block-rwx-a 'echo shared | dd of=/dev/volume bs=4096 conv=sync,fsync' && in_pod block-rwx-b 'dd if=/dev/volume bs=4096 count=1' | grep -a shared"

example rwop
sed -n 's/^  name: rwop$/  name: rwop-second/; /^kind: Pod/,$p' "$top/deploy/examples/rwop.yaml" | sed '1i apiVersion: v1' |
	kubectl apply -f - >/dev/null
ok "... and a second pod has to wait" wait_for "$(bound)" eval \
	"kubectl get pod rwop-second -o jsonpath='{.status.conditions[?(@.type==\"PodScheduled\")].message}' | grep -q ReadWriteOncePod"
kubectl delete pod rwop --wait=false >/dev/null
ok "... until the first one is gone" ready rwop-second || diag "$(why rwop-second)"
is "... whose line it finds" "$(lines rwop-second)" 2

example ephemeral
ok "... and its claim goes with the pod" eval \
	'kubectl delete pod ephemeral && until_is "$(bound)" "" kubectl get pvc ephemeral-data --ignore-not-found'

ok "examples/snapshot.yaml is applied, and ready" eval 'apply_example snapshot &&
	kubectl wait --for=jsonpath="{.status.readyToUse}"=true --timeout="$(bound)s" volumesnapshot/filesystem-snapshot'
as_large=
grows_ext4 || as_large='s/storage: 2Gi/storage: 1Gi/'
ok "examples/restore.yaml is applied" apply_example restore "$as_large"
ok "... and its pod runs" ready restored || diag "$(why restored)"
is "... with the line of the snapshot and its own" "$(lines restored)" 2
if grows_ext4; then
	ok "... and a file system as large as the claim" test "$(size_of restored)" -gt 1800
else
	skip "... and a file system as large as the claim" "$no_growth"
fi
ok "examples/read-only.yaml is applied, of a snapshot whose journal has to be replayed" apply_example read-only
ok "... and both of its pods run" ready read-only-a read-only-b || diag "$(why read-only-a)" "$(why read-only-b)"
is "... one with the line of the snapshot" "$(lines read-only-a)" 1
is "... and so has the other" "$(lines read-only-b)" 1
skip "examples/encrypted.yaml" "LUKS needs dm-crypt; tests/vm/krbd-crypt.t has it"
example clone
is "... with the line of its source and its own" "$(lines clone)" 2
if grows_ext4; then
	ok "examples/resize.yaml is applied" apply_example resize
	ok "... and the claim grows" kubectl wait --for=jsonpath='{.status.capacity.storage}'=2Gi --timeout="$(bound)s" pvc/filesystem
	ok "... and the file system, under its pod" test "$(size_of filesystem)" -gt 1800
	is "... which has started once only" "$(lines filesystem)" 1
else
	# xfs asks for no capability
	ok "examples/resize.yaml is applied, to the claim of xfs" apply_example resize 's/name: filesystem/name: xfs/; s/csi-rbd-sc/csi-rbd-xfs/'
	ok "... and the claim grows" kubectl wait --for=jsonpath='{.status.capacity.storage}'=2Gi --timeout="$(bound)s" pvc/xfs
	ok "... and the file system, under its pod" test "$(size_of xfs)" -gt 1800
	is "... which has started once only" "$(lines xfs)" 1
	skip "... and an ext4" "$no_growth"
fi

truncate -s 1G "$work/somebodys"
mkfs.ext4 -q "$work/somebodys"
rbd import --no-progress --image-feature layering "$work/somebodys" rbd/somebodys
example static s/IMAGE/somebodys/
is "... and has written" "$(lines static)" 1

example qos
is "... and the claim has its class" "$(get pvc/qos '{.status.currentVolumeAttributesClassName}')" csi-rbd-limited
limit() { rbd image-meta get "$(image_of qos)" conf_rbd_qos_iops_limit; }
is "... and the image its limit" "$(limit)" 1000
ok "... and takes another one while the pod runs" eval '
	"$top/scripts/kubernetes" fill --dir "$kube" "$top/deploy/examples/qos.yaml" | sed "/^---/,\$d; s/csi-rbd-limited/csi-rbd-slower/; s/\"1000\"/\"500\"/" | kubectl apply -f - &&
	kubectl patch pvc qos --patch "{\"spec\": {\"volumeAttributesClassName\": \"csi-rbd-slower\"}}" &&
	kubectl wait --for=jsonpath="{.status.currentVolumeAttributesClassName}"=csi-rbd-slower --timeout="$(bound)s" pvc/qos'
is "... and the image another limit" "$(limit)" 500

prefix='with entity prefix client.rbd-csi.'
ceph auth caps client.csi-rbd mgr 'profile rbd' osd 'profile rbd' \
	mon "profile rbd, allow command \"auth get-or-create\" $prefix, allow command \"auth caps\" $prefix, allow command \"auth rm\" $prefix" 2>/dev/null
ok "examples/cephx-per-volume.yaml is applied" apply_example cephx-per-volume
ok "... and its pod runs" ready per-volume || diag "$(why per-volume)"
is "... with a Ceph user of its own" "$(users)" 1


# ---- their end ---------------------------------------------------------------------------------

ok "the pods of the examples are deleted" kubectl delete pod --all --timeout="$(bound)s"
ok "... and their snapshots" kubectl delete volumesnapshot --all --timeout="$(bound)s"
ok "... and their claims" kubectl delete pvc --all --timeout="$(bound)s"
kubectl delete pv static >/dev/null
ok "... then all volumes are gone" until_is "$(bound)" 0 count_of pv
is "... but the image that is somebody's" "$(rbd ls rbd)" somebodys
is "... and the user of a volume" "$(users)" 0
rbd rm --no-progress rbd/somebodys
