# The controller plugin: makes, grows, copies and deletes volumes. Any machine of the cluster will do.
job "rbd-csi-controller" {
  type = "service"

  group "controller" {
    count = 2

    # Two plugins of one kind on one machine would share a socket.
    constraint {
      distinct_hosts = true
    }

    task "plugin" {
      driver = "docker"

      config {
        image = "rbd-csi-controller:0.1.0"
        args = [
          "--type=rbd",
          "--controllerserver",
          "--drivername=rbd.csi.ceph.com",
          "--nodeid=${node.unique.name}",
          "--endpoint=unix:///csi/csi.sock",
          "--config=${NOMAD_TASK_DIR}/config.json",
        ]
      }

      # Your cluster: `ceph fsid`, `ceph mon dump`. rbd-csid sees a new file by itself.
      template {
        destination = "local/config.json"
        change_mode = "noop"
        data        = <<-JSON
          [{"clusterID": "00000000-0000-0000-0000-000000000000", "monitors": ["192.0.2.1:6789"]}]
        JSON
      }

      csi_plugin {
        id        = "rbd"
        type      = "controller"
        mount_dir = "/csi"
      }

      # above --drain-timeout: what runs is finished first
      kill_timeout = "40s"

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
