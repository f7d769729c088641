#!/bin/sh
# SPDX-FileCopyrightText: The apikey-manager Authors
# SPDX-License-Identifier: Apache-2.0

# Writes the configuration of Envoy's filter api_key_auth to a file, from all Secrets of a KeyExport, whenever one of them
# changes. Run it next to Envoy, in a container with sh and kubectl that shares a volume with it (emptyDir with medium: Memory).
# It reads Secrets from the API server: a mounted Secret is updated up to a minute or two later.
#
#   NAMESPACE=gateway SELECTOR=gateway.example.com/keys=envoy FILE=/run/api-keys/filter.yaml sh api-keys.sh
set -eu
umask 027

# Envoy rejects the whole file, and keeps what it has, if a key is in it twice or is empty. Neither arises from a KeyExport.
filter='resources:
  - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: api-keys
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
      # A key in Authorization may be preceded by "Bearer ", if you add this header. Envoy then removes the header from requests
      # with a key in another one, too.
      key_sources: [{header: X-API-Key}]
      # The application receives the ID of the key, which the client cannot forge, and not the key.
      forwarding: {header: X-Apikey-Id, hide_credentials: true}
      credentials:
{{- range .items }}{{ range $id, $key := .data }}
        - {client: {{ printf "%q" $id }}, key: {{ printf "%q" (base64decode $key) }}}
{{- end }}{{ end }}
'

write() {
  if kubectl get secrets --namespace "$NAMESPACE" --selector "$SELECTOR" --output go-template="$filter" >"$FILE.new"; then
    mv "$FILE.new" "$FILE"
  fi
}

# A watch may break without a sign, so begin another one every minute. It prints a line for each Secret that exists or changes.
while true; do
  write
  timeout 60 kubectl get secrets --namespace "$NAMESPACE" --selector "$SELECTOR" --watch --output name |
    while read -r _; do write; done
done
