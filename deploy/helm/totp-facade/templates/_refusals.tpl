{{/* Every problem of the values at once, as `totp-facade check` reports those of its settings. */}}
{{- define "totp-facade.refuse" -}}
{{- $problems := list -}}
{{- $jwt := .Values.callers.jwt -}}
{{- $ca := .Values.tls.clientCa -}}
{{- $clientCa := or $ca.existingSecret $ca.existingConfigMap -}}
{{- $certificate := include "totp-facade.tlsSecret" . -}}
{{- $authenticated := or .Values.spiffe.enabled $clientCa .Values.callers.tokens.existingSecret $jwt.cluster $jwt.keys (include "totp-facade.trustedProxies" .) -}}
{{- if not .Values.image.repository -}}
  {{- $problems = append $problems "image.repository: is required: build the image with deploy/Containerfile, push it, and say where it is" -}}
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
{{- if $problems -}}
  {{- printf "\n\n%s\n" (join "\n" $problems) | fail -}}
{{- end -}}
{{- end }}
