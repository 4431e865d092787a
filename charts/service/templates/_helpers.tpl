{{- define "service.name" -}}
{{ .Values.name | default .Chart.Name }}
{{- end }}

{{- define "service.fullname" -}}
{{ printf "%s-%s" .Release.Name (include "service.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* What a service of this release is called, by its short name. */}}
{{- define "service.selector" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "service.labels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: trackway
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: service-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "service.image" -}}
{{- $repository := printf "%s/%s" .Values.image.registry (.Values.image.repository | default (include "service.name" .)) -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Bytes of a quantity of memory, such as 128Mi. */}}
{{- define "service.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "k" 1000 "M" 1000000 "G" 1000000000 "" 1 -}}
{{- $number := regexFind "^[0-9]+" (toString .) -}}
{{- $unit := trimPrefix $number (toString .) -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "resources.limits.memory is %s; write a whole number of Mi or Gi" (toString .)) }}{{ end -}}
{{ mul (atoi $number) (get $units $unit) }}
{{- end }}

{{- define "service.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-database" (include "service.fullname" .)) }}
{{- end }}

{{- /* The egress rule of a NetworkPolicy by which pods reach Postgres. */}}
{{- define "service.toPostgres" -}}
{{- $postgres := (.Values.global).postgres | default dict -}}
{{- $mode := $postgres.mode | default "external" -}}
- ports: [{port: {{ eq $mode "external" | ternary ($postgres.port | default 5432) 5432 }}}]
  {{- if eq $mode "bundled" }}
  to: [{podSelector: {matchLabels: {app.kubernetes.io/name: postgres, app.kubernetes.io/instance: {{ .Release.Name }}}}}]
  {{- else if eq $mode "cloudnative-pg" }}
  to: [{podSelector: {matchLabels: {cnpg.io/cluster: {{ .Release.Name }}-postgres}}}]
  {{- else if $postgres.cidrs }}
  to:
    {{- range $postgres.cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "service.redisSecret" -}}
{{ ((.Values.global).redis).existingSecret | default (printf "%s-redis" .Release.Name) }}
{{- end }}

{{- /* The variables that are no secrets, as JSON. */}}
{{- define "service.config" -}}
{{- $root := . -}}
{{- $vars := dict "LISTEN_ADDR" (printf ":%d" (int .Values.port.number)) "ADMIN_ADDR" ":9091" -}}
{{- range .Values.calls -}}
{{- $_ := set $vars (printf "%s_ADDR" (upper .)) (printf "%s-%s:9090" $root.Release.Name .) -}}
{{- end -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $vars $name (tpl $value $root) -}}
{{- end -}}
{{ toJson $vars }}
{{- end }}

{{- /*
What the generated Secrets hold, as JSON: {secret: {key: value}}. What exists in the cluster stays, what is missing is
made. All templates must see the same, so it is made once and kept in the values of this rendering. Without a cluster
nothing is known of what exists, and nothing is made: applied by another tool, it would be new with each rendering.
*/}}
{{- define "service.secrets" -}}
{{- if not (hasKey .Values "madeSecrets") -}}
{{- $root := . -}}
{{- $all := dict -}}
{{- $mode := (.Values.global).generateSecrets | default "auto" -}}
{{- if or (eq $mode "always") (and (eq $mode "auto") (lookup "v1" "Namespace" "" "default")) -}}
{{- range $name, $f := .Values.secretFiles -}}
{{- if not $f.existingSecret -}}
{{- $secret := printf "%s-%s" (include "service.fullname" $root) $name -}}
{{- $old := (lookup "v1" "Secret" $root.Release.Namespace $secret).data | default dict -}}
{{- $data := dict -}}
{{- range $key := $f.files -}}
{{- if hasKey $old $key -}}
{{- $_ := set $data $key (get $old $key | b64dec) -}}
{{- else if eq ($f.generate | default "") "ed25519" -}}
{{- $_ := set $data $key (genPrivateKey "ed25519") -}}
{{- else if eq ($f.generate | default "") "password" -}}
{{- $_ := set $data $key (randAlphaNum 32) -}}
{{- else -}}
{{- fail (printf "secretFiles.%s of %s needs existingSecret, or generate: ed25519 or password" $name (include "service.name" $root)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $all $secret $data -}}
{{- end -}}
{{- end -}}
{{- if and .Values.database.enabled (not .Values.database.existingSecret) -}}
{{- $secret := include "service.databaseSecret" . -}}
{{- $old := (lookup "v1" "Secret" .Release.Namespace $secret).data | default dict -}}
{{- $password := get $old "password" | b64dec | default (randAlphaNum 32) -}}
{{- $name := include "service.name" . -}}
{{- $at := printf "%s-postgres:5432/%s?sslmode=disable" .Release.Name $name -}}
{{- if eq .Values.global.postgres.mode "cloudnative-pg" -}}
{{- $at = printf "%s-postgres-rw:5432/%s?sslmode=require" .Release.Name $name -}}
{{- end -}}
{{- $_ := set $all $secret (dict "username" $name "password" $password "url" (printf "postgres://%s:%s@%s" $name $password $at)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Values "madeSecrets" $all -}}
{{- end -}}
{{ toJson .Values.madeSecrets }}
{{- end }}

{{- /* A fingerprint of all secrets that the pods read but once, by which they start anew when one changes. */}}
{{- define "service.secretsSum" -}}
{{- $root := . -}}
{{- $made := include "service.secrets" . | fromJson -}}
{{- range $name, $f := .Values.secretFiles -}}
{{- if $f.reloads }}{{ $made = omit $made (printf "%s-%s" (include "service.fullname" $root) $name) }}{{ end -}}
{{- end -}}
{{- $seen := list (toJson $made) -}}
{{- $names := list .Values.database.existingSecret ((.Values.global).redis).existingSecret -}}
{{- range .Values.secretFiles }}{{ if not .reloads }}{{ $names = append $names .existingSecret }}{{ end }}{{ end -}}
{{- range .Values.secretEnv }}{{ $names = append $names .name }}{{ end -}}
{{- range $name := compact $names -}}
{{- $seen = append $seen (toJson ((lookup "v1" "Secret" $root.Release.Namespace $name).data | default dict)) -}}
{{- end -}}
{{ join "\n" $seen | sha256sum }}
{{- end }}
