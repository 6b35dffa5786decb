{{- define "vnode.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "vnode.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vnode.labels" -}}
{{ include "vnode.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* How many of the pool run. */ -}}
{{- define "vnode.replicas" -}}
{{- $n := .Values.pool.size | int -}}
{{- if not (kindIs "invalid" .Values.replicas) }}{{ $n = .Values.replicas | int }}{{ end -}}
{{- if gt $n (.Values.pool.size | int) }}{{ fail (printf "replicas is %d, but the pool has %d nodes: main and jicofo know no others" $n (.Values.pool.size | int)) }}{{ end -}}
{{- $n -}}
{{- end }}

{{- /* The admin addresses of all nodes of the pool. A node leaves itself out. */ -}}
{{- define "vnode.others" -}}
{{- $all := list -}}
{{- range $i := until (.Values.pool.size | int) -}}
{{- $all = append $all (printf "%s-%d.%s:9280" (include "vnode.name" $) (add $i $.Values.pool.first) (include "vnode.name" $)) -}}
{{- end -}}
{{- join "," $all -}}
{{- end }}

{{- /* Nine tenths of a memory limit such as 512Mi or 2Gi, as Go has it. */ -}}
{{- define "vnode.gomemlimit" -}}
{{- $limit := . | toString -}}
{{- $n := regexFind "^[0-9]+" $limit | int64 -}}
{{- $unit := regexFind "[A-Za-z]*$" $limit -}}
{{- if eq $unit "Gi" }}{{ div (mul $n 1024 9) 10 }}MiB{{ else if eq $unit "Mi" }}{{ div (mul $n 9) 10 }}MiB
{{- else if eq $unit "Ki" }}{{ div (mul $n 9) 10 }}KiB{{ else if eq $unit "" }}{{ div (mul $n 9) 10 }}B
{{- else }}{{ fail (printf "resources.limits.memory: write %s with Mi or Gi" $limit) }}{{ end -}}
{{- end }}

{{- define "vnode.focusSecret" -}}
{{- .Values.focus.existingSecret | default (ternary (printf "%s-focus" (include "vnode.name" .)) "" (ne .Values.focus.password "")) -}}
{{- end }}

{{- define "vnode.adminSecret" -}}
{{- .Values.admin.existingSecret | default (ternary (printf "%s-admin" (include "vnode.name" .)) "" (ne .Values.admin.token "")) -}}
{{- end }}
