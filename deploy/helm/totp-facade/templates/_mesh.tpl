{{/*
What a mesh's injector reads on pods. Native sidecars end after the façade, so that calls reach Stytch while it drains.
*/}}

{{- define "totp-facade.meshLabels" -}}
{{- if eq .Values.mesh "istio" -}}
sidecar.istio.io/inject: "true"
{{- end }}
{{- end }}

{{- define "totp-facade.meshAnnotations" -}}
{{- if eq .Values.mesh "istio" -}}
sidecar.istio.io/nativeSidecar: "true"
# Prometheus need not be in the mesh: the admin port has no secrets, and the NetworkPolicy guards it.
traffic.sidecar.istio.io/excludeInboundPorts: "9464"
{{- else if eq .Values.mesh "linkerd" -}}
linkerd.io/inject: enabled
config.beta.linkerd.io/proxy-enable-native-sidecar: "true"
{{- end }}
{{- end }}

{{/* Proxies whose x-forwarded-client-cert is trusted. Istio's sidecar connects from these addresses. */}}
{{- define "totp-facade.trustedProxies" -}}
{{- $istio := ternary (list "127.0.0.6" "::6") list (eq .Values.mesh "istio") -}}
{{ concat $istio .Values.callers.trustedProxies | join "," }}
{{- end }}
