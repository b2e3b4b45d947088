{{- define "totp-facade.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The name of the Service and most other objects; the longest suffix is `-healthcheck`. Like every name, it is quoted where
it stands alone: `123` is one too.
*/}}
{{- define "totp-facade.fullname" -}}
{{- $name := include "totp-facade.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "totp-facade.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "totp-facade.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What never changes: a Deployment's selector cannot be changed. */}}
{{- define "totp-facade.selector" -}}
app.kubernetes.io/name: {{ include "totp-facade.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end }}

{{- define "totp-facade.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "totp-facade.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{ merge $own .Values.labels | toYaml }}
{{- end }}

{{- define "totp-facade.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of the gRPC port; empty without TLS, or if it comes by SPIFFE. */}}
{{- define "totp-facade.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "totp-facade.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* `true` if the gRPC port speaks TLS, otherwise empty. */}}
{{- define "totp-facade.tls" -}}
{{- if or .Values.spiffe.enabled (include "totp-facade.tlsSecret" .) }}true{{ end }}
{{- end }}

{{/* `true` if there may be more than one pod, otherwise empty. */}}
{{- define "totp-facade.several" -}}
{{- if gt (int (ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled)) 1 }}true{{ end }}
{{- end }}

{{/* Whole seconds of a time such as 500ms, 5s or 1m, rounded up. */}}
{{- define "totp-facade.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $milliseconds := get (dict "ms" 1 "s" 1000 "m" 60000) $unit -}}
{{ div (add (mul $number $milliseconds) 999) 1000 }}
{{- end }}
