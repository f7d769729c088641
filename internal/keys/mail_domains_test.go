// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func TestMailDomains_Allow(t *testing.T) {
	t.Parallel()
	domains := keys.MailDomains{"example.com", "*.example.org", "xn--bcher-kva.example", "bücher.example"}
	for address, want := range map[string]bool{
		"a@example.com": true, "a@EXAMPLE.com": true, "a@example.com.": true, "a@mail.example.com": false, "a@example.com.evil.net": false,
		"a@evilexample.com": false, "a@mail.example.org": true, "a@a.b.example.org": true, "a@example.org": false, "a@.example.org": false,
		"a@evilexample.org": false, "a@bücher.example": true, "a@BÜCHER.example": true, "a@xn--bcher-kva.example": true,
		"a@evil.net(x.example.org": false, "a@evil.net(.example.org)": false, "a@[192.0.2.7]": false, `"b@example.com"@evil.net`: false, "a@evil.net\x00.example.org": false,
		"a%evil.net": false, "": false, "a@": false, "a@evil.net>.example.org": false, "a@evil.net\u200b.example.org": false,
	} {
		if got := domains.Allow(address); got != want {
			t.Errorf("%q is allowed: %t, want %t", address, got, want)
		}
		if !keys.MailDomains(nil).Allow(address) {
			t.Errorf("%q is not allowed where any is", address)
		}
	}
}

func TestMailDomains_CheckRecipients(t *testing.T) {
	t.Parallel()
	domains, path := keys.MailDomains{"example.com"}, field.NewPath("spec", "notification")
	to := func(emails ...string) *v1alpha1.Notification { return &v1alpha1.Notification{Emails: emails} }
	for name, tc := range map[string]struct {
		was, is *v1alpha1.Notification
		fields  []string
	}{
		"none":                      {},
		"inside":                    {is: to("a@example.com")},
		"outside":                   {is: to("a@example.com", "b@evil.net", "c@evil.net"), fields: []string{"spec.notification.emails[1]", "spec.notification.emails[2]"}},
		"one that was there":        {was: to("b@evil.net"), is: to("a@example.com", "b@evil.net")},
		"one more than there were":  {was: to("b@evil.net"), is: to("b@evil.net", "c@evil.net"), fields: []string{"spec.notification.emails[1]"}},
		"one that is taken out":     {was: to("b@evil.net"), is: to("a@example.com")},
		"the notification goes out": {was: to("b@evil.net")},
	} {
		var fields []string
		for _, err := range domains.CheckRecipients(tc.was, tc.is, path) {
			fields = append(fields, err.Field)
		}
		if !slices.Equal(fields, tc.fields) {
			t.Errorf("%s: got %v, want %v", name, fields, tc.fields)
		}
	}
}
