# shellcheck shell=bash disable=SC2034,SC2154 # for the parts; tests/integration/lib.sh has the rest
# lib.sh: what the parts of tests/kubernetes/run share; to be sourced after tests/integration/lib.sh

kube=$RBD_CSI_KUBERNETES

# bound: the seconds that anything may take. A sidecar that has crashed some times waits for minutes until kubelet starts
# it again; once something has failed, what depends on it is not waited for as long.
bound() { ((_failed)) && echo 120 || echo 1200; }

# until_is SECONDS WANT COMMAND...: until the command prints that; shows the last output otherwise.
until_is() {
	local end=$((SECONDS + $1)) want=$2 got=
	shift 2
	until got=$("$@" 2>&1) && [[ $got == "$want" ]]; do
		((SECONDS < end)) || { echo "$* prints $got"; return 1; }
		sleep 0.3
	done
}

# get KIND/NAME JSONPATH
get() { kubectl get "$1" -o "jsonpath=$2"; }

# count_of KIND: how many there are in all namespaces.
count_of() { kubectl get "$1" --all-namespaces --no-headers --ignore-not-found 2>/dev/null | wc -l; }

# apply_example NAME [SED-SCRIPT]
apply_example() { "$top/scripts/kubernetes" fill --dir "$kube" "$top/deploy/examples/$1.yaml" | sed -e "${2:-}" | kubectl apply -f -; }

# ready NAME...: pods.
ready() { kubectl wait --for=condition=Ready --timeout="$(bound)s" "${@/#/pod/}"; }

# in_pod NAME COMMAND: by the pod's shell.
in_pod() { kubectl exec "$1" -- sh -c "$2"; }

# lines NAME: how many pods have written to the volume.
lines() { in_pod "$1" 'wc -l </data/log'; }

# why NAME: what Kubernetes says about a pod.
why() { kubectl describe "pod/$1" | sed -n '/^Events/,$p'; }

# pod_of LABEL: the driver's pod.
pod_of() { kubectl -n "${2:-rbd-csi}" get pod -l "$1" -o 'jsonpath={.items[0].metadata.name}'; }

controller=app=csi-rbdplugin-provisioner
on_node=app=csi-rbdplugin

# process_of LABEL CONTAINER [NAMESPACE]: the container's first process; fails if it is not running.
process_of() {
	local id
	id=$(kubectl -n "${3:-rbd-csi}" get pod -l "$1" -o "jsonpath={.items[0].status.containerStatuses[?(@.name==\"$2\")].containerID}")
	ctr tasks list | awk -v id="${id#containerd://}" '$1 == id && $3 == "RUNNING" { print $2; found = 1 } END { exit !found }'
}

# kill_container LABEL CONTAINER [NAMESPACE]: SIGKILL, as a crash is; of one that is just not running, when it runs again.
kill_container() {
	local pid
	running() { pid=$(process_of "$@"); }
	wait_for "$(bound)" running "$@" && kill -KILL "$pid" && wait_for 60 is_gone "$pid"
}

# restarts: of the driver's containers, "NAME N" each.
restarts() {
	kubectl -n rbd-csi get pods -o 'jsonpath={range .items[*].status.containerStatuses[*]}{.name}{" "}{.restartCount}{"\n"}{end}' | sort
}

# all_ready: all containers of the driver.
all_ready() {
	[[ $(kubectl -n rbd-csi get pods -o 'jsonpath={.items[*].status.containerStatuses[*].ready}') =~ ^true(\ true)*$ ]]
}

# cleared: no pod, snapshot, claim or volume is there any more, whatever left it.
cleared() {
	kubectl delete pod --all --timeout="$(bound)s" &&
		kubectl delete volumesnapshot --all --timeout="$(bound)s" &&
		kubectl delete pvc --all --timeout="$(bound)s" &&
		kubectl delete pv,volumeattachment --all --timeout="$(bound)s"
}

# driver_gone: the driver's pods have ended; no volume may be in use.
driver_gone() {
	kubectl -n rbd-csi delete deployment,daemonset --all --timeout="$(bound)s" &&
		kubectl -n rbd-csi wait --for=delete pod --all --timeout="$(bound)s"
}

# ours: the driver is there again as its manifests have it.
ours() { driver_gone && "$top/scripts/kubernetes" apply --dir "$kube" && wait_for "$(bound)" all_ready; }

# image_of CLAIM: POOL/IMAGE.
image_of() {
	kubectl get pv "$(get "pvc/$1" '{.spec.volumeName}')" \
		-o 'jsonpath={.spec.csi.volumeAttributes.pool}/{.spec.csi.volumeAttributes.imageName}'
}

# users: how many Ceph users volumes have.
users() { ceph auth ls -f json 2>/dev/null | jq '[.auth_dump[].entity | select(startswith("client.rbd-csi."))] | length'; }

# situation: for people, after something has failed.
situation() {
	{
		echo "---- pods"
		kubectl get pods --all-namespaces -o wide
		echo "---- claims that are not bound, volumes that go"
		kubectl get pvc,pv --no-headers | grep -v Bound
		kubectl get volumeattachment,volumesnapshot --no-headers | head -n 20
		echo "---- what Kubernetes warns of"
		kubectl get events --all-namespaces --field-selector type=Warning --sort-by=.lastTimestamp -o \
			custom-columns=LAST:.lastTimestamp,OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message | tail -n 20
		echo "---- the driver's calls that failed, and the ends of the containers' logs"
		for pod in $(kubectl -n rbd-csi get pods -o name); do
			kubectl -n rbd-csi logs "$pod" --container csi-rbdplugin | grep -v 'level=info' | tail -n 20
			kubectl -n rbd-csi logs "$pod" --all-containers --prefix --tail=5
		done
	} 2>&1 | cut -c1-400 | sed 's/^/# /'
}

# ext4 grows while it is mounted only by a root with CAP_SYS_RESOURCE, which some machines' root lacks.
grows_ext4() { ((0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status) >> 24 & 1)); }
no_growth="this machine's root has no CAP_SYS_RESOURCE, which growing an ext4 takes"
