# The node plugin, on every machine: maps and mounts. Docker has to allow privileged containers
# (plugin "docker" { config { allow_privileged = true } }).
job "rbd-csi-node" {
  type     = "system"
  priority = 90

  group "node" {
    task "plugin" {
      driver = "docker"

      config {
        image        = "rbd-csi-node:0.1.0"
        privileged   = true
        network_mode = "host" # mapped images speak to the cluster from the machine's own network
        args = [
          "--type=rbd",
          "--nodeserver",
          "--drivername=rbd.csi.ceph.com",
          "--nodeid=${node.unique.name}",
          "--endpoint=unix:///csi/csi.sock",
          "--config=${NOMAD_TASK_DIR}/config.json",
        ]

        # What has to outlive a restart of the plugin, and what krbd and modprobe need of the machine.
        mount {
          type     = "bind"
          source   = "/run/rbd-csi"
          target   = "/run/rbd-csi"
          readonly = false
          bind_options {
            propagation = "rshared"
          }
        }
        mount {
          type     = "bind"
          source   = "/lib/modules"
          target   = "/lib/modules"
          readonly = true
        }
      }

      template {
        destination = "local/config.json"
        change_mode = "noop"
        data        = <<-JSON
          [{"clusterID": "00000000-0000-0000-0000-000000000000", "monitors": ["192.0.2.1:6789"]}]
        JSON
      }

      csi_plugin {
        id        = "rbd"
        type      = "node"
        mount_dir = "/csi"
      }

      kill_timeout = "40s"

      resources {
        cpu    = 50
        # Docker ends what goes above: mkfs and fsck of large file systems need it.
        memory = 512
      }
    }
  }
}
