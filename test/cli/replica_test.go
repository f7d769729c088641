// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// polled holds a verifier that the manager polls, so that it reports whether every verifier rejects a key.
type polled struct {
	mu       sync.Mutex
	verifier *controlplane.Verifier
}

// replica returns the verifier that the manager polls. It starts it at the first call.
func (s *suite) replica(t *testing.T) *controlplane.Verifier {
	t.Helper()
	s.polled.mu.Lock()
	defer s.polled.mu.Unlock()
	if s.polled.verifier == nil {
		s.polled.verifier = s.verifiers.StartReplica(t, s.Admin)
	}
	return s.polled.verifier
}

// pollFlags returns the flags with which the manager polls the verifiers.
func (s *suite) pollFlags(ctx context.Context) ([]string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{controlplanetest.VerifierService}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.Plane.Namespace(), Name: "apikey-manager"}}
	if err := s.Admin.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("request a token: %w", err)
	}
	file := filepath.Join(s.Plane.Dir(), "poll-token")
	service := s.Plane.Namespace() + "/" + controlplanetest.VerifierService
	return []string{"--verifier-service=" + service, "--verifier-token-file=" + file}, os.WriteFile(file, []byte(request.Status.Token), 0o600)
}
