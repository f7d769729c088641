// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var _ = Describe("The status of an account with the longest slots that the schema allows", func() {
	// The maxima of the schema, and of annotations.
	const maxSlots, maxAnnotations = 1000, 256 << 10
	// slots returns slots whose JSON is as long as possible: the API server stores < as \u003c.
	slots := func(n int) []v1alpha1.Slot {
		list := make([]v1alpha1.Slot, n)
		for i := range list {
			list[i] = v1alpha1.Slot{
				Namespace: strings.Repeat("n", 63), Name: strings.Repeat("k", 253), UID: fmt.Sprintf("%036d", i),
				Grant: strings.Repeat("9", 32), Label: strings.Repeat("<", 128),
			}
		}
		return list
	}

	It("can be written, also with the longest annotations and scopes", func(ctx SpecContext) {
		account := newAccount(uniqueName("large"), limits(maxSlots), func(a *v1alpha1.AccountSpec) {
			a.DisplayName, a.ExternalID = strings.Repeat("<", 256), uniqueName(strings.Repeat("<", 200))
			for i := range 256 {
				a.AllowedScopes = append(a.AllowedScopes, fmt.Sprintf("scope.%03d.%s", i, strings.Repeat("read:", 23))[:124]+"ends")
			}
			a.KeyDefaults = &v1alpha1.KeyDefaults{Scopes: a.AllowedScopes[:64]}
		})
		const name = "example.com/notes"
		account.Annotations = map[string]string{name: strings.Repeat("x", maxAnnotations-len(name))}
		create(ctx, account)
		account.Status.Slots = slots(maxSlots)
		Expect(admin.Status().Update(ctx, account)).To(Succeed())
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(account), account)).To(Succeed())
		Expect(account.Status.Slots).To(HaveLen(maxSlots))
		size := func(v any) int {
			text, err := json.Marshal(v)
			Expect(err).NotTo(HaveOccurred())
			return len(text)
		}
		GinkgoWriter.Printf("slots %d bytes, managedFields %d, annotations %d, spec %d, the object %d\n",
			size(account.Status.Slots), size(account.ManagedFields), size(account.Annotations), size(account.Spec), size(account))
		for _, m := range account.ManagedFields {
			Expect(m.FieldsV1.GetRawString()).NotTo(ContainSubstring("f:grant"), "the managed fields list the slots one by one")
		}

		By("writing it again, as the manager does")
		account.Status.Slots[0].UID = "another"
		Expect(admin.Status().Update(ctx, account)).To(Succeed())
	})

	It("can't have more or longer slots", func(ctx SpecContext) {
		for what, change := range map[string]func(*v1alpha1.AccountStatus){
			"too many":       func(s *v1alpha1.AccountStatus) { s.Slots = slots(maxSlots + 1) },
			"long namespace": func(s *v1alpha1.AccountStatus) { s.Slots[0].Namespace += "n" },
			"long name":      func(s *v1alpha1.AccountStatus) { s.Slots[0].Name += "k" },
			"long UID":       func(s *v1alpha1.AccountStatus) { s.Slots[0].UID += "0" },
			"long grant":     func(s *v1alpha1.AccountStatus) { s.Slots[0].Grant += "9" },
			"long label":     func(s *v1alpha1.AccountStatus) { s.Slots[0].Label += "<" },
		} {
			account := newAccount(uniqueName("large"), limits(maxSlots))
			create(ctx, account)
			account.Status.Slots = slots(2)
			change(&account.Status)
			Expect(admin.Status().Update(ctx, account)).To(Satisfy(apierrors.IsInvalid), what)
		}
	})
})
