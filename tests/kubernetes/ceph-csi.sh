# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# ceph-csi.sh: ceph-csi's manifests with the image changed and nothing else, under kubelet
#
# Each container of each pod has to start and to stay, also those that ceph-csi has beside the driver.

theirs() {
	sed -s -e '1i ---' -e 's/rbd-csi-node:/rbd-csi-node-userspace:/' -e 's/^  replicas: 3/  replicas: 1/' "$top"/tests/deploy/ceph-csi/*.yaml |
		"$top/scripts/kubernetes" fill --dir "$kube"
}

# containers: of their pods, "NAME READY RESTARTS" a line.
containers() {
	kubectl get pods -l 'app in (csi-rbdplugin, csi-rbdplugin-provisioner)' \
		-o 'jsonpath={range .items[*].status.containerStatuses[*]}{.name} {.ready} {.restartCount}{"\n"}{end}' | sort
}
want=$(for name in csi-attacher csi-provisioner csi-rbdplugin csi-rbdplugin csi-rbdplugin-controller csi-resizer csi-snapshotter driver-registrar \
	liveness-prometheus liveness-prometheus; do echo "$name true 0"; done)
# alive LABEL: what its container liveness-prometheus tells Prometheus.
alive() { http_get "$(kubectl get pod -l "app=$1" -o 'jsonpath={.items[0].status.podIP}'):8680" /metrics | grep '^csi_liveness '; }

ok "nothing is there of an earlier run" eval 'theirs | kubectl delete --ignore-not-found -f - && cleared'
ok "the driver's own manifests go" driver_gone
ok "ceph-csi's are applied" eval 'theirs | kubectl apply -f -'
ok "each container of each pod runs" until_is "$(bound)" "$want" containers
ok "kubelet knows the driver" until_is "$(bound)" rbd.csi.ceph.com get csinode/n1 '{.spec.drivers[*].name}'
for label in csi-rbdplugin csi-rbdplugin-provisioner; do
	ok "Prometheus is told that $label is alive" until_is "$(bound)" "csi_liveness 1" alive $label
done
example userspace
is "... and has written" "$(lines userspace)" 1
ok "a snapshot of it is taken" eval 'apply_example snapshot "s/persistentVolumeClaimName: filesystem/persistentVolumeClaimName: userspace/" &&
	kubectl wait --for=jsonpath="{.status.readyToUse}"=true --timeout="$(bound)s" volumesnapshot/filesystem-snapshot'
ok "... and restored" apply_example restore 's/storage: 2Gi/storage: 1Gi/; s/csi-rbd-sc/csi-rbd-userspace/'
ok "... and its pod runs" ready restored || diag "$(why restored)"
is "... with the line of the snapshot and its own" "$(lines restored)" 2
ok "all are deleted" eval 'kubectl delete pod userspace restored --timeout="$(bound)s" && kubectl delete volumesnapshot --all --timeout="$(bound)s" &&
	kubectl delete pvc --all --timeout="$(bound)s"'
ok "... and their volumes" until_is "$(bound)" 0 count_of pv
ok "... and images" until_is "$(bound)" "" rbd ls rbd
ok "... and what was in the trash" until_is "$(bound)" "" rbd trash ls rbd
is "each container has stayed" "$(containers)" "$want"
ok "ceph-csi's manifests go" eval 'theirs | kubectl delete --timeout="$(bound)s" -f - && kubectl wait --for=delete pod --all --timeout="$(bound)s"'
ok "the driver's own are applied again" ours
