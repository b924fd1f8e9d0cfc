#!/bin/bash
# krbd-options.t: what a cluster or a class asks of the kernel's driver: msgr2 and its modes, a network namespace; and an image
# with a feature that it has not
# shellcheck disable=SC2016,SC2154,SC2317 # the variables in single quotes are jq's, or eval's; others are volume.sh's
# shellcheck source=../integration/lib.sh
. "$(dirname "$0")/../integration/lib.sh"

need_cluster
# scripts/dev-cluster: msgr2 is one port further on
msgr2=v2:${RBD_CSI_MONITORS%:*}:$((${RBD_CSI_MONITORS##*:} + 1))
jq --arg msgr2 "$msgr2" '. + [(.[0] | .clusterID = "msgr2" | .monitors = [$msgr2]),
	(.[0] | .clusterID = "both" | .monitors += [$msgr2]),
	(.[0] | .clusterID = "netns" | .rbd = {netNamespaceFilePath: "/run/netns/other"})]' "$RBD_CSI_CONFIG" >"$work/config.json"
RBD_CSI_CONFIG=$work/config.json
defer stop_attachds
start_daemon --mounter-fallback=none
# shellcheck source=volume.sh
. "$(dirname "$0")/volume.sh"

# begins NAME CLUSTER [FEATURES]: staged, published, written to; ends: all of that back
begins() {
	use "$1" ext4
	ok "$1: created" create "$1" ext4 "${3:-layering}" "$2"
	ok "published to the node" attach
	ok "staged" stage
	ok "published" publish
	ok "data is written" put_data "$1"
}
ends() {
	ok "the data is there" has_data
	ok "unpublished" unpublish
	ok "unstaged" unstage
	ok "nothing is left on the node" nothing_left
	ok "unpublished from the node" detach
	ok "deleted" delete
}
line_has() { grep -qE "^([^ ]*,)?$1 name=[^ ]*$2( |,)" /sys/bus/rbd/devices/*/config_info; }

# ---- msgr2 -----------------------------------------------------------------------------------

begins msgr2-only msgr2
ok "the kernel speaks msgr2, since no address is of another protocol" line_has "${msgr2#v2:}" ,ms_mode=prefer-crc
ends
with_option() { volume=$(jq -c --arg name "$1" --arg value "$2" '.volumeContext[$name] = $value' <<<"$volume"); }
use both ext4
ok "with both: created" create both ext4 layering,exclusive-lock both
ok "published to the node" attach
ok "staged" stage
ok "by msgr1" eval 'line_has "$RBD_CSI_MONITORS" "" && ! grep -q ms_mode /sys/bus/rbd/devices/*/config_info'
ok "unstaged" unstage
with_option mapOptions krbd:ms_mode=secure
ok "staged, where the class asks for encrypted msgr2" stage
ok "by that" line_has "${msgr2#v2:}" ,ms_mode=secure
ok "unstaged" unstage

# ---- a feature that the kernel has not -------------------------------------------------------

ok "the image gets a journal" timeout 60 rbd --id "$RBD_CSI_USER" --keyfile "$RBD_CSI_KEYFILE" feature enable "$image" journaling
fails_with FAILED_PRECONDITION "it is not staged" stage
like "which is told" "$error" "the kernel lacks a feature of this image"
ok "nothing is left on the node" nothing_left
with_option tryOtherMounters true
ok "with tryOtherMounters it is" stage
is "without the kernel's driver" "$(mapped)" 0
is "but by the userspace mapper" "$(mounter=userspace mapped)" 1
ok "unstaged" unstage
ok "unpublished from the node" detach
ok "deleted" delete
stop_attachds

# ---- a network namespace ---------------------------------------------------------------------

use nowhere ext4
away() {
	ip netns add other && ip link set eth0 netns other && ip -n other link set lo up && ip -n other link set eth0 up &&
		ip -n other addr add 10.0.2.15/24 dev eth0 && ip -n other route add default via 10.0.2.2
}
back() {
	ip -n other link set eth0 netns 1 && ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 &&
		ip route add default via 10.0.2.2 && ip netns del other
}
ok "all of the network goes into a namespace" away
defer back
begins netns netns
ends
done_testing
