// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"defaults":                        {nil, ""},
		"several key sources":             {[]string{"--key-source=header:X-API-Key", "--key-source=query:api_key"}, ""},
		"an invalid key source":           {[]string{"--key-source=body"}, `--key-source: invalid key source "body": must be header:NAME`},
		"an invalid proxy":                {[]string{"--trusted-proxy=gateway"}, `--trusted-proxy: invalid proxy "gateway": must be an address`},
		"a certificate without its key":   {[]string{"--tls-cert-file=a"}, "invalid --tls-cert-file and --tls-key-file: must be set together"},
		"a client CA without TLS":         {[]string{"--tls-client-ca-file=a"}, "invalid --tls-client-ca-file: requires --tls-cert-file"},
		"a fraction above 1":              {[]string{"--audit-sample=5"}, "invalid --audit-sample 5: must be from 0 to 1"},
		"a fraction that is not a number": {[]string{"--audit-sample=NaN"}, "invalid --audit-sample NaN: must be from 0 to 1"},
		"a limit of no accounts":          {[]string{"--account-metrics-limit=0"}, "invalid --account-metrics-limit 0: must be at least 1"},
		"a header with a space": {
			[]string{"--account-header=X FF"},
			`--account-header: invalid account header "X FF": must be the name of a header`,
		},
		"a header with an external ID": {[]string{"--account-header=X-FF-Company:externalID"}, ""},
		"a header with a name":         {[]string{"--account-header=X-FF-Company:name"}, ""},
		"a header with something else": {
			[]string{"--account-header=X-FF-Company:id"},
			`--account-header: invalid account header "X-FF-Company:id": must end with :name or :externalID`,
		},
		"no header name": {
			[]string{"--account-header=:externalID"},
			`--account-header: invalid account header ":externalID": must be the name of a header`,
		},
		"headers with metadata": {[]string{"--metadata-header=team=X-Apikey-Team", "--metadata-header=tier=X-Apikey-Tier"}, ""},
		"a header with metadata of another family": {
			[]string{"--metadata-header=team=X-Team"},
			`--metadata-header: invalid metadata header "team=X-Team": must end with the name of a header that begins with X-Apikey-`,
		},
		"a realm with quotes":              {[]string{`--realm=a"b`}, `invalid --realm "a\"b": must consist of ASCII letters`},
		"a negative drain delay":           {[]string{"--drain-delay=-1s"}, "invalid --drain-delay -1s: must not be negative"},
		"a staleness":                      {[]string{"--max-staleness=5m"}, ""},
		"a staleness that is too short":    {[]string{"--max-staleness=1s"}, "invalid --max-staleness 1s: must be at least 5s, or 0"},
		"a negative number of connections": {[]string{"--max-connections=-1"}, "invalid --max-connections -1: must be at least 1, or 0"},
		"other extensions":                 {[]string{"--ignore-extensions=a,b"}, ""},
		"an extension of the verifier": {
			[]string{"--ignore-extensions=a,scopes"},
			"invalid --ignore-extensions a,scopes: must not contain scopes, account, externalID or preflight",
		},
		"a rate of failures": {[]string{"--max-failures-per-client=60/min"}, ""},
		"a rate without a unit": {
			[]string{"--max-failures-per-client=60"},
			`--max-failures-per-client: invalid rate "60": must be COUNT/UNIT such as 60/min`,
		},
		"no time to shut down": {[]string{"--shutdown-timeout=0s"}, "invalid --shutdown-timeout 0s: must be positive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := newCommand()
			if err := cmd.ParseFlags(tc.args); err != nil {
				t.Fatal(err)
			}
			err := cmd.PreRunE(cmd, nil)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestIsTracingEnabled(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environment []string
		want        bool
	}{
		"no endpoint":         {[]string{"HOME=/", "OTEL_SERVICE_NAME=verifier"}, false},
		"where to, and empty": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT="}, false},
		"where to":            {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317"}, true},
		"where to with spans": {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4317"}, true},
		"disabled":            {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317", "OTEL_SDK_DISABLED=true"}, false},
		"none of them":        {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317", "OTEL_TRACES_EXPORTER=none"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := isTracingEnabled(tc.environment); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
