{{/* The name of all resources: the release's name, or nameOverride. */}}
{{- define "hookline.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select one process: (list $ "gateway"). */}}
{{- define "hookline.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: hookline
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "hookline.labels" -}}
{{ include "hookline.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end -}}

{{- define "hookline.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* The value of a setting that is a number: (list $ "HOOKLINE_…" default). */}}
{{- define "hookline.setting" -}}
{{- $root := index . 0 -}}
{{- $value := index $root.Values.settings (index . 1) -}}
{{- if kindIs "invalid" $value -}}{{ index . 2 }}{{- else -}}{{ $value }}{{- end -}}
{{- end -}}

{{/* The present number of pods, so that an upgrade keeps an autoscaler's choice: (list $ "gateway" autoscaled). */}}
{{- define "hookline.replicas" -}}
{{- $root := index . 0 -}}
{{- $process := index . 1 -}}
{{- $wanted := (index $root.Values $process).replicas -}}
{{- $live := dict -}}
{{- if index . 2 -}}
{{- $live = lookup "apps/v1" "Deployment" $root.Release.Namespace (printf "%s-%s" (include "hookline.name" $root) $process) -}}
{{- end -}}
{{- if $live -}}{{ $live.spec.replicas }}{{- else -}}{{ $wanted }}{{- end -}}
{{- end -}}

{{/* Refuse combinations of values that cannot work. */}}
{{- define "hookline.check" -}}
{{- if not .Values.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is needed: host:port[,host:port]" -}}
{{- end -}}
{{- range $process := list "matcher" "deliver" "archive" -}}
{{- $values := index $.Values $process -}}
{{- $partitions := int $.Values.kafka.partitions -}}
{{- range $what, $count := dict "replicas" $values.replicas "autoscaling.minReplicas" $values.autoscaling.minReplicas "autoscaling.maxReplicas" $values.autoscaling.maxReplicas -}}
{{- if gt (int $count) $partitions -}}
{{- fail (printf "%s.%s is %d, and there are %d partitions (kafka.partitions): more pods than partitions have no work. The number of partitions is fixed once the topics exist" $process $what (int $count) $partitions) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ge (float64 (include "hookline.setting" (list . "HOOKLINE_DELIVER_TOTAL_TIMEOUT_S" 15))) (float64 (include "hookline.setting" (list . "HOOKLINE_WORKER_SHUTDOWN_GRACE_S" 20))) -}}
{{- fail "settings.HOOKLINE_WORKER_SHUTDOWN_GRACE_S must be longer than HOOKLINE_DELIVER_TOTAL_TIMEOUT_S: the longest request in flight may end" -}}
{{- end -}}
{{- range $name, $_ := .Values.settings -}}
{{- if regexMatch "^HOOKLINE_(KAFKA_(BOOTSTRAP_SERVERS|PARTITIONS|REPLICATION_FACTOR|TOPIC_PREFIX|TLS|CA_FILE|USERNAME|PASSWORD|SASL_MECHANISM)|DATABASE_(WRITE|READ)_URLS?|SEALING_.*|GATEWAY_(HOST|PORT|DRAIN_S|MASTER_API_KEY)|PROCESS_(METRICS_.*|STOP_TIMEOUT_S|LOG_FORMAT|RUN_DIR)|METRICS_NAMESPACE)$" $name -}}
{{- fail (printf "settings.%s has a place of its own in values.yaml" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "hookline.secret" -}}
{{- $secret := index . 1 -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}
{{ end -}}

{{/* The environment of a container: (list $ "gateway"). A process gets the secrets that it needs, and no other. */}}
{{- define "hookline.env" -}}
{{- $root := index . 0 -}}
{{- $process := index . 1 -}}
{{- $kafka := $root.Values.kafka -}}
{{- $secrets := $root.Values.secrets -}}
{{- if ne $process "migrate" -}}
- name: HOOKLINE_KAFKA_BOOTSTRAP_SERVERS
  value: {{ $kafka.bootstrapServers | quote }}
- name: HOOKLINE_KAFKA_PARTITIONS
  value: {{ $kafka.partitions | int | quote }}
- name: HOOKLINE_KAFKA_REPLICATION_FACTOR
  value: {{ $kafka.replicationFactor | int | quote }}
- name: HOOKLINE_KAFKA_TOPIC_PREFIX
  value: {{ $kafka.topicPrefix | quote }}
{{- if $kafka.tls }}
- name: HOOKLINE_KAFKA_TLS
  value: "true"
{{- if $kafka.ca.configMap }}
- name: HOOKLINE_KAFKA_CA_FILE
  value: /etc/hookline/kafka-ca/{{ $kafka.ca.key }}
{{- end }}
{{- end }}
{{- if $kafka.username }}
- name: HOOKLINE_KAFKA_USERNAME
  value: {{ $kafka.username | quote }}
- name: HOOKLINE_KAFKA_SASL_MECHANISM
  value: {{ $kafka.saslMechanism | quote }}
{{ include "hookline.secret" (list "HOOKLINE_KAFKA_PASSWORD" $secrets.kafkaPassword) -}}
{{- else }}
{{ end -}}
{{- end -}}
{{- if has $process (list "gateway" "archive" "migrate") -}}
{{ include "hookline.secret" (list "HOOKLINE_DATABASE_WRITE_URL" $secrets.databaseUrl) }}
{{- end -}}
{{- if and (eq $process "gateway") $secrets.databaseReadUrls.name -}}
{{ include "hookline.secret" (list "HOOKLINE_DATABASE_READ_URLS" $secrets.databaseReadUrls) }}
{{- end -}}
{{- if has $process (list "gateway" "deliver") -}}
{{ include "hookline.secret" (list "HOOKLINE_SEALING_KEYS" $secrets.sealingKeys) }}
{{- end -}}
{{- if eq $process "gateway" -}}
{{- if $secrets.masterApiKey.name -}}
{{ include "hookline.secret" (list "HOOKLINE_GATEWAY_MASTER_API_KEY" $secrets.masterApiKey) }}
{{- end -}}
- name: HOOKLINE_GATEWAY_HOST
  value: 0.0.0.0
- name: HOOKLINE_GATEWAY_PORT
  value: "8080"
- name: HOOKLINE_GATEWAY_DRAIN_S
  value: {{ $root.Values.gateway.drainS | quote }}
# the drain, 20 s for the remaining requests, and a margin
- name: HOOKLINE_PROCESS_STOP_TIMEOUT_S
  value: {{ add (int (ceil (float64 $root.Values.gateway.drainS))) 28 | quote }}
{{ end -}}
{{- if has $process (list "gateway" "matcher" "deliver" "archive") -}}
- name: HOOKLINE_PROCESS_METRICS_HOST
  value: 0.0.0.0
- name: HOOKLINE_PROCESS_METRICS_PORT
  value: "9100"
# survives the container, not the pod: a restarted process takes the killed one before it out of its group
- name: HOOKLINE_PROCESS_RUN_DIR
  value: /tmp
- name: HOOKLINE_METRICS_NAMESPACE
  value: {{ $root.Values.monitoring.namespace | quote }}
{{ end -}}
- name: HOOKLINE_PROCESS_LOG_FORMAT
  value: json
{{- range $name, $value := $root.Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{- define "hookline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "hookline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "hookline.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if and .Values.kafka.tls .Values.kafka.ca.configMap }}
- name: kafka-ca
  mountPath: /etc/hookline/kafka-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "hookline.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if and .Values.kafka.tls .Values.kafka.ca.configMap }}
- name: kafka-ca
  configMap: {name: {{ .Values.kafka.ca.configMap }}}
{{- end }}
{{- end -}}
