{{- define "rbd-csi.labels" -}}
app.kubernetes.io/part-of: rbd-csi
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* An image: (list . IMAGE) */ -}}
{{- define "rbd-csi.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
image: {{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{- /* What both pods of the driver are told. */ -}}
{{- define "rbd-csi.args" -}}
- --type=rbd
- --nodeid=$(NODE_ID)
- --endpoint=$(CSI_ENDPOINT)
- --drivername={{ .Values.driverName }}
- --instanceid={{ .Values.instanceID }}
- --log-level={{ .Values.logLevelName }}
- --log-format={{ .Values.logFormat }}
- --logslowopinterval={{ .Values.logSlowOperationInterval }}
- --drain-timeout=25s
{{- end }}

{{- /* Asks the driver itself at its socket. A cluster that hangs is no reason to restart it, so Probe answers all
the same; no answer means that the daemon hangs. No port is needed. (list SOCKET) */ -}}
{{- define "rbd-csi.probes" -}}
startupProbe:
  exec:
    command: [/usr/bin/rbd-csictl, --endpoint, "unix://{{ index . 0 }}", --timeout, "5", call, Identity/Probe, "{}"]
  periodSeconds: 2
  timeoutSeconds: 10
  failureThreshold: 60
livenessProbe:
  exec:
    command: [/usr/bin/rbd-csictl, --endpoint, "unix://{{ index . 0 }}", --timeout, "5", call, Identity/Probe, "{}"]
  periodSeconds: 60
  timeoutSeconds: 10
  failureThreshold: 5
{{- end }}

{{- /* ceph-csi's values have no name: (list . KIND) */ -}}
{{- define "rbd-csi.account" -}}
{{ (index (index . 0).Values.serviceAccounts (index . 1)).name | default (printf "rbd-csi-%s" (index . 1)) }}
{{- end }}

{{- /* A sidecar of the controller: (list . NAME VALUES WORKERS ARGUMENTS) */ -}}
{{- define "rbd-csi.sidecar" -}}
{{- $port := dict "csi-provisioner" 8090 "csi-attacher" 8091 "csi-resizer" 8092 "csi-snapshotter" 8093 }}
{{- $port = (index . 2).args | default dict | dig "httpEndpointPort" (index $port (index . 1)) }}
{{- $root := index . 0 }}{{ $sidecar := index . 2 }}{{ $all := $root.Values.provisioner -}}
- name: {{ index . 1 }}
  {{- include "rbd-csi.image" (list $root $sidecar.image) | nindent 2 }}
  args:
    - --csi-address=/csi/csi-provisioner.sock
    - --v={{ $root.Values.sidecarLogLevel }}
    - --timeout={{ $all.timeout }}
    - --retry-interval-start=500ms
    - --{{ index . 3 }}={{ $all.workerThreads }}
    - --kube-api-qps={{ $all.kubeApiQPS }}
    - --kube-api-burst={{ $all.kubeApiBurst }}
    - --leader-election
    - --leader-election-lease-duration={{ $all.leaderElection.leaseDuration }}
    - --leader-election-renew-deadline={{ $all.leaderElection.renewDeadline }}
    - --leader-election-retry-period={{ $all.leaderElection.retryPeriod }}
    - --http-endpoint=:{{ $port }}
    {{- range index . 4 }}
    - {{ . }}
    {{- end }}
    {{- with $sidecar.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: {{ trimPrefix "csi-" (index . 1) }}
      containerPort: {{ $port }}
  livenessProbe:
    httpGet:
      path: /healthz/leader-election
      port: {{ trimPrefix "csi-" (index . 1) }}
    periodSeconds: 20
    timeoutSeconds: 5
    failureThreshold: 5
  {{- with $sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: socket-dir
      mountPath: /csi
{{- end }}

{{- /* The files that both read. */ -}}
{{- define "rbd-csi.config-mounts" -}}
- name: ceph-csi-config
  mountPath: /etc/ceph-csi-config
  readOnly: true
- name: ceph-config
  mountPath: /etc/ceph
  readOnly: true
- name: kms-config
  mountPath: /etc/ceph-csi-encryption-kms-config
  readOnly: true
{{- end }}

{{- define "rbd-csi.config-volumes" -}}
- name: ceph-csi-config
  configMap:
    name: {{ .Values.configMapName }}
    {{- with .Values.configMapKey }}
    items:
      - key: {{ . }}
        path: config.json
      {{- if or $.Values.csiMapping $.Values.externallyManagedConfigmap }}
      - key: cluster-mapping.json
        path: cluster-mapping.json
      {{- end }}
    # a cluster-mapping.json need not be there
    optional: true
    {{- end }}
- name: ceph-config
  configMap:
    name: {{ .Values.cephConfConfigMapName }}
- name: kms-config
  configMap:
    name: {{ .Values.kmsConfigMapName }}
    # nobody has to have made it: there is the key service "default"
    optional: true
{{- end }}

{{- /* Of all pods and of one kind: (list . KIND) */ -}}
{{- define "rbd-csi.pull-secrets" -}}
{{- with concat (index . 0).Values.imagePullSecrets (index . 1).imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* For a Prometheus that finds pods by these (docs/METRICS.md), and what is asked for: KIND */ -}}
{{- define "rbd-csi.pod-annotations" -}}
{{- if or .httpMetrics.enabled .podAnnotations }}
annotations:
  {{- if .httpMetrics.enabled }}
  # for a Prometheus that finds pods by these; docs/METRICS.md
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .httpMetrics.containerPort | quote }}
  {{- end }}
  {{- with .podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
