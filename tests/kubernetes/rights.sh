# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# rights.sh: the service account's rights, compared with what it has asked for
#
# The API server's audit log has each request of the controller's pod.

# granted: "VERB GROUP/RESOURCE" a line.
granted() {
	{
		kubectl get clusterrole rbd-csi-provisioner -o json
		kubectl -n rbd-csi get role rbd-csi-provisioner -o json
	} | jq -r '.rules[] | .verbs[] as $verb | .apiGroups[] as $group | .resources[] | "\($verb) \($group)/\(.)"' | sort -u
}

# asked JQ-CONDITION: the same of requests.
asked() {
	jq -r "select(.objectRef.resource != null and ($1)) |
		\"\(.verb) \(.objectRef.apiGroup // \"\")/\(.objectRef.resource)\(if .objectRef.subresource then \"/\" + .objectRef.subresource else \"\" end)\"" \
		"$kube/audit.log" | sort -u
}

is "no request of the controller's pod was refused" "$(asked '.responseStatus.code == 403')" ""
used=$(asked '.responseStatus.code != 403')
# Not each is for this installation: topology, fencing, a leader that hands over.
diag "rights that this run did not use:" "$(comm -23 <(granted) - <<<"$used" | paste -sd,)"
