{{/* Labels of every object; what else an object has stands beside them. */}}
{{- define "mesh.labels" -}}
app.kubernetes.io/part-of: mesh
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The tag of the images: as the values say, else the version that this chart is of. */}}
{{- define "mesh.tag" -}}
{{ if .Values.images.tag }}{{ .Values.images.tag }}{{ else }}{{ .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The namespace of the Secret with a certificate authority that is given. */}}
{{- define "mesh.authority" -}}
{{ if .Values.controller.caSecret.namespace -}}
{{ .Values.controller.caSecret.namespace }}
{{- else -}}
{{ .Release.Namespace }}
{{- end }}
{{- end }}
