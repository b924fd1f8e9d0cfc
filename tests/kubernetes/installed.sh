# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# installed.sh: the manifests as they are, under a real kubelet

diag "Kubernetes $(kubectl version -o json | jq -r .serverVersion.gitVersion), $(containerd --version | cut -d' ' -f3), $(runc --version | head -n 1)"
ok "each container of the driver is ready" wait_for "$(bound)" all_ready ||
	kubectl -n rbd-csi describe pods | sed 's/^/# /'
is "kubelet knows the driver" "$(get csinode/n1 '{.spec.drivers[*].name}')" rbd.csi.ceph.com
is "the driver's pods are those of the manifests" \
	"$(restarts | cut -d' ' -f1 | paste -sd' ')" \
	"csi-attacher csi-provisioner csi-rbdplugin csi-rbdplugin csi-resizer csi-snapshotter driver-registrar"
ok "a node's pod has no token of the API server" \
	test "$(kubectl -n rbd-csi get pod -l "$on_node" -o 'jsonpath={.items[0].spec.volumes[*].projected}')" = ""
