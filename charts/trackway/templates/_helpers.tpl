{{- define "trackway.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "trackway.labels" -}}
{{ include "trackway.selector" . }}
app.kubernetes.io/part-of: trackway
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: trackway-{{ .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* name, namespace and labels of something of this chart: dict "root" $ "name" "postgres". */}}
{{- define "trackway.metadata" -}}
name: {{ .root.Release.Name }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "trackway.labels" . | nindent 2 }}
{{- end }}

{{- /* Services with a database of ours, in the order of their calls. */}}
{{- define "trackway.databases" -}}
{{- $all := list -}}
{{- range $name := list "users" "projects" "tasks" -}}
{{- if (get $.Values $name).database.enabled }}{{ $all = append $all $name }}{{ end -}}
{{- end -}}
{{ toJson $all }}
{{- end }}

{{- define "trackway.databaseSecret" -}}
{{ (get .root.Values .name).database.existingSecret | default (printf "%s-%s-database" .root.Release.Name .name) }}
{{- end }}

{{- /* The passwords of the databases' owners, in base64, a line each. */}}
{{- define "trackway.passwords" -}}
{{- $all := list -}}
{{- range $name := include "trackway.databases" . | fromJsonArray -}}
{{- $secret := include "trackway.databaseSecret" (dict "root" $ "name" $name) -}}
{{- $service := dict "Values" (get $.Values $name) "Chart" (dict "Name" $name) "Release" $.Release -}}
{{- $made := get (include "service.secrets" $service | fromJson) $secret | default dict -}}
{{- $yours := (lookup "v1" "Secret" $.Release.Namespace $secret).data | default dict -}}
{{- $all = append $all (hasKey $made "password" | ternary (get $made "password" | b64enc) (get $yours "password")) -}}
{{- end -}}
{{ join "\n" $all }}
{{- end }}

{{- /* What the Secret made for the bundled Redis holds, as JSON, none if it is yours; see service.secrets. */}}
{{- define "trackway.redisSecret" -}}
{{- if not (hasKey .Values "madeRedisSecret") -}}
{{- $data := dict -}}
{{- $mode := .Values.global.generateSecrets -}}
{{- if .Values.global.redis.existingSecret -}}
{{- else if or (eq $mode "always") (and (eq $mode "auto") (lookup "v1" "Namespace" "" "default")) -}}
{{- $name := printf "%s-redis" .Release.Name -}}
{{- $old := (lookup "v1" "Secret" .Release.Namespace $name).data | default dict -}}
{{- $password := get $old "password" | b64dec | default (randAlphaNum 32) -}}
{{- $data = dict "password" $password "url" (printf "redis://:%s@%s:6379/0" $password $name) "auth.conf" (printf "requirepass %s\n" $password) -}}
{{- end -}}
{{- $_ := set .Values "madeRedisSecret" $data -}}
{{- end -}}
{{ toJson .Values.madeRedisSecret }}
{{- end }}

{{- define "trackway.restricted" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end }}

{{- define "trackway.check" -}}
{{- /* A Service's name is a label of the DNS, and a StatefulSet's has at most 52 characters, or it can make no pod. */}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,41}[a-z0-9])?$" .Release.Name) }}
{{- fail (printf "the release can not be called %s: it takes a to z, 0 to 9 and -, begins with a letter, and has at most 43 characters" .Release.Name) }}
{{- end }}
{{- range $name := list "users" "projects" "tasks" "edge" }}
{{- $service := get $.Values $name }}
{{- if $service.name }}
{{- fail (printf "%s.name can not be set: the others find the service by its own" $name) }}
{{- end }}
{{- if and (ne $name "edge") (not (and $service.service.headless (eq (int $service.port.number) 9090))) }}
{{- fail (printf "%s.service.headless must be true and %s.port.number 9090: the others call the pods there" $name $name) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.global.redis.mode "external") (not .Values.global.redis.existingSecret) }}
{{- fail "global.redis.existingSecret must name a Secret with the key url, as Redis is external" }}
{{- end }}
{{- if and .Values.backup.s3.enabled (not (and .Values.backup.s3.endpoint .Values.backup.s3.bucket .Values.backup.s3.existingSecret)) }}
{{- fail "backup.s3 needs endpoint, bucket and existingSecret" }}
{{- end }}
{{- end }}
