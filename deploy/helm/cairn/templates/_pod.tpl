{{/*
The pod of every role. root; role; steps, for a job: a list of {name, role, args}. Steps run one after the other, each
with the command and the image of its role; the role of the pod is what labels and placement follow.
*/}}
{{- define "cairn.pod" -}}
{{- $root := .root -}}
{{- $roles := include "cairn.roles" $root | fromYaml -}}
{{- $values := include "cairn.values" . | fromYaml -}}
{{- $steps := .steps | default (list (dict "name" .role "role" .role)) -}}
{{- $needs := list -}}
{{- range $steps }}{{ $needs = concat $needs (index $roles .role "needs") }}{{ end -}}
{{- $own := index $roles .role -}}
{{- $pod := dict "root" $root "role" .role "needs" ($needs | uniq) "own" $own -}}
{{- $files := include "cairn.files" $pod | fromYamlArray -}}
metadata:
  labels:
    {{- include "cairn.selector" (dict "root" $root "role" .role) | nindent 4 }}
    app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ (last $steps).name }}
    checksum/secrets: {{ include "cairn.secretsChecksum" $pod }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ if eq .role "topics" }}{{ ternary "default" (include "cairn.serviceAccount" $root) $root.Values.serviceAccount.create }}{{ else }}{{ include "cairn.serviceAccount" $root }}{{ end }}
  automountServiceAccountToken: false
  # A Service named cairn-... would otherwise become variables that begin with CAIRN_.
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  terminationGracePeriodSeconds: {{ add (int $root.Values.shutdown.preStopS) (int $root.Values.shutdown.drainS) 15 }}
  {{- if not $own.serves }}
  # A pod that failed stays, with its log.
  restartPolicy: Never
  {{- end }}
  {{- include "cairn.placement" (dict "root" $root "role" .role "spreads" $own.serves) | nindent 2 }}
  {{- range $index, $step := $steps }}
  {{- if and (eq $index 0) (gt (len $steps) 1) }}
  initContainers:
  {{- end }}
  {{- if eq $index (sub (len $steps) 1 | int) }}
  containers:
  {{- end }}
    - {{ include "cairn.container" (dict "root" $root "role" $.role "step" $step "own" (index $roles $step.role) "files" $files) | nindent 6 | trim }}
  {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: {{ $values.tmpSize }}
    {{- if $files }}
    - name: files
      projected:
        # Readable by fsGroup alone; the processes refuse a tenants file that others can read.
        defaultMode: 0440
        sources: {{- toYaml $files | nindent 10 }}
    {{- end }}
    {{- if and (has "bundles" $needs) (not $root.Values.bundles.url) }}
    - name: bundles
      persistentVolumeClaim:
        claimName: {{ include "cairn.bundlesClaim" $root }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Where a pod may run, and with which credentials its images are pulled: root; role; spreads, whether over zones and nodes. */}}
{{- define "cairn.placement" -}}
{{- $values := include "cairn.values" . | fromYaml -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .spreads }}
{{- with $values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "cairn.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
A container: root; role, of the pod; step {name, role, args}; own, what the step's role is; files of the pod.
Steps differ in image, command, settings and resources. What they share, such as Kafka's user, is the pod's.
*/}}
{{- define "cairn.container" -}}
{{- $root := .root -}}
{{- $own := .own -}}
{{- $pod := include "cairn.values" . | fromYaml -}}
{{- $step := index $root.Values .step.role -}}
name: {{ .step.name }}
image: {{ include "cairn.image" (dict "root" $root "image" $own.image) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
command: {{ toJson $own.command }}
{{- with .step.args }}
args: {{ toJson . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  {{- include "cairn.env" (dict "root" $root "role" .role "own" $own "settings" $step.settings "extra" $pod.extraEnv) | nindent 2 }}
{{- if $own.serves }}
ports:
  {{- if $own.grpc }}
  - {name: grpc, containerPort: 50051}
  {{- end }}
  {{- if include "cairn.http" . }}
  - {name: http, containerPort: 8080}
  {{- end }}
  - {name: metrics, containerPort: 9464}
# Compiling takes its time when nothing is cached yet.
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
# The event loop alone: a process that waits for Kafka or Redis is not helped by a restart.
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
{{- if and $own.grpc (gt (int $root.Values.shutdown.preStopS) 0) }}
lifecycle:
  preStop:
    sleep: {seconds: {{ int $root.Values.shutdown.preStopS }}}
{{- end }}
resources: {{- toYaml $step.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if .files }}
  - {name: files, mountPath: /etc/cairn, readOnly: true}
  {{- end }}
  {{- if and (has "bundles" $own.needs) (not $root.Values.bundles.url) }}
  - {name: bundles, mountPath: /var/lib/cairn/bundles{{ if eq .step.role "server" }}, readOnly: true{{ end }}}
  {{- end }}
  {{- with $pod.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The environment of a container: root; role, of the pod; own; settings; extra. */}}
{{- define "cairn.env" -}}
{{- $root := .root -}}
{{- $own := .own -}}
{{- $kafka := include "cairn.kafka" . | fromYaml -}}
{{- $set := dict -}}
{{- if has "kafka" $own.needs -}}
{{- $set = dict "CAIRN_KAFKA" $kafka.bootstrap "CAIRN_KAFKA_SECURITY" $kafka.security -}}
{{- if $kafka.ca.secretName }}{{ $_ := set $set "CAIRN_KAFKA_CA" "/etc/cairn/kafka-ca.crt" }}{{ end -}}
{{- if $kafka.certificate.secretName -}}
{{- $_ := set $set "CAIRN_KAFKA_CERTIFICATE" "/etc/cairn/kafka.crt" -}}
{{- $_ := set $set "CAIRN_KAFKA_KEY" "/etc/cairn/kafka.key" -}}
{{- end -}}
{{- if hasPrefix "sasl" $kafka.security -}}
{{- $_ := set $set "CAIRN_KAFKA_MECHANISM" $kafka.mechanism -}}
{{- if ne $kafka.mechanism "OAUTHBEARER" -}}
{{- $_ := set $set "CAIRN_KAFKA_USERNAME" $kafka.username -}}
{{- $_ := set $set "CAIRN_KAFKA_PASSWORD_FILE" "/etc/cairn/kafka-password" -}}
{{- else if $kafka.token.command -}}
{{- $_ := set $set "CAIRN_KAFKA_TOKEN_COMMAND" $kafka.token.command -}}
{{- else -}}
{{- $_ := set $set "CAIRN_KAFKA_TOKEN_URL" $kafka.token.url -}}
{{- $_ := set $set "CAIRN_KAFKA_CLIENT_ID" $kafka.token.clientId -}}
{{- $_ := set $set "CAIRN_KAFKA_CLIENT_SECRET_FILE" "/etc/cairn/kafka-client-secret" -}}
{{- with $kafka.token.scope }}{{ $_ := set $set "CAIRN_KAFKA_TOKEN_SCOPE" . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has "tenants" $own.needs }}{{ $_ := set $set "CAIRN_TENANTS" "/etc/cairn/tenants.yaml" }}{{ end -}}
{{- if has "bundles" $own.needs }}{{ $_ := set $set "CAIRN_BUNDLES" ($root.Values.bundles.url | default "/var/lib/cairn/bundles") }}{{ end -}}
{{- if $own.serves -}}
{{- $_ := set $set "CAIRN_METRICS_HOST" "0.0.0.0" -}}
{{- $_ := set $set "CAIRN_METRICS_PORT" "9464" -}}
{{- $_ := set $set "CAIRN_LOG_LEVEL" $root.Values.logs.level -}}
{{- with $root.Values.traces.endpoint -}}
{{- $_ := set $set "CAIRN_TRACES_ENDPOINT" . -}}
{{- $_ := set $set "CAIRN_TRACES_SHARE" $root.Values.traces.share -}}
{{- $_ := set $set "CAIRN_TRACES_INSECURE" $root.Values.traces.insecure -}}
{{- end -}}
{{- end -}}
{{- if has "openedx" $own.needs -}}
{{- $_ := set $set "CAIRN_OPENEDX_API_KEY_FILE" "/etc/cairn/openedx-api-key" -}}
{{- $_ := set $set "CAIRN_TARGET_INGEST" (printf "%s-ingest.%s.svc:%d" (include "cairn.fullname" $root) $root.Release.Namespace (int $root.Values.ingest.service.port)) -}}
{{- if $root.Values.openedx.ca.secretName }}{{ $_ := set $set "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" "/etc/cairn/ca.crt" }}{{ end -}}
{{- if $root.Values.tls.insecure }}{{ $_ := set $set "CAIRN_OPENEDX_INSECURE" "true" }}{{ end -}}
{{- end -}}
{{- if $own.drains }}{{ $_ := set $set "CAIRN_DRAIN_S" $root.Values.shutdown.drainS }}{{ end -}}
{{- if $own.grpc -}}
{{- $_ := set $set "CAIRN_LISTEN" "0.0.0.0:50051" -}}
{{- if include "cairn.http" . -}}
{{- $_ := set $set "CAIRN_INGEST_HTTP_LISTEN" "0.0.0.0:8080" -}}
{{- end -}}
{{- if $root.Values.tls.secretName -}}
{{- $_ := set $set "CAIRN_TLS_CERTIFICATE" "/etc/cairn/tls.crt" -}}
{{- $_ := set $set "CAIRN_TLS_KEY" "/etc/cairn/tls.key" -}}
{{- else -}}
{{- $_ := set $set "CAIRN_INSECURE" "true" -}}
{{- end -}}
{{- if $root.Values.tls.clientCa.secretName }}{{ $_ := set $set "CAIRN_TLS_CLIENT_CA" "/etc/cairn/client-ca.crt" }}{{ end -}}
{{- end -}}
{{- $given := list }}
{{- range .extra }}{{ $given = append $given .name }}{{ end }}
{{- range $name, $value := dict "HOME" "/tmp" "NUMBA_CACHE_DIR" "/tmp/numba" }}
{{- if not (has $name $given) }}
- {name: {{ $name }}, value: {{ $value }}}
{{- end }}
{{- end }}
{{- if has "redis" $own.needs }}
{{- if $root.Values.redis.url }}
- {name: CAIRN_REDIS, value: {{ $root.Values.redis.url | quote }}}
{{- else }}
- name: CAIRN_REDIS
  valueFrom:
    secretKeyRef: {name: {{ $root.Values.redis.secretName }}, key: {{ $root.Values.redis.key }}}
{{- end }}
{{- if $root.Values.redis.password.secretName }}
- {name: CAIRN_REDIS_PASSWORD_FILE, value: /etc/cairn/redis-password}
{{- end }}
{{- end }}
{{- range $name, $value := merge (deepCopy (.settings | default dict)) $set }}
- {name: {{ $name }}, value: {{ include "cairn.text" $value | quote }}}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A value as text. Helm reads every number as a floating-point one, and would write 4194304 as 4.194304e+06. */}}
{{- define "cairn.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The files of a pod under /etc/cairn, as sources of a projected volume: root; role; needs; own. */}}
{{- define "cairn.files" -}}
{{- $root := .root -}}
{{- $kafka := include "cairn.kafka" . | fromYaml -}}
{{- if has "tenants" .needs }}
- secret: {name: {{ $root.Values.tenants.secretName }}, items: [{key: {{ $root.Values.tenants.key }}, path: tenants.yaml}]}
{{- end }}
{{- if has "openedx" .needs }}
{{- with $root.Values.openedx.apiKey }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: openedx-api-key}]}
{{- end }}
{{- with $root.Values.openedx.ca }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}
{{- if and .own.grpc $root.Values.tls.secretName }}
- secret: {name: {{ $root.Values.tls.secretName }}, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
{{- with $root.Values.tls.clientCa }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: client-ca.crt}]}
{{- end }}
{{- end }}
{{- end }}
{{- if has "kafka" .needs }}
{{- with $kafka.ca }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: kafka-ca.crt}]}
{{- end }}
{{- end }}
{{- with $kafka.certificate }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .certificateKey }}, path: kafka.crt}, {key: {{ .privateKeyKey }}, path: kafka.key}]}
{{- end }}
{{- end }}
{{- if hasPrefix "sasl" $kafka.security }}
{{- with $kafka.password }}
{{- if and .secretName (ne $kafka.mechanism "OAUTHBEARER") }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: kafka-password}]}
{{- end }}
{{- end }}
{{- with $kafka.token.clientSecret }}
{{- if and .secretName (eq $kafka.mechanism "OAUTHBEARER") }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: kafka-client-secret}]}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if has "redis" .needs }}
{{- with $root.Values.redis.password }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: redis-password}]}
{{- end }}
{{- end }}
{{- with $root.Values.redis.ca }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: redis-ca.crt}]}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
A hash of the Secrets that a process reads only when it starts, so that an upgrade after a change replaces the pods. The
chart does not own them, and cannot read them where no cluster is asked (helm template): it is the hash of nothing there.
Tenants and the server's certificate are left out: processes read them again by themselves.
*/}}
{{- define "cairn.secretsChecksum" -}}
{{- $root := .root -}}
{{- $kafka := include "cairn.kafka" . | fromYaml -}}
{{- $names := list -}}
{{- if has "kafka" .needs -}}
{{- $names = list $kafka.ca.secretName $kafka.certificate.secretName $kafka.password.secretName $kafka.token.clientSecret.secretName -}}
{{- end -}}
{{- if has "redis" .needs -}}
{{- $names = concat $names (list $root.Values.redis.ca.secretName $root.Values.redis.password.secretName (ternary "" $root.Values.redis.secretName (ne $root.Values.redis.url ""))) -}}
{{- end -}}
{{- if has "openedx" .needs }}{{ $names = concat $names (list $root.Values.openedx.apiKey.secretName $root.Values.openedx.ca.secretName) }}{{ end -}}
{{- $found := dict -}}
{{- range compact $names | uniq | sortAlpha -}}
{{- $_ := set $found . (lookup "v1" "Secret" $root.Release.Namespace . | default dict).data -}}
{{- end -}}
{{- $found | toJson | sha256sum -}}
{{- end -}}

{{- define "cairn.bundlesClaim" -}}
{{- .Values.bundles.volume.existingClaim | default (printf "%s-bundles" (include "cairn.fullname" .)) -}}
{{- end -}}
