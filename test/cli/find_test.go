// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func objectKey(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

func TestFind(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	shop := controlplanetest.NewKey(namespace, "shop", account, func(s *v1alpha1.APIKeySpec) { s.Label = "Tienda" })
	stock := controlplanetest.NewKey(namespace, "stock", account, func(s *v1alpha1.APIKeySpec) {
		s.Format = &v1alpha1.Format{Type: v1alpha1.FormatUUID}
	})
	w.Issue(t, shop, stock)
	keyOfShop, keyOfStock := w.Material(t, shop), w.Material(t, stock)
	row := func(k *v1alpha1.APIKey, role, id string) string {
		return strings.Join(strings.Fields(strings.Join([]string{namespace, k.Name, account, k.Spec.Label, "Active", role, id}, " ")), " ")
	}
	expectRows := func(r result, rows ...string) {
		t.Helper()
		if r.code != 0 {
			t.Fatal(r.errOut)
		}
		lines := strings.Split(strings.TrimSpace(r.out), "\n")[1:]
		for i := range lines {
			lines[i] = strings.Join(strings.Fields(lines[i]), " ")
		}
		if got, want := strings.Join(lines, "\n"), strings.Join(rows, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	current := row(shop, "Current", shop.Status.KeyID)
	expectRows(w.run(t, "", "find", shop.Status.KeyID, "-n", namespace), current)
	expectRows(w.run(t, "", "find", "ak_"+shop.Status.KeyID, "-A"), current)
	expectRows(w.run(t, keyOfShop+"\n", "find", "-", "-A"), current)
	expectRows(w.run(t, "", "find", keyOfStock[:4], "-n", namespace), row(stock, "Current", stock.Status.KeyID))
	expectRows(w.run(t, keyOfStock+"\r\n\n"+keyOfShop, "find", "-", "-n", namespace), "1 "+row(stock, "Current", stock.Status.KeyID), "3 "+current)

	old := shop.Status.KeyID
	w.Change(t, shop, func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now())}
	})
	w.AwaitStatus(t, shop, "the key is rotated", func() error {
		if previous := controlplanetest.CredentialOf(shop, v1alpha1.RolePrevious); previous == nil {
			return fmt.Errorf("credentials %v", shop.Status.Credentials)
		}
		return nil
	})
	expectRows(w.run(t, "", "find", old, "-A"), row(shop, "Previous", old))
	expectRows(w.run(t, keyOfShop, "find", "-", "-A"), row(shop, "Previous", old))

	unknown := strings.Replace(keyOfShop, old, "000000000000", 1)
	got := w.run(t, unknown+"\n"+keyOfShop+"\n", "find", "-", "-A", "-o", "json")
	got.expectFailure(t, 3, "no APIKey has this key", unknown, keyOfShop)
	var found []struct {
		Line       int
		Name, Role string
	}
	if err := json.Unmarshal([]byte(got.out), &found); err != nil || len(found) != 1 || found[0].Line != 2 || found[0].Role != "Previous" {
		t.Errorf("got %+v, %v", found, err)
	}
	if !strings.Contains(got.errOut, "no APIKey has the key of line 1") {
		t.Errorf("got %q", got.errOut)
	}
}

func TestFind_RefusesKeyAsArgument(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	const key = "lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls"
	for _, args := range [][]string{{"find", key}, {"find", key, "-A"}, {"find", key, key}, {"verify", key}, {"import", key, "--account=acme"}} {
		got := w.run(t, "", args...)
		if got.code != 2 || strings.Contains(got.out+got.errOut, key) {
			t.Errorf("kubectl apikey %s with a key as an argument: code %d", args[0], got.code)
		}
	}
	w.run(t, "", "find", key).expectFailure(t, 2, "this looks like a key. Pass it on standard input: kubectl apikey find -", key)
}
