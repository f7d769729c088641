// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// authorize sends a request to the /authz endpoint of a verifier, as a gateway does, and returns VALID, or the status and code
// of the response. The requirements of the route are a query, such as scopes=a.
func authorize(t *testing.T, verifier *controlplane.Verifier, needs string, headers map[string]string) (code string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+verifier.HTTP+"/authz?"+needs, http.NoBody)
	if err != nil {
		return "", err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return "VALID", nil
	}
	var problem struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
	}
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil || problem.Status != response.StatusCode {
		return "", fmt.Errorf("a refusal with status %d that says %+v: %w", response.StatusCode, problem, err)
	}
	return fmt.Sprintf("%d %s", problem.Status, problem.Code), nil
}

// awaitVerdict waits until the verifier returns a verdict, after a change that it may not have received yet.
func (w *suite) awaitVerdict(t *testing.T, want string, verifier *controlplane.Verifier, needs string, headers map[string]string) {
	t.Helper()
	controlplanetest.Eventually(t, "the verifier answers "+want, func() error {
		got, err := authorize(t, verifier, needs, headers)
		if err != nil {
			return err
		}
		return controlplanetest.Equal(got, want)
	})
}

// expectVerdict fails the test unless the verifier returns a verdict at once.
func expectVerdict(t *testing.T, want string, verifier *controlplane.Verifier, needs string, headers map[string]string) {
	t.Helper()
	got, err := authorize(t, verifier, needs, headers)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the verifier answers %s, want %s", got, want)
	}
}

// keyHeader returns the headers of a request with a key in X-API-Key.
func keyHeader(material string) map[string]string { return map[string]string{"X-API-Key": material} }
