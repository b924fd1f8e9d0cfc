# nomad volume create volume.hcl
id        = "database"
name      = "database"
type      = "csi"
plugin_id = "rbd"

capacity_min = "1GiB"
capacity_max = "2GiB"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}

mount_options {
  fs_type = "ext4"
}

# All parameters: docs/PARAMETERS.md.
parameters {
  clusterID     = "00000000-0000-0000-0000-000000000000"
  pool          = "rbd"
  imageFeatures = "layering"
}

# A user with the caps of deploy/kubernetes/README.md.
secrets {
  userID  = "csi-rbd"
  userKey = "KEY"
}
