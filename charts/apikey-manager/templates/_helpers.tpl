{{- /*
SPDX-FileCopyrightText: The apikey-manager Authors
SPDX-License-Identifier: Apache-2.0
*/}}

{{- /*
The labels and annotations of an object, for its metadata. Takes a dictionary: root, and optionally component, labels and
annotations.
*/}}
{{- define "apikey-manager.meta" -}}
{{- $labels := dict "app.kubernetes.io/name" "apikey-manager" "app.kubernetes.io/part-of" "apikey-manager"
      "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) -}}
{{- with .component }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
labels:
  {{- mergeOverwrite (dict) .root.Values.commonLabels (.labels | default dict) $labels | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The labels of a pod. Takes a dictionary: root and component, which is a key of the values as well. */}}
{{- define "apikey-manager.podLabels" -}}
{{- $labels := dict "app.kubernetes.io/name" "apikey-manager" "app.kubernetes.io/part-of" "apikey-manager" "app.kubernetes.io/component" .component -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels (index .root.Values .component).podLabels $labels | toYaml }}
{{- end }}

{{- /* The annotations of a pod. Takes a dictionary: root and component. */}}
{{- define "apikey-manager.podAnnotations" -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" .component -}}
{{- mergeOverwrite $annotations .root.Values.commonAnnotations (index .root.Values .component).podAnnotations | toYaml }}
{{- end }}

{{- /* The image of a component, and when to pull it. Takes a dictionary: root and component. */}}
{{- define "apikey-manager.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := index $image.digests .component -}}
image: {{ $image.registry }}/{{ .component }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ with $digest }}@{{ . }}{{ end }}
{{- with $image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- /* The fields of a pod that say where it runs. Takes the values of the component. */}}
{{- define "apikey-manager.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The security contexts that the Pod Security Standard `restricted` requires. */}}
{{- define "apikey-manager.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "apikey-manager.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The name of the Secret with the certificate of the verifier, or nothing if the verifier serves without TLS. */}}
{{- define "apikey-manager.verifierSecret" -}}
{{- $tls := .Values.verifier.tls -}}
{{- $tls.secretName | default (ternary "apikey-verifier-tls" "" $tls.certificate.enabled) -}}
{{- end }}
