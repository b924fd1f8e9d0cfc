# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# topology.sh: the Helm chart with topology: nodes tell their zone, and a volume goes to its pool
#
# One node has one zone: that a pod elsewhere gets the other pool is what tests/integration/parameters.t shows.

chart() {
	helm template rbd-csi "$top/deploy/helm/rbd-csi" --kube-version 1.35.0 --namespace rbd-csi --no-hooks \
		--values "$top/deploy/kubernetes/values.yaml" --values "$top/deploy/overlays/userspace/values.yaml" \
		--set provisioner.replicaCount=1 --set topology.enabled=true \
		--set 'topology.domainLabels={topology.kubernetes.io/zone}' >"$work/chart.yaml" &&
		"$top/scripts/kubernetes" fill --dir "$kube" "$work/chart.yaml" | kubectl apply -f -
}
zone=topology.rbd.csi.ceph.com/zone
pool() { rbd pool stats "$1" >/dev/null 2>&1 || { ceph osd pool create "$1" 8 && rbd pool init "$1"; }; }

ok "nothing is there of an earlier run" cleared
ok "pools of two zones are made" eval 'pool rbd-A && pool rbd-B'
ok "the node has a zone" kubectl label --overwrite node/n1 topology.kubernetes.io/zone=a
ok "the driver as it was ends" driver_gone
ok "the chart is applied with topology" chart
ok "... and each container is ready" wait_for "$(bound)" all_ready
ok "... and kubelet knows the driver's topology" until_is "$(bound)" "[\"$zone\"]" get csinode/n1 '{.spec.drivers[?(@.name=="rbd.csi.ceph.com")].topologyKeys}'
is "... and has told the node's zone" "$(kubectl get node/n1 -o json | jq -r --arg zone $zone '.metadata.labels[$zone]')" a
example topology
is "... with an image in the pool of its zone" "$(image_of topology | cut -d/ -f1)" rbd-A
is "... and a volume that is of this zone" \
	"$(kubectl get pv "$(get pvc/topology '{.spec.volumeName}')" -o json | jq -c '.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions')" \
	"[{\"key\":\"$zone\",\"operator\":\"In\",\"values\":[\"a\"]}]"
ok "... and are deleted" cleared
ok "... and the image" until_is "$(bound)" "" rbd ls rbd-A
ok "... and nothing in the trash" until_is "$(bound)" "" rbd trash ls rbd-A
kubectl label node/n1 topology.kubernetes.io/zone- $zone- >/dev/null
ok "the manifests are applied again" ours
