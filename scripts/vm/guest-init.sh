#!/bin/busybox sh
# shellcheck shell=dash
# guest-init.sh: the first program of the guest that scripts/krbd-vm boots
#
# Makes the host's root file system the guest's own, read-only below an overlay in memory, and
# then runs the jobs that the host puts into a shared directory until it is told to stop.
# A job is jobs/N.sh; its output goes to N.out and N.err, its exit status to N.rc.

/bin/busybox mkdir -p /proc /sys /dev /host /overlay /root
/bin/busybox --install -s /bin
export PATH=/bin

give_up() {
	echo "guest-init: $*"
	poweroff -f
}

share() {	# TAG DIRECTORY OPTIONS
	mount -t 9p -o "trans=virtio,version=9p2000.L,msize=524288,$3" "$1" "$2" ||
		give_up "cannot mount $1"
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
	insmod "/modules/$module" || give_up "cannot load $module"
done </modules/order

share root /host "ro,cache=loose"
mount -t tmpfs -o size=70% tmpfs /overlay
mkdir /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/host,upperdir=/overlay/upper,workdir=/overlay/work,xino=off \
	overlay /root || give_up "cannot mount the root"
for fs in proc sys dev; do mount --move "/$fs" "/root/$fs"; done
mount -t tmpfs tmpfs /root/run
mkdir -p /root/run/krbd-vm /root/run/lock /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
ln -s /proc/self/fd /root/dev/fd
share job /root/run/krbd-vm "rw,cache=none"

hostname krbd-vm
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2

# the kernel's modules, found by modprobe and by the kernel itself in the usual place
# shellcheck disable=SC2013 # no spaces in it
modules=$(sed -n 's/.*krbd_vm_modules=\([^ ]*\).*/\1/p' /root/proc/cmdline)
mkdir -p /root/lib/modules
mount --bind "/root$modules" /root/lib/modules || give_up "no modules in $modules"

cp /bin/busybox /on-host /root/run
cat >/root/run/jobs.sh <<'JOBS'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# jq reads its own library at each start, which takes an emulated processor 2 seconds; gojq has it built in
mkdir /run/bin
ln -s "$(command -v gojq)" /run/bin/jq
for tool in ceph rbd rados; do ln -s /run/on-host "/run/bin/$tool"; done
PATH=/run/bin:$PATH
modprobe -a rbd ext4 xfs loop fuse || echo "guest-init: modules are missing" >/dev/console
cd /run/krbd-vm
: >ready
while [ ! -e stop ]; do
	for job in *.sh; do
		[ -e "$job" ] || continue
		n=${job%.sh}
		mv "$job" "$n.job"
		(
			bash "$n.job" >"$n.out" 2>"$n.err" </dev/null
			echo $? >"$n.rc.new"
			mv "$n.rc.new" "$n.rc"
		) &
	done
	/run/busybox usleep 50000
done
sync
/run/busybox poweroff -f
JOBS
exec switch_root /root /run/busybox sh /run/jobs.sh
