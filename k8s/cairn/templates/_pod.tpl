{{/* Metadata of a pod: dict root, component, values (of the program). */}}
{{- define "cairn.podMetadata" -}}
metadata:
  labels:
    {{- include "cairn.selector" . | nindent 4 }}
    {{- with merge (dict) (.values.podLabels | default dict) .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $digest := include "cairn.secretsDigest" .root }}
  {{- with merge (ternary (dict "cairn.dev/secrets" $digest) dict (ne $digest "")) (.values.podAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Account and placement: dict root, component, values. */}}
{{- define "cairn.podPlacement" -}}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .root.Values.topologySpread.topologyKey }}
    whenUnsatisfiable: {{ .root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "cairn.selector" . | nindent 8 }}
    # Ignores pods of other versions, so that pods are spread after a rolling upgrade.
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* The container's common part: dict root, values; optional image. */}}
{{- define "cairn.container" -}}
image: {{ include "cairn.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.storage.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end -}}

{{/* Variables of api and controller. Numbers of values may come as floats, which print as 1e+06. */}}
{{- define "cairn.serviceVariables" -}}
- name: CAIRN_PROJECT_RUNS
  value: {{ .Values.quotas.projectRuns | int64 | quote }}
- name: CAIRN_OWNER_RUNS
  value: {{ .Values.quotas.ownerRuns | int64 | quote }}
{{- with .Values.deliveryHosts }}
- name: CAIRN_DELIVERY_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{/* Variables of every program: dict root, values. */}}
{{- define "cairn.commonVariables" -}}
- name: CAIRN_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: HOME
  value: /tmp
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cairn.mounts" -}}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .state }}
  - name: state
    mountPath: /var/lib/cairn
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "cairn.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {}
  {{- if .state }}
  - name: state
    emptyDir:
      {{- if .stateSize }}
      sizeLimit: {{ .stateSize }}
      {{- else }} {}
      {{- end }}
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
