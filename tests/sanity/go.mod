module rbd-csi/tests/sanity

go 1.25.0

require (
	github.com/container-storage-interface/spec v1.13.0 // indirect
	github.com/kubernetes-csi/csi-test/v5 v5.6.0 // indirect
)
