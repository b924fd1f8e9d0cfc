# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# many.sh: many claims with pods go through everything, while what serves them is killed
#
# A fifth of them each: ext4, xfs, a raw block device, the same for several nodes (ReadWriteMany), ext4 for one pod
# (ReadWriteOncePod). A pod writes its volume's name where nothing is, so a volume that is formatted anew, or another
# one's, is found out.

fifth=$(((claims + 4) / 5))

# kind_of N: access mode, volume mode, class.
kind_of() {
	case $(($1 % 5)) in
	0) echo ReadWriteOnce Filesystem csi-rbd-sc ;;
	1) echo ReadWriteOnce Filesystem csi-rbd-xfs ;;
	2) echo ReadWriteOnce Block csi-rbd-sc ;;
	3) echo ReadWriteMany Block csi-rbd-sc ;;
	4) echo ReadWriteOncePod Filesystem csi-rbd-sc ;;
	esac
}

# claim NAME N [SOURCE-KIND SOURCE]
claim() {
	local access mode class source=
	read -r access mode class < <(kind_of "$2")
	case ${3:-} in
	VolumeSnapshot) source="dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: $4}" ;;
	PersistentVolumeClaim) source="dataSource: {kind: PersistentVolumeClaim, name: $4}" ;;
	esac
	cat <<-END
	---
	apiVersion: v1
	kind: PersistentVolumeClaim
	metadata: {name: $1, labels: {many: "${3:-first}"}}
	spec:
	  accessModes: [$access]
	  volumeMode: $mode
	  storageClassName: $class
	  resources: {requests: {storage: 1Gi}}
	  $source
	END
}

# user NAME N: the claim's pod; the name that it writes is at the first 4 KiB of a device.
user() {
	local mode volume
	mode=$(kind_of "$2" | cut -d' ' -f2)
	if [[ $mode == Block ]]; then
		volume='volumeDevices: [{name: data, devicePath: /dev/volume}]'
	else
		volume='volumeMounts: [{name: data, mountPath: /data}]'
	fi
	cat <<-END
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: $1, labels: {many: "yes"}}
	spec:
	  terminationGracePeriodSeconds: 0
	  containers:
	    - name: app
	      image: busybox:1.37
	      command:
	        - sh
	        - -ec
	        - |
	          if [ -e /dev/volume ]; then
	            [ -n "\$(dd if=/dev/volume bs=64 count=1 | tr -d '\\0')" ] || echo $1 | dd of=/dev/volume bs=4096 conv=sync,fsync
	          elif [ ! -e /data/name ]; then
	            echo $1 >/data/name
	            sync
	          fi
	          touch /tmp/written
	          exec sleep infinity
	      readinessProbe: {exec: {command: [test, -e, /tmp/written]}, periodSeconds: 1, timeoutSeconds: 30}
	      $volume
	  volumes: [{name: data, persistentVolumeClaim: {claimName: $1}}]
	END
}

names() { seq -f "$1-%g" 0 $(($2 - 1)); }

# each N COMMAND PREFIX [ARGUMENT...]: the command's output for each of N.
each() {
	local n count=$1 command=$2 prefix=$3
	shift 3
	for ((n = 0; n < count; n++)); do "$command" "$prefix-$n" "$n" "${@/%-/-$n}"; done
}

bound_of() { kubectl get pvc -o json | jq -r --arg p "$1-" '[.items[] | select(.metadata.name | startswith($p)) | select(.status.phase == "Bound")] | length'; }

# in_each COMMAND NAME...: in the container of each of these pods, without asking the API server once for each.
in_each() {
	local command=$1 pods tasks name id pid
	shift
	pods=$(kubectl get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID}{"\n"}{end}')
	tasks=$(ctr tasks list)
	for name; do
		id=$(awk -v name="$name" '$1 == name { print substr($2, length("containerd://") + 1) }' <<<"$pods")
		pid=$(awk -v id="${id:-none}" '$1 == id && $3 == "RUNNING" { print $2 }' <<<"$tasks")
		PATH=$PATH:/bin nsenter --target "${pid:-none}" --mount -- /bin/sh -c "$command" 2>&1 || echo "in $name: failed"
	done
}

# written PREFIX COUNT: what the volumes have in them, one name a line.
written() {
	mapfile -t pods < <(names "$1" "$2")
	in_each 'if [ -e /dev/volume ]; then dd if=/dev/volume bs=4096 count=1 2>/dev/null | tr -d "\0"; else cat /data/name; fi' "${pods[@]}"
}

# users_ready PREFIX COUNT
users_ready() {
	mapfile -t pods < <(names "$1" "$2")
	ready "${pods[@]}"
}

took() { diag "$1 after $((SECONDS - since)) s"; }

# memory: the most that each program of the driver's pods and each sidecar has had in memory.
memory() {
	local pid name
	for name in rbd-csid ceph-worker rbd-attachd csi-provisioner csi-attacher csi-resizer csi-snapshotter registrar; do
		for pid in $(pgrep -x "${name:0:15}"); do
			awk -v name="$name" '/^VmHWM/ { printf "%s %d MiB\n", name, $2 / 1024 }' "/proc/$pid/status" 2>/dev/null
		done
	done
}

ok "nothing is there of an earlier run" cleared
"$top/scripts/kubernetes" fill --dir "$kube" "$top/deploy/examples/xfs.yaml" | sed '/^---/,$d' | kubectl apply -f - >/dev/null
restarts_before=$(restarts)

since=$SECONDS
each "$claims" claim many | kubectl apply -f - >/dev/null
ok "rbd-csid of the controller is killed while $claims volumes are made" kill_container "$controller" csi-rbdplugin
ok "all are made" until_is "$(bound)" "$claims" bound_of many
took "all bound"

since=$SECONDS
each "$claims" user many | kubectl apply -f - >/dev/null
ok "external-attacher is killed while they are attached" kill_container "$controller" csi-attacher
kubelet=$(<"$kube/run/kubelet.pid")
ok "... and node-driver-registrar" kill_container "$on_node" driver-registrar
ok "kubelet is killed while they are staged" kill -KILL "$kubelet"
wait_for 60 is_gone "$kubelet"
ok "... and started" "$top/scripts/kubernetes" start --dir "$kube" kubelet
ok "all pods run" users_ready many "$claims" || kubectl get pods -o wide | sed 's/^/# /'
took "all running"
is "each has its volume's name" "$(written many "$claims")" "$(names many "$claims")"
memory | sed 's/^/# /'

attachd=$(pgrep -x rbd-attachd | head -n 1)
ok "rbd-attachd is killed" kill -KILL "$attachd"
mapfile -t pods < <(names many "$claims")
is "... and all volumes are written as before" "$(in_each 'if [ -e /dev/volume ]; then echo more | dd of=/dev/volume seek=1 bs=4096 conv=sync,fsync 2>/dev/null
	else echo more >/data/more && sync; fi' "${pods[@]}")" ""
is "... and read" "$(written many "$claims")" "$(names many "$claims")"

since=$SECONDS
for n in $(seq 0 $((fifth - 1))); do
	printf -- '---\napiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: snap-%d}\nspec: {volumeSnapshotClassName: csi-rbd-snapclass, source: {persistentVolumeClaimName: many-%d}}\n' "$n" "$n"
done | kubectl apply -f - >/dev/null
ok "external-snapshotter is killed while $fifth snapshots are taken" kill_container "$controller" csi-snapshotter
ok "... and snapshot-controller" kill_container app.kubernetes.io/name=snapshot-controller snapshot-controller kube-system
ok "all are taken" kubectl wait --for=jsonpath='{.status.readyToUse}'=true --timeout="$(bound)s" volumesnapshot --all
took "all taken"

since=$SECONDS
{
	each "$fifth" claim restored VolumeSnapshot snap-
	each "$fifth" claim cloned PersistentVolumeClaim many-
	each "$fifth" user restored
	each "$fifth" user cloned
} | kubectl apply -f - >/dev/null
ok "external-provisioner is killed while $fifth are restored and $fifth cloned" kill_container "$controller" csi-provisioner
ok "all restored ones run" users_ready restored "$fifth" || kubectl get pods -o wide | sed 's/^/# /'
ok "all clones run" users_ready cloned "$fifth" || kubectl get pods -o wide | sed 's/^/# /'
took "all running"
is "the restored ones have the names of their sources" "$(written restored "$fifth")" "$(names many "$fifth")"
is "and so have the clones" "$(written cloned "$fifth")" "$(names many "$fifth")"

since=$SECONDS
growing=()
for ((n = 0; n < claims; n++)); do
	if grows_ext4 || [[ $(kind_of "$n") == *xfs* || $(kind_of "$n") == *Block* ]]; then growing+=("many-$n"); fi
done
kubectl patch pvc "${growing[@]}" --patch '{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}' >/dev/null
ok "external-resizer is killed while ${#growing[@]} are grown" kill_container "$controller" csi-resizer
ok "all have grown" kubectl wait --for=jsonpath='{.status.capacity.storage}'=2Gi --timeout="$(bound)s" "${growing[@]/#/pvc/}"
took "all grown"
is "their file systems and devices, too" "$(in_each 'if [ -e /dev/volume ]; then blockdev --getsize64 /dev/volume
	else df -Pk /data | awk "NR == 2 { print \$2 * 1024 }"; fi' "${growing[@]}" | awk '$1 > 1900000000' | wc -l)" ${#growing[@]}

# The end of the container is that of rbd-attachd: the pods have lost their volumes, and have to be started anew.
since=$SECONDS
ok "the node plugin's container is killed" kill_container "$on_node" csi-rbdplugin
kubectl delete pod -l many=yes --timeout="$(bound)s" >/dev/null
each "$claims" user many | kubectl apply -f - >/dev/null
ok "all pods run that are started anew" users_ready many "$claims" || kubectl get pods -o wide | sed 's/^/# /'
took "all running"
is "... with their data" "$(written many "$claims")" "$(names many "$claims")"

since=$SECONDS
ok "all pods are deleted" kubectl delete pod --all --timeout="$(bound)s"
ok "... and detached" until_is "$(bound)" 0 count_of volumeattachment
took "all detached"
since=$SECONDS
kubectl delete pvc,volumesnapshot --all --wait=false >/dev/null
ok "rbd-csid of the controller is killed while they are deleted" kill_container "$controller" csi-rbdplugin
ok "all volumes are gone" until_is "$(bound)" 0 count_of pv
ok "... and snapshots" until_is "$(bound)" 0 count_of volumesnapshotcontent
took "all gone"
# Purges that the killed rbd-csid has left go on when a call brings the Ceph user's key, unless the driver has one of its own (docs/LISTS.md).
claim last 2 | kubectl apply -f - >/dev/null
ok "another volume is made" kubectl wait --for=jsonpath='{.status.phase}'=Bound --timeout="$(bound)s" pvc/last
kubectl delete pvc last >/dev/null
ok "... and deleted" until_is "$(bound)" 0 count_of pv
diag "starts of containers since the beginning:" "$(diff <(echo "$restarts_before") <(restarts) | grep '^>')"
