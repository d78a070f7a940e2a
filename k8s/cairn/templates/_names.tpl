{{- define "cairn.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "cairn" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-cairn" (.Release.Name | trunc 34 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* The selector of the pods of one program: dict root, component. Must not change between versions. */}}
{{- define "cairn.selector" -}}
app.kubernetes.io/name: cairn
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
The name of the installation, on every object of an attempt: releases of one name in two namespaces may share a namespace of attempts.
A namespace has no dot, so two releases never get the same; a name that does not fit into a label is truncated, and its hash keeps it unique.
*/}}
{{- define "cairn.instance" -}}
{{- $name := .Values.instanceOverride | default (printf "%s.%s" .Release.Namespace .Release.Name) -}}
{{- if gt (len $name) 63 -}}
{{- printf "%s-%s" (trunc 52 $name) (sha256sum $name | trunc 10) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* The selector of the pods of attempts, which the controller creates. */}}
{{- define "cairn.attemptSelector" -}}
app.kubernetes.io/name: cairn
app.kubernetes.io/instance: {{ include "cairn.instance" . | quote }}
app.kubernetes.io/component: attempt
{{- end -}}

{{/* Labels of an object: dict root, component. */}}
{{- define "cairn.labels" -}}
{{ include "cairn.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object: dict root, component, name; optional namespace, annotations, labels. */}}
{{- define "cairn.metadata" -}}
metadata:
  name: {{ .name }}
  {{- if not .clusterWide }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "cairn.labels" . | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "cairn.controlPlaneAccount" -}}
{{ .Values.serviceAccounts.controlPlane.name | default (include "cairn.fullname" .) }}
{{- end -}}

{{- define "cairn.controllerAccount" -}}
{{ .Values.serviceAccounts.controller.name | default (printf "%s-controller" (include "cairn.fullname" .)) }}
{{- end -}}

{{/* The account of attempts in a namespace of a pool: dict root, namespace. */}}
{{- define "cairn.attemptAccount" -}}
{{ .root.Values.serviceAccounts.attempts.name | default (printf "%s-attempt" (include "cairn.nameInPool" .)) }}
{{- end -}}

{{/* An image: dict root, image (repository, tag, digest). */}}
{{- define "cairn.image" -}}
{{- $image := .root.Values.image -}}
{{- if and .image .image.repository -}}{{- $image = .image -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "cairn.internalUrl" -}}
{{ printf "http://%s-internal.%s.svc:8081" (include "cairn.fullname" .) .Release.Namespace }}
{{- end -}}

{{/*
Names of objects in a pool's namespace, which releases of other namespaces may share: they carry the release's namespace unless it
is their own.
*/}}
{{- define "cairn.nameInPool" -}}
{{- if eq .namespace .root.Release.Namespace -}}
{{ include "cairn.fullname" .root }}
{{- else -}}
{{ printf "%s-%s" .root.Release.Namespace (include "cairn.fullname" .root) }}
{{- end -}}
{{- end -}}
