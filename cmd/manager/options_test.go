// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// parseOptions returns the options for the given arguments.
func parseOptions(t *testing.T, arguments ...string) (*options, error) {
	t.Helper()
	o := &options{}
	flags := pflag.NewFlagSet(t.Name(), pflag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(arguments); err != nil {
		t.Fatal(err)
	}
	return o, o.validate()
}

func TestOptions_WatchNamespaces(t *testing.T) {
	t.Parallel()
	o, err := parseOptions(t, "--watch-namespaces=shop,billing")
	if err != nil || !slices.Equal(o.settings().Namespaces, []string{"shop", "billing"}) {
		t.Errorf("got %v, %v", o.settings().Namespaces, err)
	}
	for object, by := range cacheOptions(*o) {
		if _, isSecret := object.(*corev1.Secret); isSecret && (len(by.Namespaces) != 2 || by.Label == nil) {
			t.Errorf("Secrets are cached in %v", by.Namespaces)
		}
	}
	for _, wrong := range []string{"shop,", "*", "shop/x", "Shop"} {
		if _, err := parseOptions(t, "--watch-namespaces="+wrong); err == nil || !strings.HasPrefix(err.Error(), "invalid --watch-namespaces") {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
}

// TestOptions_ExportConfigMapNamespaces: ConfigMaps are watched in the listed namespaces only, and not at all without one.
func TestOptions_ExportConfigMapNamespaces(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]int{"": 0, "--export-configmap-namespaces=gateway,edge": 2} {
		o, err := parseOptions(t, strings.Fields(arguments)...)
		if err != nil {
			t.Fatal(err)
		}
		watched := 0
		for object, by := range cacheOptions(*o) {
			if _, isConfigMap := object.(*corev1.ConfigMap); isConfigMap {
				if watched = len(by.Namespaces); by.Label == nil || watched == 0 {
					t.Errorf("ConfigMaps are cached in %v", by.Namespaces)
				}
			}
		}
		if watched != want {
			t.Errorf("%q: ConfigMaps are cached in %d namespaces, want %d", arguments, watched, want)
		}
	}
	for _, wrong := range []string{"shop,", "*", "shop/x", "Shop"} {
		_, err := parseOptions(t, "--export-configmap-namespaces="+wrong)
		if err == nil || !strings.HasPrefix(err.Error(), "invalid --export-configmap-namespaces") {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
}

func TestOptions_VerifierService(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		arguments []string
		want      string // namespace/name, or the prefix of the error
		refused   bool
	}{
		"namespace and name": {
			[]string{"--verifier-service=apikey-manager-system/apikey-verifier"},
			"apikey-manager-system/apikey-verifier",
			false,
		},
		"no namespace": {[]string{"--verifier-service=apikey-verifier"}, "invalid --verifier-service", true},
		"no name":      {[]string{"--verifier-service=apikey-manager-system/"}, "invalid --verifier-service", true},
		"too much":     {[]string{"--verifier-service=a/b/c"}, "invalid --verifier-service", true},
		"no port":      {[]string{"--verifier-service=a/b", "--verifier-port-name="}, "invalid --verifier-port-name", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions(t, tc.arguments...)
			if (err != nil) != tc.refused || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
				t.Fatalf("got %v", err)
			}
			if v := o.verifiers(nil); !tc.refused && (v == nil || v.Service.String() != tc.want || v.Port != "usage") {
				t.Errorf("got verifiers %+v", v)
			}
		})
	}
}

func TestOptions_AccountCreationDelay(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]time.Duration{
		"": 5 * time.Second, "--account-creation-delay=0s": 0,
		"--account-creation-delay=1m": time.Minute,
	} {
		o, err := parseOptions(t, slices.DeleteFunc([]string{argument}, func(a string) bool { return a == "" })...)
		if err != nil || o.settings().AccountCreationDelay != want {
			t.Errorf("%q: waits %s, %v", argument, o.settings().AccountCreationDelay, err)
		}
	}
	if _, err := parseOptions(t, "--account-creation-delay=-1s"); err == nil ||
		!strings.HasPrefix(err.Error(), "invalid --account-creation-delay -1s: must not be negative") {
		t.Errorf("got %v", err)
	}
}

func TestOptions_NoVerifierMeansNoPolling(t *testing.T) {
	t.Parallel()
	o, err := parseOptions(t)
	if err != nil {
		t.Fatal(err)
	}
	if v := o.verifiers(nil); v != nil {
		t.Errorf("got verifiers %+v", v)
	}
	for object := range cacheOptions(*o) {
		if _, ok := object.(*discoveryv1.EndpointSlice); ok {
			t.Error("EndpointSlices are watched")
		}
	}
}

func TestOptions_ReservedMetadataPrefixes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		arguments []string
		want      []string // nil if the value is invalid
	}{
		"defaults to Argo CD": {nil, []string{"argocd.argoproj.io"}},
		"several":             {[]string{"--reserved-metadata-prefixes=istio,cert-manager.io"}, []string{"istio", "cert-manager.io"}},
		"none":                {[]string{"--reserved-metadata-prefixes="}, []string{}},
		"a slash too many":    {[]string{"--reserved-metadata-prefixes=argocd.argoproj.io/"}, nil},
		"capitals":            {[]string{"--reserved-metadata-prefixes=Example.com"}, nil},
		"a wildcard":          {[]string{"--reserved-metadata-prefixes=*.example.com"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions(t, tc.arguments...)
			if tc.want == nil {
				if err == nil || !strings.HasPrefix(err.Error(), "invalid --reserved-metadata-prefixes ") {
					t.Errorf("got %v, want an error that names the flag", err)
				}
				return
			}
			if got := o.settings().ReservedDomains; err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

func TestOptions_WebhookClient(t *testing.T) {
	t.Parallel()
	if _, err := parseOptions(t, "--webhook-client-name=kube-apiserver"); err == nil ||
		!strings.Contains(err.Error(), "--webhook-client-ca-file") {
		t.Errorf("a client name without a CA: got %v", err)
	}
	if _, err := parseOptions(t, "--webhook-client-name=kube-apiserver", "--webhook-client-ca-file=ca.crt"); err != nil {
		t.Error(err)
	}
}
