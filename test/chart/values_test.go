// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A wrong value is refused, and the message names the value.
func TestValues_Refused(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"manager.replica=3":                                           "at '/manager': additional properties 'replica' not allowed",
		"smtp.password=secret":                                        "at '/smtp': additional properties 'password' not allowed",
		"images.tag=v1":                                               "additional properties 'images' not allowed",
		"verifier.tls.certificate.issuer=x":                           "at '/verifier/tls/certificate': additional properties 'issuer' not allowed",
		"manager.replicas=0":                                          "at '/manager/replicas': minimum: got 0, want 1",
		"manager.replicas=two":                                        "at '/manager/replicas': got string, want integer",
		"image.pullPolicy=Sometimes":                                  "at '/image/pullPolicy': value must be one of",
		"image.registry=https://example.com/":                         "at '/image/registry': 'https://example.com/' does not match pattern",
		"image.digests.manager=sha256:abc":                            "at '/image/digests/manager': 'sha256:abc' does not match pattern",
		"verifier.keySources[0]=X-API-Key":                            "at '/verifier/keySources/0': 'X-API-Key' does not match pattern",
		"verifier.trustedProxies[0]=proxy.example.com":                "at '/verifier/trustedProxies/0': 'proxy.example.com' does not match",
		"verifier.maxFailuresPerClient=60/minute":                     "at '/verifier/maxFailuresPerClient': '60/minute' does not match",
		"verifier.metadataHeaders.team=X-Team":                        "at '/verifier/metadataHeaders/team': 'X-Team' does not match",
		"verifier.metadataHeaders.cost_center=X-Apikey-Cost":          "at '/verifier/metadataHeaders': additional properties 'cost_center' not allowed",
		"verifier.kubeconfigs[0].name=EU":                             "at '/verifier/kubeconfigs/0/name': 'EU' does not match pattern",
		"verifier.kubeconfigs[0].secretName=us":                       "at '/verifier/kubeconfigs/0': missing property 'name'",
		"watchNamespaces[0]=shop/*":                                   "at '/watchNamespaces/0': 'shop/*' does not match pattern",
		"watchNamespaces={shop\\,shop}":                               "at '/watchNamespaces",
		"smtp.host=mail.example.com":                                  "at '/smtp/from': minLength: got 0, want 1",
		"smtp.host=mail.example.com:25":                               "at '/smtp/host': 'mail.example.com:25' does not match pattern",
		"smtp.tls=ssl":                                                "at '/smtp/tls': value must be one of",
		"verifier.tls.certificate.enabled=true":                       "at '/verifier/tls/certificate/issuerRef/name': minLength: got 0, want 1",
		"verifier.tls.clientCA.secretName=clients":                    "at '/verifier/tls/secretName': minLength: got 0, want 1",
		"networkPolicy.apiServerPorts[0]=70000":                       "at '/networkPolicy/apiServerPorts/0': maximum: got 70,000, want 65,535",
		"verifier.goMemLimit=320M":                                    "at '/verifier/goMemLimit': '320M' does not match pattern",
		"manager.extraArgs[0]=default-max-keys=3":                     "at '/manager/extraArgs/0': 'default-max-keys=3' does not match pattern",
		"manager.extraEnv[0].name=POD_NAMESPACE":                      "at '/manager/extraEnv/0/name': 'not' failed",
		`commonLabels.app\.kubernetes\.io/name=x`:                     "at '/commonLabels/app.kubernetes.io~1name': false schema",
		`manager.podLabels.app\.kubernetes\.io/component=verifier`:    "at '/manager/podLabels/app.kubernetes.io~1component': false schema",
		"verifier.autoscaling.minReplicas=11":                         "verifier.autoscaling.minReplicas is larger than maxReplicas",
		"manager.topologySpreadConstraints[0].topologyKey=zone":       "at '/manager/topologySpreadConstraints/0': missing properties 'maxSkew'",
		"accountUse=false":                                            "at '/accountUse': got boolean, want object",
		"keyExports.enabled=true":                                     "at '/keyExports': additional properties 'enabled' not allowed",
		"keyExports.policy.enabled=off":                               "at '/keyExports/policy/enabled': got string, want boolean",
		"keyExports.configMapNamespaces[0]=*":                         "at '/keyExports/configMapNamespaces/0': '*' does not match pattern",
		"keyExports.configMapNamespaces={a\\,a}":                      "at '/keyExports/configMapNamespaces",
		"watchNamespaces={a},keyExports.configMapNamespaces={b}":      "keyExports.configMapNamespaces has b, which watchNamespaces does not have",
		"crds.keep=no-thanks":                                         "at '/crds/keep': got string, want boolean",
		"grafanaDashboard.labels.grafana_dashboard=1":                 "at '/grafanaDashboard/labels/grafana_dashboard': got number, want string",
		"imagePullSecrets[0]=my-registry":                             "at '/imagePullSecrets/0': got string, want object",
		"verifier.extraVolumeMounts[0].name=x":                        "at '/verifier/extraVolumeMounts/0': missing property 'mountPath'",
		"serviceMonitor.enabled=true,serviceMonitor.interval=quickly": "at '/serviceMonitor/interval': 'quickly' does not match pattern",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", release, chartDir(t), "--set", set)
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("got %v, want %q:\n%.2000s", err, want, out)
			}
		})
	}
}

// Each value has a schema, and each property of the schema a default value.
func TestSchema_DescribesAllValues(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(chartDir(t), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(filepath.Join(chartDir(t), "values.schema.json")); err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema["properties"].(map[string]any), "global") // helm sets it if this chart is a dependency
	compare(t, "values", values, schema, schema["$defs"].(map[string]any))
}

// compare compares the keys of a mapping with the properties of its schema.
func compare(t *testing.T, path string, value any, schema, definitions map[string]any) {
	t.Helper()
	if ref, found := schema["$ref"].(string); found {
		schema = definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	properties, found := schema["properties"].(map[string]any)
	if _, free := schema["additionalProperties"].(map[string]any); !found || free {
		return // a value whose form Kubernetes defines
	}
	if schema["additionalProperties"] != false {
		t.Errorf("%s accepts properties that do not exist", path)
	}
	mapping := value.(map[string]any)
	for key := range properties {
		if _, found := mapping[key]; !found {
			t.Errorf("%s.%s has no default value", path, key)
		}
	}
	for key, inner := range mapping {
		property, found := properties[key].(map[string]any)
		if !found {
			t.Errorf("%s.%s has no schema", path, key)
			continue
		}
		compare(t, path+"."+key, inner, property, definitions)
	}
}
