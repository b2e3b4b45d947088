{{/* Every problem that the schema does not see, at once, as `totp-facade check` reports those of its settings. */}}
{{- define "totp-facade.refuse" -}}
{{- $problems := list -}}
{{- $jwt := .Values.callers.jwt -}}
{{- $ca := .Values.tls.clientCa -}}
{{- $clientCa := or $ca.existingSecret $ca.existingConfigMap -}}
{{- $certificate := include "totp-facade.tlsSecret" . -}}
{{- $authenticated := or .Values.spiffe.enabled $clientCa .Values.callers.tokens.existingSecret $jwt.cluster $jwt.keys (include "totp-facade.trustedProxies" .) -}}
{{- if not .Values.image.repository -}}
  {{- $problems = append $problems "image.repository: is required: where your image is; docs/operations.md says how to get one" -}}
{{- end -}}
{{- if not .Values.stytch.existingSecret -}}
  {{- $problems = append $problems "stytch.existingSecret: is required: the Secret with the project's secret" -}}
{{- end -}}
{{- if not (or $authenticated .Values.callers.allowUnauthenticated) -}}
  {{- $problems = append $problems "callers: nobody could be told apart: set callers.jwt, callers.tokens, tls.clientCa, spiffe, mesh: istio or callers.trustedProxies, or callers.allowUnauthenticated=true if whoever reaches the port may register second factors for anybody" -}}
{{- end -}}
{{- if and .Values.callers.policy .Values.callers.policyConfigMap -}}
  {{- $problems = append $problems "callers.policy: not together with callers.policyConfigMap" -}}
{{- end -}}
{{- if and $jwt.cluster $jwt.keys -}}
  {{- $problems = append $problems "callers.jwt.keys: not together with callers.jwt.cluster: the pod's token would be sent there" -}}
{{- end -}}
{{- if and $jwt.issuer (not $jwt.cluster) (not $jwt.keys) -}}
  {{- $problems = append $problems "callers.jwt.keys: is required with callers.jwt.issuer" -}}
{{- end -}}
{{- if and $jwt.keys (not $jwt.issuer) -}}
  {{- $problems = append $problems "callers.jwt.issuer: is required with callers.jwt.keys" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled .Values.tls.existingSecret -}}
  {{- $problems = append $problems "tls.existingSecret: not together with tls.certManager" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuer.name) -}}
  {{- $problems = append $problems "tls.certManager.issuer.name: is required" -}}
{{- end -}}
{{- if and .Values.spiffe.enabled (or $certificate $clientCa) -}}
  {{- $problems = append $problems "spiffe: not together with tls" -}}
{{- end -}}
{{- if and .Values.probes.grpc (include "totp-facade.tls" .) -}}
  {{- $problems = append $problems "probes.grpc: not together with tls or spiffe: the kubelet's gRPC probes speak no TLS" -}}
{{- end -}}
{{- if and $ca.existingSecret $ca.existingConfigMap -}}
  {{- $problems = append $problems "tls.clientCa.existingSecret: not together with tls.clientCa.existingConfigMap" -}}
{{- end -}}
{{- if and $clientCa (not $certificate) -}}
  {{- $problems = append $problems "tls.clientCa: needs tls.existingSecret or tls.certManager" -}}
{{- end -}}
{{- if and (include "totp-facade.several" .) (not .Values.redis.existingSecret) (not .Values.redis.perPod) -}}
  {{- $problems = append $problems "redis.existingSecret: is required for more than one pod, which share no idempotency keys otherwise: set it, or replicas=1, or redis.perPod=true if a retry may be a new call" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
  {{- $problems = append $problems "autoscaling.minReplicas: is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.scrapers) -}}
  {{- $problems = append $problems "networkPolicy.scrapers: is required with metrics.serviceMonitor: Prometheus could not reach the admin port" -}}
{{- end -}}
{{- $problems = concat $problems (include "totp-facade.problemsOfForm" . | fromYamlArray) (include "totp-facade.problemsOfNetwork" . | fromYamlArray) -}}
{{- if $problems -}}
  {{- printf "\n\n%s\n" (join "\n" $problems) | fail -}}
{{- end -}}
{{- end }}

{{/*
What the schema could refuse too, but Helm then prints the value, which may be a secret, and no reason. A list, as YAML.
*/}}
{{- define "totp-facade.problemsOfForm" -}}
{{- range $name, $url := dict "stytch.baseUrl" .Values.stytch.baseUrl "callers.jwt.keys" .Values.callers.jwt.keys }}
{{- /* As browsers and the façade read URLs, any number of slashes precedes the credentials. */}}
{{- if regexMatch `^https:[/\\\s]*[^/\\?#]*@` (toString $url) }}
- "{{ $name }}: must not hold credentials"
{{- end }}
{{- end }}
{{- range .Values.callers.trustedProxies }}
{{- if regexMatch "/0+$" . }}
- "callers.trustedProxies: {{ . }} is everybody, who could then name any identity: list the proxies' addresses"
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if and .value (has .name (include "totp-facade.secretSettings" . | fromYamlArray)) }}
- "extraEnv: {{ .name }} is a secret, which everybody who reads the release would see: take it from a Secret by valueFrom"
{{- end }}
{{- end }}
{{- end }}

{{/* The settings that are secrets, as the end of `totp-facade --help` has them. */}}
{{- define "totp-facade.secretSettings" -}}
- STYTCH_SECRET
- TOTP_FACADE_IDEMPOTENCY_URL
- OTEL_EXPORTER_OTLP_HEADERS
- OTEL_EXPORTER_OTLP_TRACES_HEADERS
- TOTP_FACADE_TOKEN
- TOTP_FACADE_VERIFY_SESSION_TOKEN
- TOTP_FACADE_VERIFY_LOGIN_TOKEN
- TOTP_FACADE_VERIFY_OTHER_SESSION_TOKEN
{{- end }}

{{/*
Values of the NetworkPolicy that are set to null, which Helm takes away before the schema sees them. Kubernetes takes a
rule without peers as one for everybody, and one without ports as one for all of them. A list, as YAML.
*/}}
{{- define "totp-facade.problemsOfNetwork" -}}
{{- $policy := .Values.networkPolicy }}
{{- if not $policy }}
- "networkPolicy: must not be null: set networkPolicy.enabled=false if you want none"
{{- else if $policy.enabled }}
{{- range $name := list "callers" "dns" "stytch" }}
{{- if not (get $policy $name) }}
- "networkPolicy.{{ $name }}: is required: a rule without peers is for everybody"
{{- end }}
{{- end }}
{{- range $name := list "redis" "apiServer" }}
{{- if not (dig $name "ports" "" $policy) }}
- "networkPolicy.{{ $name }}.ports: is required: a rule without ports is for all of them"
{{- end }}
{{- end }}
{{- end }}
{{- end }}
