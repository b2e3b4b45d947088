{{/*
The files of the façade, as `{name, path, volume}`. Each volume is mounted as a folder: a `subPath` would never change.
*/}}
{{- define "totp-facade.files" -}}
- name: stytch
  path: /etc/totp-facade/stytch
  volume: {{ include "totp-facade.secret" (list .Values.stytch.existingSecret .Values.stytch.secretKey "secret") }}
{{- with .Values.stytch.caConfigMap }}
- name: stytch-ca
  path: /etc/totp-facade/stytch-ca
  volume: {{ include "totp-facade.configMap" (list . "ca.crt" "ca.crt") }}
{{- end }}
{{- with .Values.redis }}
{{- if and .existingSecret .caConfigMap }}
- name: redis-ca
  path: /etc/totp-facade/redis-ca
  volume: {{ include "totp-facade.configMap" (list .caConfigMap "ca.crt" "ca.crt") }}
{{- end }}
{{- end }}
{{- include "totp-facade.filesOfCallers" . }}
{{- include "totp-facade.filesOfTls" . }}
{{- end }}

{{- define "totp-facade.filesOfCallers" -}}
{{- with .Values.callers }}
{{- if or .policy .policyConfigMap }}
- name: policy
  path: /etc/totp-facade/policy
  {{- $own := printf "%s-policy" (include "totp-facade.fullname" $) }}
  volume: {{ include "totp-facade.configMap" (list (.policyConfigMap | default $own) "callers.toml" "callers.toml") }}
{{- end }}
{{- if .tokens.existingSecret }}
- name: tokens
  path: /etc/totp-facade/tokens
  volume: {{ include "totp-facade.secret" (list .tokens.existingSecret .tokens.key "tokens") }}
{{- end }}
{{- if .jwt.cluster }}
# To read the API server's keys with, and nothing else: the account has no permissions.
- name: cluster
  path: /etc/totp-facade/cluster
  volume:
    projected:
      defaultMode: 288
      sources:
        - serviceAccountToken: { path: token, expirationSeconds: 3600 }
        - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- end }}
{{- end }}

{{- define "totp-facade.filesOfTls" -}}
{{- with include "totp-facade.tlsSecret" . }}
- name: tls
  path: /etc/totp-facade/tls
  volume:
    secret:
      secretName: {{ . | quote }}
      defaultMode: 288
      items: [{ key: tls.crt, path: tls.crt }, { key: tls.key, path: tls.key }]
{{- end }}
{{- with .Values.tls.clientCa }}
{{- if or .existingSecret .existingConfigMap }}
- name: client-ca
  path: /etc/totp-facade/client-ca
  {{- $source := ternary "secret" "configMap" (ne .existingSecret "") }}
  volume: {{ include (print "totp-facade." $source) (list (.existingSecret | default .existingConfigMap) .key "ca.crt") }}
{{- end }}
{{- end }}
{{- with .Values.spiffe }}
{{- if .enabled }}
- name: spiffe
  path: /run/spiffe
  volume:
    csi: { driver: {{ .driver | quote }}, readOnly: true, volumeAttributes: {{ .attributes | toJson }} }
{{- end }}
{{- end }}
{{- end }}

{{/* A volume with one file: of what Secret, of what key there, by what name. 288 is 0440 in octal. */}}
{{- define "totp-facade.secret" -}}
{{- $items := list (dict "key" (index . 1) "path" (index . 2)) -}}
{{ dict "secret" (dict "secretName" (index . 0) "defaultMode" 288 "items" $items) | toJson }}
{{- end }}

{{/* The same of a ConfigMap, which has no secrets. */}}
{{- define "totp-facade.configMap" -}}
{{- $items := list (dict "key" (index . 1) "path" (index . 2)) -}}
{{ dict "configMap" (dict "name" (index . 0) "items" $items) | toJson }}
{{- end }}
