{{- /* How docs/api.md looks: one heading a type, one row a field, each rule in the words of its own message. */ -}}

{{- define "line" }}{{ . | trim | replace "\n" " " | replace "|" "\\|" }}{{ end -}}

{{- define "refusals" }}
	{{- /* A struct's own are under its own heading. */ -}}
	{{- $type := .Type }}
	{{- if $type.UnderlyingType }}{{ $type = $type.UnderlyingType }}{{ end }}
	{{- if not $type.Members }}
		{{- range index .Markers "kubebuilder:validation:XValidation" }}<br>Refusal: "{{ template "line" .Message }}"{{ end }}
	{{- end }}
	{{- range index .Markers "kubebuilder:validation:items:XValidation" }}<br>Refusal: "{{ template "line" .Message }}"{{ end }}
{{- end -}}

{{- define "bounds" }}
	{{- $bounds := list }}
	{{- range . }}
		{{- if not (regexMatch "^(Optional|Required|Enum|Pattern|(items:)?XValidation):" .) }}
			{{- $bounds = append $bounds (. | replace "items:" "each ") }}
		{{- end }}
	{{- end }}
	{{- join ", " $bounds }}
{{- end -}}

{{- define "type" }}
### {{ .Name }}

{{ .Doc | trim }}
{{- with index .Markers "kubebuilder:validation:XValidation" }}

Refusals:
{{ range . }}
- "{{ template "line" .Message }}"
{{- end }}
{{- end }}
{{- if .References }}

Used by{{ range $i, $t := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $t }}{{ end }}.
{{- end }}
{{- if .EnumValues }}

| value | meaning |
| --- | --- |
{{- range .EnumValues }}
| `{{ .Name }}` | {{ template "line" .Doc }} |
{{- end }}
{{- end }}
{{- if .Members }}

| field | type | meaning | bounds | default |
| --- | --- | --- | --- | --- |
{{- range .Members }}
{{- if ne .Name "metadata" }}
| `{{ .Name }}`{{ if index .Markers "required" }}, required{{ end }} | {{ markdownRenderType .Type }} | {{ template "line" .Doc }}{{ template "refusals" . }} | {{ template "bounds" .Validation }} | {{ with .Default }}{{ markdownRenderDefault . }}{{ end }} |
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{- define "gvList" -}}
# API reference

Written by `make docs` from the comments in `api/`; change it there.
{{ range . }}
## {{ .GroupVersionString }}
{{ range .SortedTypes }}
{{- if markdownShouldRenderType . }}
{{- template "type" . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
