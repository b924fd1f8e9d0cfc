# shellcheck shell=bash disable=SC2016,SC2154 # run sources lib.sh, eval its arguments
# left.sh: nothing is left of what has been deleted

ok "all pods, claims and volumes are deleted" cleared
is "no claim, volume, attachment, snapshot is left" \
	"$(for kind in pvc pv volumeattachment volumesnapshot volumesnapshotcontent; do count_of $kind; done | paste -sd' ')" "0 0 0 0 0"
ok "no image" until_is "$(bound)" "" rbd ls rbd
ok "nothing in the trash" until_is "$(bound)" "" rbd trash ls rbd
for kind in volumes snaps; do
	is "no key in the journal's directory of $kind" "$(rados -p rbd listomapkeys "csi.$kind.default" 2>/dev/null)" ""
done
is "no entry of the journal" "$(rados -p rbd ls | grep -E '^csi\.(volume|snap)\.')" ""
is "no note of a copy to be made whole" "$(rados -p rbd listomapkeys csi.flatten.default 2>/dev/null)" ""
is "no note of a purge" "$(rados -p rbd listomapkeys rbd_trash 2>/dev/null)" ""
objects() { rados -p rbd ls | grep -E '^(rbd_data|rbd_header|rbd_object_map|rbd_id)\.' || true; }
ok "no object of an image" until_is "$(bound)" "" objects
is "no user of a volume" "$(users)" 0
# but those of pods that run
is "nothing is mounted for a pod, or staged" \
	"$(awk '$5 ~ "^/var/lib/kubelet/.*(kubernetes.io~csi|kubernetes.io/csi)" { print $5 }' /proc/self/mountinfo)" ""
is "no loop device" "$(losetup --list --noheadings --output NAME,BACK-FILE | awk '$2 ~ "^(/var/lib/kubelet|/run/rbd-csi)/"')" ""
