// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func invalid(fields ...string) metav1.Status {
	s := metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid, Message: `Secret "shop" is invalid: something: Invalid value: "the value"`, Details: &metav1.StatusDetails{}}
	for _, field := range fields {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Field: field, Message: `Invalid value: "the value"`})
	}
	return s
}

func TestNewRefusedError(t *testing.T) {
	t.Parallel()
	const (
		quota   = `secrets "shop" is forbidden: exceeded quota: secrets, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0`
		policy  = `secrets "shop" is forbidden: ValidatingAdmissionPolicy 'no-secrets' with binding 'no-secrets' denied request: ask the platform team`
		denial  = `secrets is forbidden: User "system:serviceaccount:apikey-manager-system:apikey-manager" cannot create resource "secrets" in API group "" in the namespace "default"`
		webhook = `admission webhook "vault.example.com" denied the request: secrets belong into the vault`
	)
	for name, tc := range map[string]struct {
		status metav1.Status
		want   string
	}{
		"a quota":                        {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: quota}, quota},
		"a policy, which is Invalid":     {metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid, Message: policy, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: "x"}}}}, policy},
		"a webhook":                      {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: webhook}, webhook},
		"a webhook without a reason":     {metav1.Status{Code: 400, Message: webhook}, webhook},
		"a webhook that says NotFound":   {metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Message: webhook}, webhook},
		"a webhook that says Conflict":   {metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict, Message: webhook}, webhook},
		"invalid fields, once, in order": {invalid("metadata.labels", "data[..]", "metadata.labels"), "the API server finds data[..], metadata.labels invalid"},
		"too large":                      {metav1.Status{Code: 413, Reason: metav1.StatusReasonRequestEntityTooLarge, Message: "limit is 3145728"}, "it is too large for the API server"},
		"in more lines than one":         {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no:\n\t- a\x00\n"}, "no: - a"},

		"the authorizer":    {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: denial}, ""},
		"a webhook like it": {metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: webhook + `: shop is forbidden: User "a" cannot create resource "secrets"`}, webhook + `: shop is forbidden: User "a" cannot create resource "secrets"`},
		"a conflict":        {metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict, Message: "the object has been modified"}, ""},
		"not found":         {metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Message: "namespaces not found"}, ""},
		"a timeout":         {metav1.Status{Code: 504, Reason: metav1.StatusReasonTimeout, Message: "timeout"}, ""},
		"unavailable":       {metav1.Status{Code: 500, Reason: metav1.StatusReasonInternalError, Message: `failed calling webhook "a.example.com": connection refused`}, ""},
		"out of tokens":     {metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: "slow down"}, ""},
	} {
		got := ""
		if refused := keys.NewRefusedError(tc.status, nil); refused != nil {
			got = refused.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := keys.FailedWebhook(metav1.Status{Message: `Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: Post "https://x"`}); got != "a.example.com" {
		t.Errorf("the webhook that failed is %q", got)
	}
}

// An admission plugin may repeat the object that it refuses, in any form.
func TestNewRefusedError_ShowsNoKey(t *testing.T) {
	t.Parallel()
	for _, format := range []*v1alpha1.Format{nil, {Type: v1alpha1.FormatUUID}, {Type: v1alpha1.FormatHex}, {Type: v1alpha1.FormatAlphanumeric, Length: 22}} {
		issued, err := keys.EffectiveFormat(&v1alpha1.APIKey{Spec: v1alpha1.APIKeySpec{Format: format}}, nil).Generate(&keystest.Bytes{Seed: t.Name()})
		if err != nil {
			t.Fatal(err)
		}
		key := string([]byte(issued.Material))
		docker := `{"auths":{"x":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("user:"+key)) + `"}}}`
		data := map[string][]byte{"password": []byte(key), "file": []byte("x=" + key + "\n"), ".dockerconfigjson": []byte(docker)}
		object, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		escaped := strings.Builder{}
		for _, c := range []byte(key) {
			fmt.Fprintf(&escaped, `\x%02x`, c)
		}
		for form, echo := range map[string]string{
			"as it is":                key,
			"a part of it":            key[:len(key)-4],
			"the end of it":           key[len(key)-12:],
			"in upper case":           strings.ToUpper(key),
			"base64":                  base64.StdEncoding.EncodeToString([]byte(key)),
			"base64, cut":             base64.StdEncoding.EncodeToString([]byte(key))[:14],
			"base64 of what holds it": base64.URLEncoding.EncodeToString([]byte("1 " + key)),
			"base64 twice":            base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(key)))),
			"hexadecimal":             strings.ToUpper(hex.EncodeToString([]byte(key))),
			"percent-encoded":         url.QueryEscape(key),
			"the object":              string(object),
			"in Go's syntax":          fmt.Sprintf("%#v", data),
			"bytes":                   fmt.Sprintf("%d", []byte(key)),
			"escaped":                 escaped.String(),
			"base64 in a file":        docker,
			"over two lines":          key[:12] + "\n" + key[12:],
		} {
			for _, message := range []string{
				`admission webhook "w" denied the request: ` + echo + " is not allowed",
				`secrets "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ` + echo,
			} {
				status := metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: message}
				for _, said := range []string{keys.NewRefusedError(status, data).Error(), keys.RedactStatus(status, data).Message} {
					checkShows(t, form, said, key, echo)
				}
			}
			status := invalid("data[" + echo + "]")
			checkShows(t, "field, "+form, keys.NewRefusedError(status, data).Error(), key, echo)
		}
	}
}

// checkShows fails if a text contains a part of a key, or of the form in which it was repeated.
func checkShows(t *testing.T, form, said, key, echo string) {
	t.Helper()
	if !strings.Contains(said, "[redacted]") {
		t.Errorf("%s: nothing was redacted", form)
	}
	const window = 10
	for _, hidden := range []string{key, base64.StdEncoding.EncodeToString([]byte(key)), hex.EncodeToString([]byte(key))} {
		for i := range len(hidden) - window + 1 {
			if strings.Contains(strings.ToLower(said), strings.ToLower(hidden[i:i+window])) {
				t.Errorf("%s: shows a part of the key", form)
				return
			}
		}
	}
	if len(echo) >= 16 && strings.Contains(said, echo) {
		t.Errorf("%s: shows what was repeated", form)
	}
}

// The condition and the Event have the message, once, however often the write is tried.
func TestDescribe_RefusedWrites(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop")
	try := func(sentence string, bounded bool) (keys.Facts, v1alpha1.APIKeyStatus) {
		status := metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: sentence}
		f := keys.Facts{
			Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keys.ObservedSecret{Ownership: keys.SecretMissing}, Settings: keystest.Settings, Now: keystest.Epoch,
			Err: &keys.PublicError{Message: "Could not create Secret shop: " + sentence, Err: keys.NewRefusedError(status, nil)},
		}
		if got := message(keys.Describe(f), v1alpha1.ConditionReady); bounded != (len(got) == 900) {
			t.Errorf("the message has %d bytes", len(got))
		}
		return f, keys.Describe(f)
	}
	expect := func(f keys.Facts, after v1alpha1.APIKeyStatus, events int, sentence string) {
		t.Helper()
		if got := conditionOf(after, v1alpha1.ConditionReady); got != "False/WriteFailed" || !strings.Contains(message(after, v1alpha1.ConditionReady), sentence) {
			t.Errorf("Ready is %s: %s", got, message(after, v1alpha1.ConditionReady))
		}
		list := keys.Events(f, after)
		if len(list) != events || events > 0 && (!list[0].Warning || list[0].Reason != v1alpha1.ReasonWriteFailed || !strings.Contains(list[0].Note, sentence)) {
			t.Errorf("events: %+v, want %d", list, events)
		}
		if next := keys.NextCheck(f); !next.Equal(keystest.Epoch.Add(60e9)) {
			t.Errorf("tries again at %s", next)
		}
	}
	f, after := try("exceeded quota: a, used: count/secrets=5, limited: count/secrets=5", false)
	expect(f, after, 1, "exceeded quota: a")
	k.Status = after
	f, after = try("exceeded quota: a, used: count/secrets=6, limited: count/secrets=5", false)
	expect(f, after, 0, "used: count/secrets=5")
	f, after = try("denied request: ask the platform team", false)
	expect(f, after, 1, "ask the platform team")
	f, after = try(strings.Repeat("x ", 2000), true)
	expect(f, after, 1, "x x")
	if last := after.History[len(after.History)-1]; len(last.Message) > 256 {
		t.Errorf("the history has a message of %d bytes", len(last.Message))
	}
	k.Status = after
	f.Err = &keys.PublicError{Message: "Could not create Secret shop: the API server did not respond", Err: errors.New("x")}
	if list := keys.Events(f, keys.Describe(f)); len(list) > 0 {
		t.Errorf("an error that passes makes events: %+v", list)
	}
}
