{{- $entries := slice }}
{{- range site.RegularPages }}
{{- $entries = $entries | append (dict "url" (strings.TrimPrefix "/" .RelPermalink) "title" (partial "title.html" .) "text" (.Plain | htmlUnescape)) }}
{{- end -}}
window.searchIndex = {{ $entries | jsonify }};
