// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package smoketest tests an installation from inside the cluster: it has the manager issue a key, and asks the verifier about it.
package smoketest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Name is the name of the Account, the APIKey and the Secret of the test.
const Name = "apikey-manager-smoke-test"

const (
	pollInterval   = 200 * time.Millisecond
	requestTimeout = 5 * time.Second
	cleanTimeout   = 30 * time.Second
	// maxResponse limits what is read of a response.
	maxResponse = 1 << 16
)

// Test is a test of an installation.
type Test struct {
	// Client creates, reads and deletes the objects of the test.
	Client client.Client
	// HTTP sends the requests to the verifier.
	HTTP *http.Client
	// Verifier is the URL of the verifier, such as http://apikey-verifier.apikey-manager-system.svc:8080.
	Verifier string
	// Namespace is the namespace of the key.
	Namespace string
	// Out receives a line for each step. No line contains the key.
	Out io.Writer
}

// Run runs the test until ctx is done. It first deletes what an earlier run left behind, and at the end what it created.
func (t *Test) Run(ctx context.Context) error {
	if err := t.clean(ctx); err != nil {
		return err
	}
	err := t.issueAndVerify(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout) // also if the test ran out of time
	defer cancel()
	return errors.Join(err, t.clean(ctx))
}

func (t *Test) key() *v1alpha1.APIKey {
	return &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: Name},
		Spec:       v1alpha1.APIKeySpec{Account: Name, Label: "Smoke test"},
	}
}

func (t *Test) account() *v1alpha1.Account {
	return &v1alpha1.Account{
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Spec:       v1alpha1.AccountSpec{DeletionPolicy: v1alpha1.DeletionAllow},
	}
}

// issueAndVerify creates a key, and checks that the verifier accepts it, rejects another one, and rejects the key as soon as it is
// inactive.
func (t *Test) issueAndVerify(ctx context.Context) error {
	for _, o := range []client.Object{t.account(), t.key()} {
		if err := t.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	key, err := t.awaitReady(ctx)
	if err != nil {
		return err
	}
	t.say("the manager issued key ID %s", key.Status.KeyID)
	var secret corev1.Secret
	if err := t.Client.Get(ctx, client.ObjectKeyFromObject(key), &secret); err != nil {
		return fmt.Errorf("read Secret %s/%s: %w", t.Namespace, Name, err)
	}
	material := string(secret.Data[keys.EntryCurrent])
	if err := t.awaitCode(ctx, material, "VALID"); err != nil {
		return err
	}
	if code, err := t.verify(ctx, material+"x"); err != nil || code == "VALID" {
		return errors.Join(fmt.Errorf("the verifier answers %q for a wrong key", code), err)
	}
	t.say("the verifier rejects a wrong key")
	before := key.DeepCopy()
	key.Spec.State = v1alpha1.KeyStateInactive
	if err := t.Client.Patch(ctx, key, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("deactivate the key: %w", err)
	}
	return t.awaitCode(ctx, material, "INACTIVE")
}

// awaitReady waits until the key is Ready.
func (t *Test) awaitReady(ctx context.Context) (*v1alpha1.APIKey, error) {
	key := t.key()
	err := await(ctx, "the manager has not issued the key", func(ctx context.Context) error {
		if err := t.Client.Get(ctx, client.ObjectKeyFromObject(key), key); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(key.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil:
			return errors.New("the key has no condition Ready")
		case ready.Status != metav1.ConditionTrue:
			return fmt.Errorf("%s: %s", ready.Reason, ready.Message)
		}
		return nil
	})
	return key, err
}

// awaitCode waits until the verifier answers with a code for the key.
func (t *Test) awaitCode(ctx context.Context, material, want string) error {
	err := await(ctx, "the verifier does not answer "+want, func(ctx context.Context) error {
		code, err := t.verify(ctx, material)
		if err == nil && code != want {
			err = fmt.Errorf("it answers %s", code)
		}
		return err
	})
	if err == nil {
		t.say("the verifier answers %s for the key", want)
	}
	return err
}

// verify returns the code of the verifier's answer. Errors contain neither the key nor the body of the response.
func (t *Test) verify(ctx context.Context, material string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"key": material})
	if err != nil {
		return "", errors.New("encode the request")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.Verifier, "/")+"/v1/verify", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := t.HTTP.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Code string `json:"code"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the verifier answers with status %d", response.StatusCode)
	}
	return answer.Code, nil
}

// clean deletes the key and the account, and waits until they are gone.
func (t *Test) clean(ctx context.Context) error {
	for _, o := range []client.Object{t.key(), t.account()} {
		err := await(ctx, fmt.Sprintf("could not delete %T %s", o, Name), func(ctx context.Context) error {
			if err := t.Client.Delete(ctx, o); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("it still exists"), err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Test) say(format string, args ...any) { _, _ = fmt.Fprintf(t.Out, format+"\n", args...) }

// await waits until a check passes. If ctx is done before, it returns the last error of the check.
func await(ctx context.Context, failure string, check func(context.Context) error) error {
	last := ctx.Err()
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		if err := check(ctx); err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", failure, errors.Join(last, err))
	}
	return nil
}
