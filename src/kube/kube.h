/*
 * kube.h - what rbd-csi-kube and rbd-csid have to agree on.
 */
#ifndef KUBE_KUBE_H
#define KUBE_KUBE_H

#define KUBE_OUT_OF_SERVICE "out-of-service"

#endif
