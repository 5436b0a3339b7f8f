{{- define "hafnium-exporter.name" -}}
{{- .Values.name | default .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{- define "hafnium-exporter.selector" -}}
app.kubernetes.io/name: hafnium-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hafnium-exporter.labels" -}}
app: hafnium-exporter
{{ include "hafnium-exporter.selector" . }}
app.kubernetes.io/part-of: hafnium
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "hafnium-exporter.metadata" -}}
name: {{ printf "%s%s" (include "hafnium-exporter.name" .root) .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "hafnium-exporter.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Whether the pod talks to the API server: by its configuration, or for the Lease. */ -}}
{{- define "hafnium-exporter.token" -}}
{{- if or .Values.kubernetes.enabled (eq .Values.mode "leader") }}true{{ end }}
{{- end }}

{{- define "hafnium-exporter.config" -}}
{{- $text := .Values.config | default (.Files.Get "files/exporter.yml") -}}
{{- if and .Values.kubernetes.nodes (not .Values.config) }}
{{- $text = regexReplaceAll "(?m)^ +kubernetes: \\{skip: \\[nodes\\]\\}.*\n" $text "" }}
{{- end }}
{{- $text | trimSuffix "\n" }}
{{- if and (ne .Values.mode "single") (regexMatch "(?m)^sharing:" $text) }}
{{- fail "config has a section sharing: the chart writes it, as mode and replicas say" }}
{{- end }}
{{- if and (not .Values.kubernetes.enabled) (regexMatch "(?m)^kubernetes:" $text) }}
{{- fail "kubernetes.enabled is false, and the configuration has a section kubernetes: bring one without, as config" }}
{{- end }}
{{- if eq .Values.mode "leader" }}

# Several exporters run: see docs/kubernetes.md.
sharing:
  lease:
    name: {{ include "hafnium-exporter.name" . }}
    peers: {dns: "{{ include "hafnium-exporter.name" . }}-peers.${NAMESPACE}.svc"} # asked while the API server cannot be reached
{{- else if eq .Values.mode "shards" }}

# Several exporters run: see docs/kubernetes.md.
sharing:
  shards: {count: "${SHARDS}"} # as many as there are replicas; each knows its own by its number
{{- end }}
{{ end }}

{{- define "hafnium-exporter.role" -}}
{{- $name := include "hafnium-exporter.name" .root -}}
{{- $all := .root.Files.Get "files/permissions.yaml" | fromYaml -}}
{{- $cluster := eq .purpose "nodes" -}}
{{- $suffix := eq .purpose "state" | ternary "" (printf "-%s" .purpose) -}}
{{- $role := eq .purpose "nodes" | ternary (printf "%s-%s%s" .root.Release.Namespace $name $suffix) (printf "%s%s" $name $suffix) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $cluster | ternary "ClusterRole" "Role" }}
metadata:
  name: {{ $role }}
  {{- if not $cluster }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "hafnium-exporter.labels" .root | nindent 4 }}
rules:
  {{- range index $all .purpose }}
  - apiGroups: {{ toJson .apiGroups }}
    resources: {{ toJson .resources }}
    {{- if .resourceNames }}
    resourceNames: [{{ $name }}]
    {{- else if and (eq $.purpose "certificates") $.root.Values.kubernetes.certificateSecrets }}
    resourceNames: {{ toJson $.root.Values.kubernetes.certificateSecrets }}
    {{- end }}
    verbs: {{ toJson .verbs }}
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $cluster | ternary "ClusterRoleBinding" "RoleBinding" }}
metadata:
  name: {{ $role }}
  {{- if not $cluster }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "hafnium-exporter.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $cluster | ternary "ClusterRole" "Role" }}
  name: {{ $role }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
