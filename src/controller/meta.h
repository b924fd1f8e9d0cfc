/*
 * meta.h - keys of image metadata, and values of those that are states.
 */
#ifndef CONTROLLER_META_H
#define CONTROLLER_META_H

/* Image metadata, as ceph-csi has them (internal/rbd, internal/util/k8s). */
#define VOLUME_META_CLUSTER "csi.ceph.com/cluster/name"
#define VOLUME_META_MOUNTER "csi.ceph.com/mounter"
#define VOLUME_META_PVC_NAME "csi.storage.k8s.io/pvc/name"
#define VOLUME_META_PVC_NAMESPACE "csi.storage.k8s.io/pvc/namespace"
#define VOLUME_META_PV_NAME "csi.storage.k8s.io/pv/name"
#define VOLUME_META_ACCOUNT ".rbd.csi.ceph.com/serviceaccount"
#define VOLUME_META_USER ".rbd.csi.ceph.com/userid/"           /* VOLUME/NODE */
#define VOLUME_META_ADDRESS ".rbd.csi.ceph.com/clientaddress/" /* the same */
/* snapshot's name and namespace, and that of its content */
#define VOLUME_META_SNAPSHOT "csi.storage.k8s.io/volumesnapshot"
/*
 * Ours alone: IMAGEID/NODE -> "rw" or "ro", from ControllerPublish to -Unpublish:
 * volume_meta_published(). librbd copies metadata to clones, hence the id.
 * ceph-csi's userid record appears at stage and may be left behind for ever,
 * so that it is no proof that the node has the volume.
 */
#define VOLUME_META_PUBLISHED ".rbd.csi.ceph.com/published/"
/*
 * Ours alone, with --enable-fencing: IMAGEID/NODE -> the client by which the
 * node has it open, "10.0.0.1:0/123", if the node can write by no other one;
 * else "". ceph-csi's record has the IP address only.
 */
#define VOLUME_META_CLIENT ".rbd.csi.ceph.com/client/"
/*
 * Ours alone: "unfinished IMAGEID" from before mkfs until it has ended, then
 * the name of the file system, for ever. An image that has one is not formatted.
 */
#define VOLUME_META_FILESYSTEM ".rbd.csi.ceph.com/filesystem"
#define VOLUME_UNFINISHED "unfinished "
/* ceph-csi's state of encryption; with the old name first. */
#define VOLUME_META_ENCRYPTED_OLD ".rbd.csi.ceph.com/encrypted"
#define VOLUME_META_ENCRYPTED "rbd.csi.ceph.com/encrypted"
#define VOLUME_META_DEK_OLD ".rbd.csi.ceph.com/dek"
#define VOLUME_META_DEK "rbd.csi.ceph.com/dek" /* the key, itself encrypted */
#define VOLUME_META_LUKS_HEADER "rbd.csi.ceph.com/luks2HeaderSize"
/* The states: the key is known; the device is a LUKS device. */
#define VOLUME_ENCRYPTION_PREPARED "encryptionPrepared"
#define VOLUME_ENCRYPTED "encrypted"

#endif
