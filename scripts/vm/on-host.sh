#!/bin/bash
# on-host.sh: ceph, rbd, rados and python3 in the guest: run where RBD_CSI_HOST listens (tests/vm/host.py),
# since loading librados, or Python, takes an emulated processor 5 seconds and more
#
# Standard input is not passed on, and what is said has to be text. What is about the guest's own
# devices and files is run here.
name=${0##*/}
case "${RBD_CSI_HOST:+$name} $* " in
"rbd "*" map "* | "rbd "*" unmap "* | "rbd "*" device "* | "rbd "*" import "* | "rbd "*" export "* | \
	"rados "*" get "* | "rados "*" put "* | " "*) exec "/usr/bin/$name" "$@" ;;
esac
LC_ALL=C
exec {host}<>"/dev/tcp/${RBD_CSI_HOST/://}" || exit 125
printf '%d\n' $(($# + 1)) >&"$host"
printf '%s\0' "$name" "$@" >&"$host"
read -r rc said erred <&"$host" || exit 125
IFS= read -r -N "$said" out <&"$host"
IFS= read -r -N "$erred" err <&"$host"
printf '%s' "$err" >&2
printf '%s' "$out"
exit "$rc"
