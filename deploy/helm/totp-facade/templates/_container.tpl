{{/* The settings of the façade. Files are read again when they change, variables when the pod is replaced. */}}
{{- define "totp-facade.env" -}}
{{- $etc := "/etc/totp-facade" -}}
- name: STYTCH_PROJECT_ID
{{- if .Values.stytch.projectId }}
  value: {{ .Values.stytch.projectId | quote }}
{{- else }}
  valueFrom: { secretKeyRef: { name: {{ .Values.stytch.existingSecret | quote }}, key: {{ .Values.stytch.projectIdKey | quote }} } }
{{- end }}
- name: STYTCH_SECRET_FILE
  value: {{ $etc }}/stytch/secret
{{- with .Values.stytch.baseUrl }}
- name: STYTCH_BASE_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.stytch.caConfigMap }}
- name: STYTCH_CA_FILE
  value: {{ $etc }}/stytch-ca/ca.crt
{{- end }}
- name: TOTP_FACADE_GRPC_ADDR
  value: {{ printf "%s:50051" .Values.bindAddress | quote }}
- name: TOTP_FACADE_ADMIN_ADDR
  value: {{ printf "%s:9464" .Values.bindAddress | quote }}
- name: TOTP_FACADE_WORKER_THREADS
  value: {{ .Values.workerThreads | quote }}
- name: TOTP_FACADE_DRAIN_DELAY
  value: {{ .Values.drain.delay | quote }}
- name: TOTP_FACADE_DRAIN_TIMEOUT
  value: {{ .Values.drain.timeout | quote }}
{{- include "totp-facade.envOfTls" . }}
{{- include "totp-facade.envOfCallers" . }}
{{- if .Values.redis.existingSecret }}
- name: TOTP_FACADE_IDEMPOTENCY_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.redis.existingSecret | quote }}, key: {{ .Values.redis.key | quote }} } }
- name: TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS
  value: {{ .Values.redis.minReplicas | quote }}
{{- if .Values.redis.caConfigMap }}
- name: TOTP_FACADE_IDEMPOTENCY_CA_FILE
  value: {{ $etc }}/redis-ca/ca.crt
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "totp-facade.envOfTls" -}}
{{- $folder := ternary "/run/spiffe" "/etc/totp-facade/tls" .Values.spiffe.enabled -}}
{{- if include "totp-facade.tls" . }}
- name: TOTP_FACADE_TLS_CERT_FILE
  value: {{ $folder }}/tls.crt
- name: TOTP_FACADE_TLS_KEY_FILE
  value: {{ $folder }}/tls.key
{{- end }}
{{- if .Values.spiffe.enabled }}
- name: TOTP_FACADE_TLS_CLIENT_CA_FILE
  value: {{ $folder }}/ca.crt
{{- else if or .Values.tls.clientCa.existingSecret .Values.tls.clientCa.existingConfigMap }}
- name: TOTP_FACADE_TLS_CLIENT_CA_FILE
  value: /etc/totp-facade/client-ca/ca.crt
{{- end }}
{{- end }}

{{- define "totp-facade.envOfCallers" -}}
{{- $jwt := .Values.callers.jwt -}}
{{- if .Values.callers.tokens.existingSecret }}
- name: TOTP_FACADE_TOKENS_FILE
  value: /etc/totp-facade/tokens/tokens
{{- end }}
{{- if or $jwt.cluster $jwt.keys }}
- name: TOTP_FACADE_JWT_ISSUER
  value: {{ $jwt.issuer | default "https://kubernetes.default.svc.cluster.local" | quote }}
- name: TOTP_FACADE_JWT_AUDIENCE
  value: {{ $jwt.audience | quote }}
- name: TOTP_FACADE_JWT_KEYS
  value: {{ $jwt.keys | default "https://kubernetes.default.svc/openid/v1/jwks" | quote }}
{{- end }}
{{- if $jwt.cluster }}
- name: TOTP_FACADE_JWT_CA_FILE
  value: /etc/totp-facade/cluster/ca.crt
- name: TOTP_FACADE_JWT_TOKEN_FILE
  value: /etc/totp-facade/cluster/token
{{- end }}
{{- with include "totp-facade.trustedProxies" . }}
- name: TOTP_FACADE_TRUST_XFCC_FROM
  value: {{ . | quote }}
{{- end }}
{{- if or .Values.callers.policy .Values.callers.policyConfigMap }}
- name: TOTP_FACADE_CALLERS_FILE
  value: /etc/totp-facade/policy/callers.toml
{{- end }}
{{- if .Values.callers.allowUnauthenticated }}
- name: TOTP_FACADE_ALLOW_UNAUTHENTICATED
  value: "true"
{{- end }}
{{- end }}
