// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// After a restore, a key takes back a Secret with a credential that its status knows, with any content and under any
// importPolicy, and no other Secret.
func TestObserveSecret_TakesBackOwnSecret(t *testing.T) {
	t.Parallel()
	owner := func(kind, name, uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: "uid-" + "x", Controller: new(uid != "")}}
	}
	issued := func(options ...keystest.KeyOption) *v1alpha1.APIKey {
		return keystest.Key("shop", append(options, keystest.Issued(keystest.Epoch))...)
	}
	template := keystest.Data(map[string]string{"config": "key={{ .Key }}", "key": "{{ .Key }}"})
	for name, tc := range map[string]struct {
		key    *v1alpha1.APIKey
		object metav1.ObjectMeta
		value  string // the name of the credential
		entry  string
		want   keys.Ownership
	}{
		"no owner":                                {issued(), metav1.ObjectMeta{}, "default/shop", "api-key", keys.SecretOffered},
		"the key as it was before the restore":    {issued(), metav1.ObjectMeta{OwnerReferences: owner("APIKey", "shop", "c")}, "default/shop", "api-key", keys.SecretOffered},
		"a reference that is no controller":       {issued(), metav1.ObjectMeta{OwnerReferences: owner("APIKey", "shop", "")}, "default/shop", "api-key", keys.SecretOffered},
		"a template":                              {issued(template), metav1.ObjectMeta{}, "default/shop", "key", keys.SecretOffered},
		"the next credential, already promoted":   {issued(keystest.WithCredential("next", v1alpha1.RoleStaged, keystest.Epoch)), metav1.ObjectMeta{}, "next", "api-key", keys.SecretOffered},
		"of a revoked key, to clear it":           {issued(keystest.State(v1alpha1.KeyStateRevoked)), metav1.ObjectMeta{}, "default/shop", "api-key", keys.SecretOffered},
		"another key as owner":                    {issued(), metav1.ObjectMeta{OwnerReferences: owner("APIKey", "other", "c")}, "default/shop", "api-key", keys.SecretForeign},
		"an object of another kind as owner":      {issued(), metav1.ObjectMeta{OwnerReferences: owner("ExternalSecret", "shop", "c")}, "default/shop", "api-key", keys.SecretForeign},
		"an unknown credential":                   {issued(), metav1.ObjectMeta{}, "strange", "api-key", keys.SecretForeign},
		"an unknown credential, and an old owner": {issued(), metav1.ObjectMeta{OwnerReferences: owner("APIKey", "shop", "c")}, "strange", "api-key", keys.SecretOrphaned},
		"a key that was never issued":             {keystest.Key("shop"), metav1.ObjectMeta{}, "default/shop", "api-key", keys.SecretForeign},
		"a Secret that is being deleted":          {issued(), metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: keystest.Epoch}}, "default/shop", "api-key", keys.SecretForeign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := keys.SecretContent{Data: map[string][]byte{tc.entry: keystest.MaterialOf(tc.value)}}
			observed, credentials := keys.ObserveSecret(tc.key, keystest.NewAccount("acme"), &tc.object, content)
			if observed.Ownership != tc.want || (len(credentials.Current.Material) > 0) != (tc.want == keys.SecretOffered) {
				t.Fatalf("%s, want %s", observed.Ownership, tc.want)
			}
			f := keys.Facts{Key: tc.key, Account: keystest.NewAccount("acme", keystest.Slots(tc.key)), Secret: observed, Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour)}
			adopts := false
			for _, step := range keys.Decide(f).Steps {
				_, adopts = step.(keys.AdoptSecret)
			}
			if adopts != (tc.want == keys.SecretOffered) {
				t.Errorf("steps %v", keys.Decide(f).Steps)
			}
		})
	}
}
