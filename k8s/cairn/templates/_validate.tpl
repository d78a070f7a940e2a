{{/*
What values.schema.json cannot say, or not so that one knows what to do: patterns, and rules over several values. Types, ranges, unknown
names and each setting of a pool are the schema's, which Helm checks first; the controller refuses at its start what settings of a pool
contradict each other. All faults are named at once.
*/}}
{{- define "cairn.validate" -}}
{{- $to := dict "faults" list -}}
{{- include "cairn.validateNames" (dict "root" . "to" $to) -}}
{{- include "cairn.validateImages" (dict "root" . "to" $to) -}}
{{- include "cairn.validateServices" (dict "root" . "to" $to) -}}
{{- include "cairn.validateKeys" (dict "root" . "to" $to) -}}
{{- include "cairn.validatePools" (dict "root" . "to" $to) -}}
{{- include "cairn.validateNetwork" (dict "root" . "to" $to) -}}
{{- include "cairn.validateExtraEnv" (dict "root" . "to" $to) -}}
{{- if $to.faults -}}
{{- $count := len $to.faults -}}
{{- fail (printf "\nThe values have %s:\n  %s\n" (ternary "a fault" (printf "%d faults" $count) (eq $count 1)) (join "\n  " $to.faults)) -}}
{{- end -}}
{{- end -}}

{{/* Adds a fault: dict to, at (which value), is (what is wrong), do (what to do). */}}
{{- define "cairn.fault" -}}
{{- $_ := set .to "faults" (append .to.faults (printf "%s %s; %s" .at .is .do)) -}}
{{- end -}}

{{- define "cairn.validateNames" -}}
{{- $instance := .root.Values.instanceOverride -}}
{{- if and $instance (not (regexMatch "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" $instance)) -}}
  {{- include "cairn.fault" (dict "to" .to "at" "instanceOverride" "is" (printf "is %q" $instance) "do" "use letters, digits, dot, dash and underscore, first and last a letter or digit, at most 63 characters") -}}
{{- end -}}
{{- end -}}

{{- define "cairn.validateImages" -}}
{{- $to := .to -}}
{{- $values := .root.Values -}}
{{- if not $values.image.repository -}}
  {{- include "cairn.fault" (dict "to" $to "at" "image.repository" "is" "is empty" "do" "name the control-plane image, without tag or digest") -}}
{{- end -}}
{{- range $at, $image := dict "image" $values.image "taskWorker.image" $values.taskWorker.image -}}
  {{- if regexMatch "@|:[^/]*$" $image.repository -}}
    {{- include "cairn.fault" (dict "to" $to "at" (printf "%s.repository" $at) "is" (printf "is %q, which has a tag or digest" $image.repository) "do" (printf "move it to %s.tag or %s.digest" $at $at)) -}}
  {{- end -}}
  {{- if and $image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $image.digest)) -}}
    {{- include "cairn.fault" (dict "to" $to "at" (printf "%s.digest" $at) "is" (printf "is %q" $image.digest) "do" "give sha256: and 64 hexadecimal digits, or leave it empty") -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Where database, queue and objects are. What may hold a password is not repeated. */}}
{{- define "cairn.validateServices" -}}
{{- $to := .to -}}
{{- $database := .root.Values.database -}}
{{- if and $database.url $database.existingSecret.name -}}
  {{- include "cairn.fault" (dict "to" $to "at" "database" "is" "has url and existingSecret.name" "do" "give one of them") -}}
{{- else if not (or $database.url $database.existingSecret.name) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "database" "is" "names no PostgreSQL" "do" "give database.url, such as postgres://user:password@host:5432/cairn, or database.existingSecret.name") -}}
{{- else if and $database.url (not (regexMatch "^postgres(ql)?://[^/]" $database.url)) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "database.url" "is" "is not a PostgreSQL URL" "do" "give one such as postgres://user:password@host:5432/cairn") -}}
{{- end -}}
{{- $queue := .root.Values.queue -}}
{{- if and $queue.url $queue.existingSecret.name -}}
  {{- include "cairn.fault" (dict "to" $to "at" "queue" "is" "has url and existingSecret.name" "do" "give one of them") -}}
{{- else if and $queue.url (not (regexMatch "^(rediss?|postgres(ql)?)://[^/]" $queue.url)) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "queue.url" "is" "is not a Redis URL" "do" "give one such as redis://host:6379, or leave it empty to keep the queues in the database") -}}
{{- end -}}
{{- $storage := .root.Values.storage -}}
{{- if not $storage.url -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage.url" "is" "is empty" "do" "give the bucket, such as s3://bucket/cairn?region=eu-central-1") -}}
{{- else if regexMatch "^file:" $storage.url -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage.url" "is" "is a folder, which pods on other nodes do not see" "do" "give a bucket, such as s3://bucket/cairn?region=eu-central-1") -}}
{{- else if not (regexMatch "^s3://[^/?#]" $storage.url) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage.url" "is" "does not begin with s3:// and a bucket" "do" "give one such as s3://bucket/cairn?region=eu-central-1") -}}
{{- else if contains "@" $storage.url -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage.url" "is" "has credentials in it, and URLs end up in logs" "do" "give them in storage.existingSecret") -}}
{{- end -}}
{{- if ne (empty $storage.accessKeyId) (empty $storage.secretAccessKey) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage" "is" "has one of accessKeyId and secretAccessKey" "do" "give both, or existingSecret, or none for workload identity") -}}
{{- end -}}
{{- if and $storage.existingSecret $storage.accessKeyId -}}
  {{- include "cairn.fault" (dict "to" $to "at" "storage" "is" "has existingSecret and accessKeyId" "do" "give one of them") -}}
{{- end -}}
{{- end -}}

{{- define "cairn.validateKeys" -}}
{{- $to := .to -}}
{{- $key := .root.Values.serverKey -}}
{{- if and $key.value $key.existingSecret.name -}}
  {{- include "cairn.fault" (dict "to" $to "at" "serverKey" "is" "has value and existingSecret.name" "do" "give one of them, or none and it is made") -}}
{{- else if and $key.value (lt (len $key.value) 32) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "serverKey.value" "is" (printf "has %d characters" (len $key.value)) "do" "give at least 32, such as the output of `openssl rand -hex 32`, or none and it is made") -}}
{{- end -}}
{{- $sealing := .root.Values.secretsKeys -}}
{{- if and $sealing.value $sealing.existingSecret.name -}}
  {{- include "cairn.fault" (dict "to" $to "at" "secretsKeys" "is" "has value and existingSecret.name" "do" "give one of them, or none and a key is made") -}}
{{- else if and $sealing.value (not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}:[\\x21-\\x7e]{32,}$" $sealing.value)) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "secretsKeys.value" "is" "is not ID:KEY with a key of at least 32 visible ASCII characters" "do" "give for example k1: and the output of `openssl rand -hex 32`, several separated by commas, or none and it is made") -}}
{{- else if and $key.existingSecret.name (not $sealing.existingSecret.name) (not $sealing.value) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "secretsKeys.existingSecret.name" "is" "is empty while serverKey has an existing Secret, so that a new key might be made with every rendering" "do" "put `k1:` and the output of `openssl rand -hex 32` into a Secret once, and name it here") -}}
{{- end -}}
{{- $token := .root.Values.adminToken -}}
{{- if and $token.value $token.existingSecret.name -}}
  {{- include "cairn.fault" (dict "to" $to "at" "adminToken" "is" "has value and existingSecret.name" "do" "give one of them, or none and it is made") -}}
{{- else if and $token.value (not (regexMatch "^[\\x21-\\x7e]{24,}$" $token.value)) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "adminToken.value" "is" "is too short or has other than visible ASCII characters" "do" "give at least 24 of them, or none and it is made") -}}
{{- end -}}
{{- end -}}

{{- define "cairn.validatePools" -}}
{{- $to := .to -}}
{{- $values := .root.Values -}}
{{- $release := .root.Release.Namespace -}}
{{- if not .root.Values.pools -}}
  {{- include "cairn.fault" (dict "to" $to "at" "pools" "is" "is empty, so that nothing could train" "do" "give at least one with name, slots and settings.image; values.yaml has an example") -}}
{{- end -}}
{{- $names := list -}}
{{- range $index, $pool := .root.Values.pools -}}
  {{- $at := printf "pools[%d].name" $index -}}
  {{- if not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" $pool.name) -}}
    {{- include "cairn.fault" (dict "to" $to "at" $at "is" (printf "is %q" $pool.name) "do" "use letters, digits, dot, dash and underscore, first a letter or digit, at most 63 characters") -}}
  {{- else if eq $pool.name "tasks" -}}
    {{- include "cairn.fault" (dict "to" $to "at" $at "is" "is \"tasks\", the pool next to the control plane" "do" "choose another") -}}
  {{- else if has $pool.name $names -}}
    {{- include "cairn.fault" (dict "to" $to "at" $at "is" (printf "is %q, as another pool's is" $pool.name) "do" "choose another") -}}
  {{- end -}}
  {{- $names = append $names $pool.name -}}
  {{- if and $values.rbac.sweepSecrets (eq ($pool.settings.namespace | default $release) $release) -}}
    {{- include "cairn.fault" (dict "to" $to "at" (printf "pools[%d].settings.namespace" $index) "is" "is the release's own while rbac.sweepSecrets lets the controller read every Secret there, the server key among them" "do" "give the pool a namespace of its own, or set rbac.sweepSecrets to false") -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "cairn.validateNetwork" -}}
{{- $to := .to -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $ingress := .root.Values.ingress -}}
{{- if $policy.enabled -}}
  {{- if not $policy.objectStorage.cidrs -}}
    {{- include "cairn.fault" (dict "to" $to "at" "networkPolicy.objectStorage.cidrs" "is" "is empty, so that attempts could not reach the object storage" "do" "give its address ranges, such as 10.20.0.0/16, or set networkPolicy.enabled to false") -}}
  {{- end -}}
  {{- range $name, $cidrs := dict "objectStorage" $policy.objectStorage.cidrs "dns" $policy.dns.cidrs -}}
    {{- range $index, $cidr := $cidrs -}}
      {{- if not (regexMatch "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*)/[0-9]{1,3}$" $cidr) -}}
        {{- include "cairn.fault" (dict "to" $to "at" (printf "networkPolicy.%s.cidrs[%d]" $name $index) "is" (printf "is %q" $cidr) "do" "give an address range such as 10.20.0.0/16; one address is 10.20.0.7/32") -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and $ingress.enabled (not $ingress.host) -}}
  {{- include "cairn.fault" (dict "to" $to "at" "ingress.host" "is" "is empty while ingress.enabled is true" "do" "give the host name under which people reach the service") -}}
{{- end -}}
{{- range $index, $path := $ingress.paths -}}
  {{- if or (not (hasPrefix "/" $path)) (regexMatch "^/(internal|metrics)(/|$)" $path) -}}
    {{- include "cairn.fault" (dict "to" $to "at" (printf "ingress.paths[%d]" $index) "is" (printf "is %q, which must not be exposed" $path) "do" "use / for the dashboard and the API, or /v1, /docs and /openapi.json for the API alone") -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Duplicate variables in a container: it is undefined which one is used. */}}
{{- define "cairn.validateExtraEnv" -}}
{{- $to := .to -}}
{{- $values := .root.Values -}}
{{- $setting := dict "CAIRN_DATABASE_URL" "database" "CAIRN_DATABASE_CONNECTIONS" "database.connections" "CAIRN_QUEUE_URL" "queue" "CAIRN_STORAGE_URL" "storage.url" "CAIRN_DATASET_ROOTS" "datasets.roots" "CAIRN_DATASET_URLS" "datasets.urls" "CAIRN_SERVER_KEY" "serverKey" "CAIRN_SECRETS_KEYS" "secretsKeys" "CAIRN_ADMIN_TOKEN" "adminToken" "CAIRN_POOLS" "pools" "CAIRN_TASK_SLOTS" "taskWorker.slots" "CAIRN_LEADER_TTL_MS" "controller.leaderTtlMs" "CAIRN_PROJECT_RUNS" "quotas.projectRuns" "CAIRN_OWNER_RUNS" "quotas.ownerRuns" "CAIRN_DELIVERY_HOSTS" "deliveryHosts" "CAIRN_PUBLIC_URL" "publicUrl" "CAIRN_CACHE_MB" "api.cacheMegabytes" "CAIRN_LOG_LEVEL" "logLevel" "CAIRN_INTERNAL_URL" "" "CAIRN_STATE_DIR" "" "CAIRN_API_HOST" "" "CAIRN_API_PORT" "" "CAIRN_INTERNAL_HOST" "" "CAIRN_INTERNAL_PORT" "" "CAIRN_METRICS_HOST" "" "CAIRN_METRICS_PORT" "" "CAIRN_INSTANCE" "instanceOverride" "CAIRN_PROBE_HOST" "" "CAIRN_PROBE_PORT" "" "HOME" "" -}}
{{- range $program := list "api" "controller" "taskWorker" "migrations" -}}
  {{- range $index, $variable := (get $values $program).extraEnv -}}
    {{- if hasKey $setting $variable.name -}}
      {{- $value := get $setting $variable.name -}}
      {{- include "cairn.fault" (dict "to" $to "at" (printf "%s.extraEnv[%d]" $program $index) "is" (printf "sets %s, which the chart sets itself" $variable.name) "do" (ternary (printf "use the value %s" $value) "leave it out" (ne $value ""))) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
