{{- define "veeam-auth.name" -}}
{{- if contains "veeam-auth" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-veeam-auth" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "veeam-auth.selector" -}}
app.kubernetes.io/name: veeam-auth
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "veeam-auth.labels" -}}
{{ include "veeam-auth.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "veeam-auth.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "veeam-auth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "veeam-auth.caddyfile" -}}
{{- if .Values.caddyfile -}}
{{ .Values.caddyfile }}
{{- else -}}
{
	admin localhost:2019
	persist_config off
	{{- if eq .Values.mode "gateway" }}
	auto_https disable_redirects
	storage redis {
		host {{ .Values.gateway.redis.host }}
		port {{ .Values.gateway.redis.port }}
		password {file./run/secrets/veeam-auth/redis_password}
		timeout 2
		key_prefix veeam-auth
	}
	servers {
		protocols h1 h2
	}
	{{- end }}
	log svc {
		include http.handlers.veeam_auth.svc
		output stdout
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
}

{{ if eq .Values.mode "gateway" -}}
https://:{{ .Values.gateway.port }} {
	tls /run/secrets/tls/tls.crt /run/secrets/tls/tls.key {
		client_auth {
			trust_pool file /run/secrets/tls/ca.crt
		}
	}
{{- else -}}
http://:9419 {
	bind 127.0.0.1
{{- end }}
	veeam_auth {{ .Values.server.url }} {
		product {{ .Values.server.product }}
		login_at start
		account "{{ .Values.account.username }}" {
			password {file./run/secrets/veeam-auth/veeam_password}
			{{- if .Values.account.mfa }}
			totp_secret {file./run/secrets/veeam-auth/veeam_totp_secret}
			{{- end }}
		}
		{{- if .Values.server.tlsPin }}
		tls_pin {{ .Values.server.tlsPin }}
		{{- end }}
		{{- if eq .Values.mode "gateway" }}
		cache {
			encryption_key {file./run/secrets/veeam-auth/cache_key}
		}
		{{- $name := include "veeam-auth.name" . }}
		hosts {{ $name }} {{ $name }}.{{ .Release.Namespace }} {{ $name }}.{{ .Release.Namespace }}.svc{{ range .Values.gateway.hosts }} {{ . }}{{ end }}
		{{- end }}
		allow preset {{ .Values.preset }}
	}
}

http://:{{ .Values.metrics.port }} {
	veeam_auth_health /veeam_auth/*
	metrics /metrics
}
{{- end -}}
{{- end }}

{{/* The container of veeam-auth, the same in both patterns. */}}
{{- define "veeam-auth.container" -}}
name: veeam-auth
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- if eq .Values.mode "gateway" }}
  - name: api
    containerPort: {{ .Values.gateway.port }}
  {{- end }}
  - name: metrics
    containerPort: {{ .Values.metrics.port }}
startupProbe:
  httpGet: {path: /veeam_auth/startup, port: metrics}
  periodSeconds: 2
  failureThreshold: 30
readinessProbe:
  httpGet: {path: /veeam_auth/ready, port: metrics}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /veeam_auth/live, port: metrics}
  periodSeconds: 10
securityContext:
  {{- include "veeam-auth.containerSecurity" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: caddyfile, mountPath: /etc/veeam-auth, readOnly: true}
  - {name: secrets, mountPath: /run/secrets/veeam-auth, readOnly: true}
  {{- if eq .Values.mode "gateway" }}
  - {name: tls, mountPath: /run/secrets/tls, readOnly: true}
  {{- end }}
  - {name: data, mountPath: /data}
  - {name: config, mountPath: /config}
{{- end }}

{{- define "veeam-auth.volumes" -}}
- name: caddyfile
  configMap:
    name: {{ include "veeam-auth.name" . }}
- name: secrets
  secret:
    secretName: {{ .Values.account.existingSecret }}
    defaultMode: 0440
{{- if eq .Values.mode "gateway" }}
- name: tls
  secret:
    secretName: {{ .Values.gateway.tlsSecret }}
    defaultMode: 0440
{{- end }}
- name: data
  emptyDir: {}
- name: config
  emptyDir: {}
{{- end }}
