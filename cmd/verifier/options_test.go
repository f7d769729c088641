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
		"as they come":                   {nil, ""},
		"several places for a key":       {[]string{"--key-source=header:X-API-Key", "--key-source=query:api_key"}, ""},
		"no place for a key":             {[]string{"--key-source=body"}, `--key-source: "body" is no place for a key: give header:NAME`},
		"no proxy":                       {[]string{"--trusted-proxy=gateway"}, `--trusted-proxy: "gateway" is no proxy: give an address`},
		"a certificate without its key":  {[]string{"--tls-cert-file=a"}, "--tls-cert-file and --tls-key-file: give both or none"},
		"clients' authority without TLS": {[]string{"--tls-client-ca-file=a"}, "--tls-client-ca-file: give --tls-cert-file"},
		"a share above 1":                {[]string{"--audit-sample=5"}, "--audit-sample is 5: give a share from 0 to 1"},
		"a share that is no number":      {[]string{"--audit-sample=NaN"}, "--audit-sample is NaN: give a share from 0 to 1"},
		"no accounts":                    {[]string{"--account-metrics-limit=0"}, "--account-metrics-limit is 0: give at least 1"},
		"a header with a space":          {[]string{"--account-header=X FF"}, `--account-header: invalid account header "X FF": must be a header's name`},
		"a header with an external ID":   {[]string{"--account-header=X-FF-Company:externalID"}, ""},
		"a header with a name":           {[]string{"--account-header=X-FF-Company:name"}, ""},
		"a header with something else":   {[]string{"--account-header=X-FF-Company:id"}, `--account-header: invalid account header "X-FF-Company:id": what it holds must be name or externalID`},
		"no header, but what it holds":   {[]string{"--account-header=:externalID"}, `--account-header: invalid account header ":externalID": must be a header's name`},
		"a realm with quotes":            {[]string{`--realm=a"b`}, `--realm is "a\"b": give letters`},
		"a drain into the past":          {[]string{"--drain-delay=-1s"}, "--drain-delay is -1s: give 0s or longer"},
		"a staleness":                    {[]string{"--max-staleness=5m"}, ""},
		"a staleness that is too short":  {[]string{"--max-staleness=1s"}, "--max-staleness is 1s: give at least 5s, or 0"},
		"fewer connections than none":    {[]string{"--max-connections=-1"}, "--max-connections is -1: give at least 1, or 0"},
		"extensions of others":           {[]string{"--ignore-extensions=a,b"}, ""},
		"an extension of ours":           {[]string{"--ignore-extensions=a,scopes"}, "--ignore-extensions is a,scopes: leave scopes, account, externalID and preflight out"},
		"no time to end":                 {[]string{"--shutdown-timeout=0s"}, "--shutdown-timeout is 0s: give more than 0s, such as 10s"},
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
		"nothing is said":     {[]string{"HOME=/", "OTEL_SERVICE_NAME=verifier"}, false},
		"where to, and empty": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT="}, false},
		"where to":            {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317"}, true},
		"where to with spans": {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4317"}, true},
		"switched off":        {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317", "OTEL_SDK_DISABLED=true"}, false},
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
