// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/cel-go/cel"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestRateLimit_CELExpressions evaluates the expressions of docs/rate-limits.md on the metadata of a verifier.
func TestRateLimit_CELExpressions(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, list := w.newLimitedKeys(t, limits(10, v1alpha1.RateLimitMinute), map[string][]v1alpha1.RateLimit{"low": limits(2, v1alpha1.RateLimitMinute)})
	metadata := w.metadataOf(t, w.verifier(t).GRPC, w.materialOf(t, list["low"]))
	variables, err := cel.NewEnv(cel.Variable("extauthz", cel.MapType(cel.StringType, cel.DynType)))
	controlplanetest.Must(t, err)
	var got []any
	for expression := range strings.Lines(rateLimitBlocks(t, w.plane.Root(), "cel")[0]) {
		syntax, issues := variables.Compile(strings.TrimSpace(expression))
		controlplanetest.Must(t, issues.Err())
		program, err := variables.Program(syntax)
		controlplanetest.Must(t, err)
		value, _, err := program.Eval(map[string]any{"extauthz": metadata})
		controlplanetest.Must(t, err)
		got = append(got, value.Value())
	}
	if diff := cmp.Diff([]any{account, string(list["low"].UID), 2.0, "MINUTE", "none"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// metadataOf returns the dynamic metadata with which a verifier allows a request with a key.
func (w *suite) metadataOf(t *testing.T, verifier, material string) (metadata map[string]any) {
	t.Helper()
	connection, err := grpc.NewClient(verifier, grpc.WithTransportCredentials(insecure.NewCredentials()))
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", Headers: map[string]string{"x-api-key": material}},
	}}}
	controlplanetest.Until(t, "the verifier does not accept the key", func() bool {
		response, err := authv3.NewAuthorizationClient(connection).Check(t.Context(), request)
		controlplanetest.Must(t, err)
		metadata = response.GetDynamicMetadata().AsMap()
		return response.GetOkResponse() != nil
	})
	return metadata
}
