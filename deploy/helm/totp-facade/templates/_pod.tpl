{{/* What comes from values as it is, for the pods of the Deployment and of the test. */}}
{{- define "totp-facade.scheduling" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "totp-facade.pod" -}}
serviceAccountName: {{ include "totp-facade.serviceAccountName" . | quote }}
automountServiceAccountToken: false
# A Service called totp-facade-… would otherwise put variables called TOTP_FACADE_… beside the settings.
enableServiceLinks: false
# The drain, and time for a sidecar after it.
{{- $delay := include "totp-facade.seconds" .Values.drain.delay }}
terminationGracePeriodSeconds: {{ add $delay (include "totp-facade.seconds" .Values.drain.timeout) 5 }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- include "totp-facade.scheduling" . }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $selector := dict "matchLabels" (include "totp-facade.selector" $ | fromYaml) }}
  - {{ merge (dict) . (dict "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: totp-facade
    image: {{ include "totp-facade.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [serve]
    env:
      {{- include "totp-facade.env" . | nindent 6 }}
    ports:
      - { name: grpc, containerPort: 50051, protocol: TCP }
      - { name: admin, containerPort: 9464, protocol: TCP }
    # The admin port by default: the kubelet's gRPC probes speak no TLS, and a gRPC port full of calls must not look
    # dead. Neither looks at Stytch or Redis, whose failures no restart fixes.
    livenessProbe:
      {{- include "totp-facade.probe" (list . "/livez") | nindent 6 }}
      periodSeconds: 10
      timeoutSeconds: 3
      failureThreshold: 6
    readinessProbe:
      {{- include "totp-facade.probe" (list . "/readyz") | nindent 6 }}
      periodSeconds: 5
      timeoutSeconds: 3
      failureThreshold: 2
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      {{- range include "totp-facade.files" . | fromYamlArray }}
      - { name: {{ .name }}, mountPath: {{ .path }}, readOnly: true }
      {{- end }}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- range include "totp-facade.files" . | fromYamlArray }}
  - {{ merge (dict "name" .name) .volume | toYaml | nindent 4 | trim }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
What a probe asks: the path of the admin port, or the whole server's health. The API takes no name of a port for gRPC. A
pod that drains is not healthy for gRPC, but the kubelet asks for no liveness any more once a pod ends.
*/}}
{{- define "totp-facade.probe" -}}
{{- $root := first . -}}
{{- if $root.Values.probes.grpc -}}
grpc: { port: 50051 }
{{- else -}}
httpGet: { path: {{ last . }}, port: admin }
{{- end }}
{{- end }}
