// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseKubeconfigs(t *testing.T) {
	t.Parallel()
	var tooMany []string
	for i := range maxClusters + 1 {
		tooMany = append(tooMany, "c"+strconv.Itoa(i)+"=f"+strconv.Itoa(i))
	}
	for name, tc := range map[string]struct {
		flags []string
		want  []kubeconfig
		err   string
	}{
		"none":                     {nil, []kubeconfig{{}}, ""},
		"an empty file":            {[]string{""}, []kubeconfig{{}}, ""},
		"one file":                 {[]string{"/etc/config"}, []kubeconfig{{file: "/etc/config"}}, ""},
		"a file with a sign":       {[]string{"/etc/a=b"}, []kubeconfig{{file: "/etc/a=b"}}, ""},
		"one name":                 {[]string{"eu=/etc/config"}, []kubeconfig{{"eu", "/etc/config"}}, ""},
		"two, and one of the pod":  {[]string{"eu=", "us-1=/a=b"}, []kubeconfig{{"eu", ""}, {"us-1", "/a=b"}}, ""},
		"two without names":        {[]string{"/a", "/b"}, nil, "must be NAME=FILE if there are several"},
		"one of two without names": {[]string{"eu=/a", "/b"}, nil, "must be NAME=FILE if there are several"},
		"a name in upper case":     {[]string{"EU=/a", "us=/b"}, nil, "must be NAME=FILE if there are several"},
		"a name with an at sign":   {[]string{"a@b=/a", "us=/b"}, nil, "must be NAME=FILE if there are several"},
		"a long name":              {[]string{strings.Repeat("a", 64) + "=/a", "us=/b"}, nil, "must be NAME=FILE if there are several"},
		"the same name":            {[]string{"eu=/a", "eu=/b"}, nil, "must not have the same name"},
		"the same file":            {[]string{"eu=/a", "us=/a"}, nil, "must not have the same file"},
		"the pod twice":            {[]string{"eu=", "us="}, nil, "must not have the same file"},
		"too many":                 {tooMany, nil, "too many clusters: 33, must be at most 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseKubeconfigs(tc.flags)
			switch {
			case tc.err == "" && err != nil, tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("the error is %v, want %q", err, tc.err)
			case err == nil && !slices.Equal(got, tc.want):
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

const config = `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
  clusters: [{name: c, cluster: {server: "https://eu.example.com", certificate-authority: ca.crt}}], users: [{name: u, user: {tokenFile: token}}]}`

// An empty file must not select the cluster of the pod.
func TestKubeconfig_Load(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"config": config, "empty": "", "other": "clusters: 5", "ca.crt": "", "token": "t"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "pod.example.com")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	t.Setenv("KUBERNETES_MASTER", "https://master.example.com")
	for _, file := range []string{"empty", "other", "absent"} {
		for _, cluster := range []string{"", "eu"} {
			if config, err := (kubeconfig{cluster, filepath.Join(dir, file)}).load(); err == nil {
				t.Errorf("%s: loaded %s", file, config.Host)
			}
		}
	}
	got, err := kubeconfig{"eu", filepath.Join(dir, "config")}.load()
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://eu.example.com" || got.BearerTokenFile != filepath.Join(dir, "token") || got.QPS != -1 {
		t.Errorf("got %+v", got)
	}
}
