{{/*
The pools as the controller reads them, as JSON in one list: those of the values with the chart's three defaults.
*/}}
{{- define "cairn.pools" -}}
{{- $root := . -}}
{{- $pools := list -}}
{{- range .Values.pools -}}
  {{- $settings := deepCopy (.settings | default dict) -}}
  {{- if not $settings.namespace -}}{{- $_ := set $settings "namespace" $root.Release.Namespace -}}{{- end -}}
  {{- if and (not $settings.serviceAccountName) $root.Values.serviceAccounts.attempts.create -}}
    {{- $_ := set $settings "serviceAccountName" (include "cairn.attemptAccount" (dict "root" $root "namespace" $settings.namespace)) -}}
  {{- end -}}
  {{- if and (not (hasKey $settings "imagePullSecrets")) $root.Values.image.pullSecrets (eq $settings.namespace $root.Release.Namespace) -}}
    {{- $_ := set $settings "imagePullSecrets" $root.Values.image.pullSecrets -}}
  {{- end -}}
  {{- $pool := dict "name" .name "executor" "kubernetes" "slots" (int .slots) "settings" $settings -}}
  {{- if hasKey . "gpuHourPrice" -}}{{- $_ := set $pool "gpuHourPrice" .gpuHourPrice -}}{{- end -}}
  {{- $pools = append $pools $pool -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* Namespaces of the pools, each once, as a JSON list. */}}
{{- define "cairn.poolNamespaces" -}}
{{- $namespaces := list -}}
{{- range include "cairn.pools" . | fromJsonArray -}}
  {{- $namespaces = append $namespaces .settings.namespace -}}
{{- end -}}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Namespaces in which an attempt runs under the chart's account, as a JSON list. */}}
{{- define "cairn.attemptAccountNamespaces" -}}
{{- $root := . -}}
{{- $namespaces := list -}}
{{- range include "cairn.pools" . | fromJsonArray -}}
  {{- if eq .settings.serviceAccountName (include "cairn.attemptAccount" (dict "root" $root "namespace" .settings.namespace)) -}}
    {{- $namespaces = append $namespaces .settings.namespace -}}
  {{- end -}}
{{- end -}}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Namespaces of pools that hand their Jobs to Kueue, as a JSON list. */}}
{{- define "cairn.kueueNamespaces" -}}
{{- $namespaces := list -}}
{{- range include "cairn.pools" . | fromJsonArray -}}
  {{- if .settings.kueue -}}{{- $namespaces = append $namespaces .settings.namespace -}}{{- end -}}
{{- end -}}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}
