{{/*
What the chart's Secret holds, as JSON: only what no existing Secret gives. Keys that nobody gave are made once, taken from the
cluster afterwards, and the same in all templates of one rendering, which share .Values.
*/}}
{{- define "cairn.secrets" -}}
{{- if not (hasKey .Values "rendered") -}}
  {{- $there := (lookup "v1" "Secret" .Release.Namespace (include "cairn.fullname" .) | default dict).data | default dict -}}
  {{- $data := dict -}}
  {{- if .Values.database.url -}}{{- $_ := set $data "database-url" .Values.database.url -}}{{- end -}}
  {{- if .Values.queue.url -}}{{- $_ := set $data "queue-url" .Values.queue.url -}}{{- end -}}
  {{- if .Values.storage.accessKeyId -}}
    {{- $_ := set $data "AWS_ACCESS_KEY_ID" .Values.storage.accessKeyId -}}
    {{- $_ := set $data "AWS_SECRET_ACCESS_KEY" .Values.storage.secretAccessKey -}}
  {{- end -}}
  {{- if not .Values.serverKey.existingSecret.name -}}
    {{- $kept := get $there "server-key" | b64dec -}}
    {{- $_ := set $data "server-key" (.Values.serverKey.value | default $kept | default (randAlphaNum 48)) -}}
  {{- end -}}
  {{- if not .Values.secretsKeys.existingSecret.name -}}
    {{- $kept := get $there "secrets-keys" | b64dec -}}
    {{- $_ := set $data "secrets-keys" (.Values.secretsKeys.value | default $kept | default (printf "k1:%s" (randAlphaNum 48))) -}}
  {{- end -}}
  {{- if and .Values.adminToken.enabled (not .Values.adminToken.existingSecret.name) -}}
    {{- $kept := get $there "admin-token" | b64dec -}}
    {{- $_ := set $data "admin-token" (.Values.adminToken.value | default $kept | default (printf "cairn_%s" (randAlphaNum 48))) -}}
  {{- end -}}
  {{- $_ := set .Values "rendered" (dict "secrets" $data) -}}
{{- end -}}
{{- toJson .Values.rendered.secrets -}}
{{- end -}}

{{/*
Changes when a value of the chart's Secret does, so that pods start again. Empty without the server key in it: nobody may try
passwords against what a pod's annotations show.
*/}}
{{- define "cairn.secretsDigest" -}}
{{- $secrets := include "cairn.secrets" . | fromJson -}}
{{- if hasKey $secrets "server-key" -}}
{{- /* With a prefix: 16 digits around one `e` would be a number to a YAML parser. */ -}}
{{- $secrets | toJson | sha256sum | trunc 16 | printf "sha256-%s" -}}
{{- end -}}
{{- end -}}

{{/* A variable from a Secret: dict root, name, source (the value with existingSecret), key (in the chart's Secret). */}}
{{- define "cairn.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      {{- if .source.existingSecret.name }}
      name: {{ .source.existingSecret.name }}
      key: {{ .source.existingSecret.key }}
      {{- else }}
      name: {{ .secret | default (include "cairn.fullname" .root) }}
      key: {{ .key }}
      {{- end }}
{{- end -}}

{{- define "cairn.databaseVariable" -}}
{{ include "cairn.secretVariable" (dict "root" . "name" "CAIRN_DATABASE_URL" "source" .Values.database "key" "database-url") }}
{{- end -}}

{{/* Without a queue of its own: the database. */}}
{{- define "cairn.queueVariable" -}}
{{- if or .Values.queue.url .Values.queue.existingSecret.name -}}
{{ include "cairn.secretVariable" (dict "root" . "name" "CAIRN_QUEUE_URL" "source" .Values.queue "key" "queue-url") }}
{{- else -}}
{{ include "cairn.secretVariable" (dict "root" . "name" "CAIRN_QUEUE_URL" "source" .Values.database "key" "database-url") }}
{{- end -}}
{{- end -}}

{{- define "cairn.serverKeyVariable" -}}
{{ include "cairn.secretVariable" (dict "root" . "name" "CAIRN_SERVER_KEY" "source" .Values.serverKey "key" "server-key") }}
{{- end -}}

{{- define "cairn.secretsKeysVariable" -}}
{{ include "cairn.secretVariable" (dict "root" . "name" "CAIRN_SECRETS_KEYS" "source" .Values.secretsKeys "key" "secrets-keys") }}
{{- end -}}

{{/* Where objects lie, and the credentials that the chart holds for it; where datasets may lie. */}}
{{- define "cairn.storageVariables" -}}
- name: CAIRN_STORAGE_URL
  value: {{ .Values.storage.url | quote }}
{{- with .Values.datasets.roots }}
- name: CAIRN_DATASET_ROOTS
  value: {{ join ":" . | quote }}
{{- end }}
{{- with .Values.datasets.urls }}
- name: CAIRN_DATASET_URLS
  value: {{ join "," . | quote }}
{{- end }}
{{- if .Values.storage.accessKeyId }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "cairn.fullname" $ }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
