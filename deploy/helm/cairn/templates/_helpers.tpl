{{/* What the processes and jobs are: image, command, what each needs, and which of them serve gRPC or probes. */}}
{{- define "cairn.roles" -}}
{{- /* A role that is optional runs only where its values enable it. */ -}}
ingest: {image: ingest, command: [python, -m, services.ingest], needs: [kafka, tenants, redis], grpc: true, serves: true, drains: true}
catalog: {image: catalog, command: [python, -m, services.catalog], needs: [kafka, tenants], grpc: true, serves: true, drains: true}
server: {image: server, command: [python, -m, services.recommender, server], needs: [kafka, tenants, redis, bundles], grpc: true, serves: true, drains: true}
worker: {image: worker, command: [python, -m, services.recommender, worker], needs: [kafka, tenants, redis, bundles], serves: true, drains: true}
lag: {image: server, command: [python, -m, services.recommender, lag], needs: [kafka, redis], serves: true}
openedx: {image: worker, command: [python, -m, services.ingest.openedx], needs: [kafka, openedx], serves: true, optional: true}
topics: {image: server, command: [cairn], needs: [kafka]}
train: {image: train, command: [cairn], needs: [kafka, tenants, redis, bundles]}
replay: {image: worker, command: [cairn], needs: [kafka, tenants, redis, bundles]}
test: {image: server, command: [python], needs: []}
{{- end -}}

{{- define "cairn.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the longest suffix, of a job that a CronJob makes. A hash keeps names that begin alike apart. */}}
{{- define "cairn.fullname" -}}
{{- $name := include "cairn.name" . -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full := default $release .Values.fullnameOverride -}}
{{- if gt (len $full) 40 }}{{ $full | trunc 32 | trimSuffix "-" }}-{{ $full | sha256sum | trunc 7 }}{{ else }}{{ $full }}{{ end -}}
{{- end -}}

{{/* Labels that never change: what selectors use. */}}
{{- define "cairn.selector" -}}
app.kubernetes.io/name: {{ include "cairn.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "cairn.labels" -}}
{{ include "cairn.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Metadata of an object; `role` and `name` may be absent. */}}
{{- define "cairn.metadata" -}}
name: {{ include "cairn.fullname" .root }}{{ with .name | default .role }}-{{ . }}{{ end }}
labels:
  {{- include "cairn.labels" . | nindent 2 }}
{{- end -}}

{{/* The values of a role: those of `common` and its own. */}}
{{- define "cairn.values" -}}
{{- mergeOverwrite (deepCopy .root.Values.common) (deepCopy (index .root.Values .role)) | toYaml -}}
{{- end -}}

{{- define "cairn.image" -}}
{{- $all := .root.Values.image -}}
{{- $one := (index .root.Values .image).image -}}
{{- $repository := $one.repository | default (printf "%s-%s" $all.repository .image) -}}
{{- with $all.registry }}{{ . }}/{{ end }}{{ $repository -}}
{{- if $one.digest }}@{{ $one.digest }}{{ else }}:{{ $one.tag | default $all.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "cairn.serviceAccount" -}}
{{- $account := .Values.serviceAccount -}}
{{- $account.name | default (ternary (include "cairn.fullname" .) "default" $account.create) -}}
{{- end -}}

{{/* Whether a role takes HTTP: text or nothing. */}}
{{- define "cairn.http" -}}
{{- with (index .root.Values .role).http }}{{ if .enabled }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "cairn.mostWorkers" -}}
{{- .Values.worker.autoscaling.maxReplicas | default .Values.topics.partitions | int -}}
{{- end -}}

{{/* Refuses values that do not belong together; values.schema.json refuses what is wrong by itself. */}}
{{- define "cairn.check" -}}
{{- $values := .Values -}}
{{- if not $values.kafka.bootstrap -}}
{{- fail "kafka.bootstrap is empty: set it to the brokers' addresses, host:port separated by commas" -}}
{{- end -}}
{{- if not (or $values.tls.secretName $values.tls.insecure) -}}
{{- fail "tls.secretName is empty: name a Secret with tls.crt and tls.key, or accept plain text within the cluster with tls.insecure=true" -}}
{{- end -}}
{{- if and $values.tls.secretName $values.tls.insecure -}}
{{- fail "tls.secretName and tls.insecure=true contradict each other: remove one" -}}
{{- end -}}
{{- if and $values.tls.clientCa.secretName (not $values.tls.secretName) -}}
{{- fail "tls.clientCa needs TLS: set tls.secretName too" -}}
{{- end -}}
{{- $autoscaling := $values.worker.autoscaling -}}
{{- $most := include "cairn.mostWorkers" . | int -}}
{{- $partitions := int $values.topics.partitions -}}
{{- if gt $most $partitions -}}
{{- fail (printf "worker.autoscaling.maxReplicas is %d and topics.partitions %d: a worker without a partition is idle. Lower the first, or add partitions (cairn topics repartition) and raise the second" $most $partitions) -}}
{{- end -}}
{{- if gt (int $autoscaling.minReplicas) $most -}}
{{- fail (printf "worker.autoscaling.minReplicas is %d, more than the most workers, %d: lower it" (int $autoscaling.minReplicas) $most) -}}
{{- end -}}
{{- if and (eq $autoscaling.kind "none") (gt (int $values.worker.replicas) $partitions) -}}
{{- fail (printf "worker.replicas is %d and topics.partitions %d: a worker without a partition is idle. Lower the first, or add partitions (cairn topics repartition) and raise the second" (int $values.worker.replicas) $partitions) -}}
{{- end -}}
{{- $name := include "cairn.fullname" . -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) -}}
{{- fail (printf "%s cannot begin the name of a Service, which is a lower-case letter, then letters, digits and hyphens: set fullnameOverride" $name) -}}
{{- end -}}
{{- range $role := list "ingest" "server" -}}
{{- with (index $values $role).autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d and maxReplicas %d: raise the second" $role (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $role := list "ingest" "catalog" "server" -}}
{{- with (index $values $role).service -}}
{{- if and .headless (ne .type "ClusterIP") -}}
{{- fail (printf "%s.service.headless needs type ClusterIP, not %s: a load balancer has an address" $role .type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.redis.url $values.redis.secretName) -}}
{{- fail "redis.url and redis.secretName are empty: set redis.url, or redis.secretName to a Secret with the URL" -}}
{{- end -}}
{{- if regexMatch "[?&](sentinel_)?password=" $values.redis.url -}}
{{- fail "redis.url has a password: put the URL into the Secret of redis.secretName, or the user's password into that of redis.password.secretName" -}}
{{- end -}}
{{- if and $values.openedx.enabled (not $values.openedx.apiKey.secretName) -}}
{{- fail "openedx.apiKey.secretName is empty: name a Secret with an API key of the tenant whose Open edX is read" -}}
{{- end -}}
{{- if and $values.openedx.enabled $values.tls.clientCa.secretName -}}
{{- fail "openedx.enabled and tls.clientCa contradict each other: the reader has no certificate of a client. Remove one" -}}
{{- end -}}
{{- if and $values.openedx.ca.secretName (not $values.tls.secretName) -}}
{{- fail "openedx.ca needs TLS: set tls.secretName too" -}}
{{- end -}}
{{- range $role, $what := include "cairn.roles" . | fromYaml -}}
{{- include "cairn.checkKafka" (dict "role" $role "kafka" (include "cairn.kafka" (dict "root" $ "role" $role) | fromYaml)) -}}
{{- end -}}
{{- end -}}

{{/* How a role reaches Kafka: as all do, and its own values. */}}
{{- define "cairn.kafka" -}}
{{- mergeOverwrite (deepCopy .root.Values.kafka) (index .root.Values .role "kafka" | default dict | deepCopy) | toYaml -}}
{{- end -}}

{{- define "cairn.checkKafka" -}}
{{- $kafka := .kafka -}}
{{- $sasl := hasPrefix "sasl" $kafka.security -}}
{{- $oauth := eq $kafka.mechanism "OAUTHBEARER" -}}
{{- if and (not (hasSuffix "tls" $kafka.security)) (or $kafka.ca.secretName $kafka.certificate.secretName) -}}
{{- fail (printf "%s: kafka.security=%s uses no TLS, so kafka.ca and kafka.certificate would have no effect: set it to tls or sasl_tls" .role $kafka.security) -}}
{{- end -}}
{{- if and (not $sasl) (or $kafka.username $kafka.password.secretName $kafka.token.url $kafka.token.command) -}}
{{- fail (printf "%s: kafka.security=%s does not log in: set it to sasl_tls or sasl_plaintext" .role $kafka.security) -}}
{{- end -}}
{{- if and $sasl (not $oauth) (not (and $kafka.username $kafka.password.secretName)) -}}
{{- fail (printf "%s: kafka.mechanism=%s needs kafka.username and kafka.password.secretName" .role $kafka.mechanism) -}}
{{- end -}}
{{- if and $sasl $oauth (not $kafka.token.command) (not (and $kafka.token.url $kafka.token.clientId $kafka.token.clientSecret.secretName)) -}}
{{- fail (printf "%s: kafka.mechanism=OAUTHBEARER needs kafka.token.url, clientId and clientSecret.secretName, or kafka.token.command" .role) -}}
{{- end -}}
{{- end -}}
