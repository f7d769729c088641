// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestAPIKeyAuth_EnvoyGatewayRules checks the rules of Envoy Gateway on which KeyExports and the sample rely, with Secrets of the test.
func TestAPIKeyAuth_EnvoyGatewayRules(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serve(t, &exportEnvoyGateway, "", "- name: envoy-gateway-keys", "- name: rules-keys")
	w.applySecret(t, "rules-keys", "", map[string]string{"one": "first"})
	w.applySecret(t, "rules-orders", "", map[string]string{"two": "second"})
	w.apply(t, ordersRoute)
	t.Cleanup(func() { w.kubectl(t, "delete", "httproute,securitypolicy", "orders", "-n", exportNamespace) })
	f.awaitStatus(t, "first", http.StatusOK)
	w.expectPolicyAccepted(t, "api-keys")
	orders := &runningGateway{gateway: f.gateway, url: f.url + "/orders", application: f.application}
	orders.awaitStatus(t, "second", http.StatusOK)
	orders.awaitStatus(t, "first", http.StatusUnauthorized)
	t.Run("an empty Secret denies all requests", func(t *testing.T) {
		w.applySecret(t, "rules-keys", "", nil)
		f.awaitStatus(t, "first", http.StatusUnauthorized)
		controlplanetest.Must(t, f.expectStatus(t, "second", http.StatusUnauthorized))
	})
	t.Run("it would admit the keys of another route without the Secret no-client", func(t *testing.T) {
		w.patchPolicy(t, `[{"op":"remove","path":"/spec/apiKeyAuth/credentialRefs/1"}]`)
		f.awaitStatus(t, "second", http.StatusOK)
		w.patchPolicy(t, `[{"op":"add","path":"/spec/apiKeyAuth/credentialRefs/1","value":{"name":"no-client"}}]`)
		f.awaitStatus(t, "second", http.StatusUnauthorized)
	})
	t.Run("a key that is there twice fails all requests", func(t *testing.T) {
		w.applySecret(t, "rules-keys", "", map[string]string{"one": "first", "two": "first"})
		f.awaitStatus(t, "first", http.StatusInternalServerError)
		w.applySecret(t, "rules-keys", "", map[string]string{"one": "first", "two": "another"})
		f.awaitStatus(t, "first", http.StatusOK)
	})
	t.Run("a missing Secret fails all requests", func(t *testing.T) {
		w.kubectl(t, "delete", "secret", "rules-keys", "-n", exportNamespace)
		f.awaitStatus(t, "first", http.StatusInternalServerError)
	})
}

// ordersRoute is a route with keys of its own.
const ordersRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: gateway, name: orders}
spec:
  parentRefs: [{name: api}]
  rules: [{matches: [{path: {type: PathPrefix, value: /orders}}], backendRefs: [{name: application, port: 8090}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {namespace: gateway, name: orders}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]
  apiKeyAuth:
    credentialRefs: [{name: rules-orders}]
    extractFrom: [{headers: [X-API-Key]}]
`

// applySecret lets a Secret have exactly these entries.
func (w *suite) applySecret(t *testing.T, name, label string, entries map[string]string) {
	t.Helper()
	text := "apiVersion: v1\nkind: Secret\nmetadata: {namespace: gateway, name: " + name + ", labels: {" + label + "}}\ndata:\n"
	for entry, value := range entries {
		text += "  " + entry + ": " + base64.StdEncoding.EncodeToString([]byte(value)) + "\n"
	}
	w.apply(t, text)
}

func (w *suite) patchPolicy(t *testing.T, patch string) {
	t.Helper()
	w.kubectl(t, "patch", "securitypolicy", "api-keys", "-n", exportNamespace, "--type=json", "-p", patch)
}

func (w *suite) expectPolicyAccepted(t *testing.T, name string) {
	t.Helper()
	controlplanetest.Until(t, "it is not accepted", func() bool {
		return strings.TrimSpace(w.kubectl(t, "get", "securitypolicies", name, "-n", exportNamespace, "-o",
			`jsonpath={.status.ancestors[*].conditions[?(@.type=="Accepted")].status}`)) == "True"
	})
}
