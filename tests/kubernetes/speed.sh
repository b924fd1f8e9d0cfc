# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# speed.sh: how long 100 claims take until they are bound, attached, detached and gone, with several settings of the sidecars
#
# Attachments are made as kube-controller-manager makes them, but without pods: kubelet would be what is measured. Two
# rounds, since the machine is never quiet; what counts are the ratios within one.

many_claims=100

# set_sidecars THREADS QPS BURST: anew with these; without an argument with their own defaults.
set_sidecars() {
	kubectl -n rbd-csi get deployment csi-rbdplugin-provisioner -o json | jq --arg threads "${1:-}" --arg qps "${2:-}" --arg burst "${3:-}" '
		.spec.template.spec.containers |= map(if .name == "csi-rbdplugin" then . else
			(if .name == "csi-resizer" then "--workers=" else "--worker-threads=" end) as $workers |
			.args |= map(select(test("^--(worker-threads|workers|kube-api-qps|kube-api-burst)=") | not)) |
			if $threads == "" then . else .args += [$workers + $threads, "--kube-api-qps=" + $qps, "--kube-api-burst=" + $burst] end end)' |
		kubectl replace -f - &&
		kubectl -n rbd-csi rollout status deployment/csi-rbdplugin-provisioner --timeout="$(bound)s"
}

# speed_claims FIRST COUNT, speed_attachments FIRST COUNT: as manifests.
speed_claims() {
	seq -f '%g' "$1" $(($1 + $2 - 1)) | while read -r n; do
		printf -- '---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: speed-%d}\nspec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: csi-rbd-sc, resources: {requests: {storage: 1Gi}}}\n' "$n"
	done
}
speed_attachments() {
	kubectl get pvc -o json | jq -r --argjson first "$1" --argjson count "$2" '.items[] | (.metadata.name | ltrimstr("speed-") | tonumber) as $n |
		select($n >= $first and $n < $first + $count) | "---\napiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\nmetadata: {name: speed-\($n)}\nspec: {attacher: rbd.csi.ceph.com, nodeName: n1, source: {persistentVolumeName: \(.spec.volumeName)}}"'
}
bound_now() { kubectl get pvc --no-headers | awk '$2 == "Bound"' | wc -l; }
attached_now() { kubectl get volumeattachment --no-headers | awk '$5 == "true"' | wc -l; }

# timed NAME COMMAND...: passes if the command does; sets took to what it took, in ms.
timed() {
	local name=$1 start=${EPOCHREALTIME/./}
	shift
	ok "$name" "$@"
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
}

# measure NAME [SETTING...]
measure() {
	local name=$1 all=()
	shift
	ok "$name: nothing is there of an earlier run" cleared
	ok "... the sidecars run" set_sidecars "$@"
	# until each has a leader
	ok "... and serve" eval 'speed_claims 0 1 | kubectl apply -f - && until_is "$(bound)" 1 bound_now &&
		speed_attachments 0 1 | kubectl apply -f - && until_is "$(bound)" 1 attached_now'
	speed_claims 1 $many_claims >"$work/claims"
	timed "... $many_claims claims are bound" eval 'kubectl create -f "$work/claims" && until_is "$(bound)" $((many_claims + 1)) bound_now'
	all+=("bound $took ms")
	speed_attachments 1 $many_claims >"$work/attachments"
	timed "... attached" eval 'kubectl create -f "$work/attachments" && until_is "$(bound)" $((many_claims + 1)) attached_now'
	all+=("attached $took ms")
	timed "... detached" eval 'kubectl delete volumeattachment --all --wait=false && until_is "$(bound)" 0 count_of volumeattachment'
	all+=("detached $took ms")
	timed "... and gone" eval 'kubectl delete pvc --all --wait=false && until_is "$(bound)" 0 count_of pv'
	all+=("gone $took ms")
	all+=("the attacher failed to remove $(kubectl -n rbd-csi logs deployment/csi-rbdplugin-provisioner -c csi-attacher | grep -c 'emove finalizer') finalizers at first")
	diag "$name: ${all[*]}"
}

for round in 1 2; do
	measure "round $round, the sidecars' defaults"
	measure "round $round, 10 threads, 100 requests a second" 10 100 200
	measure "round $round, 100 threads, 100 requests a second" 100 100 200
	measure "round $round, 250 threads, 300 requests a second" 250 300 600
done
ok "the driver's own settings are back" ours
