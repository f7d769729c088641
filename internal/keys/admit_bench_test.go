// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// crowd returns keys with different labels, one created after the other.
func crowd(total int, options ...keystest.KeyOption) []*v1alpha1.APIKey {
	list := make([]*v1alpha1.APIKey, total)
	for i := range list {
		name := fmt.Sprintf("key-%06d", i)
		list[i] = aged(name, 0, append([]keystest.KeyOption{
			keystest.Label("Shop " + name), keystest.Created(keystest.Epoch.Add(time.Duration(i) * time.Second)),
		}, options...)...)
	}
	return list
}

// BenchmarkDescribeAccount measures one round of an account whose limit is 1,000.
func BenchmarkDescribeAccount(b *testing.B) {
	const limit = 1000
	template := keystest.Data(map[string]string{"config.json": `{"key":{{ .Key | toJson }},"account":{{ .Account | toJson }}}`})
	for name, bc := range map[string]struct {
		keys    []*v1alpha1.APIKey
		holders int
	}{
		"1000 keys get a slot":                   {crowd(limit), 0},
		"1000 keys have a slot":                  {crowd(limit), limit},
		"1000 keys have a slot, and 1000 wait":   {crowd(2 * limit), limit},
		"1000 keys have a slot, and 9000 wait":   {crowd(10 * limit), limit},
		"1000 keys with a template get a slot":   {crowd(limit, template), 0},
		"of 2000 keys with a template 1000 wait": {crowd(2*limit, template), limit},
	} {
		b.Run(name, func(b *testing.B) {
			f := keys.AccountFacts{
				Account: keystest.NewAccount("acme", keystest.MaxKeys(limit), keystest.Slots(bc.keys[:bc.holders]...)), Keys: bc.keys,
				Settings: keystest.Settings, Now: keystest.Epoch.Add(24 * time.Hour), NamespaceLabels: map[string]map[string]string{},
			}
			b.ReportAllocs()
			for b.Loop() {
				keys.DescribeAccount(f)
			}
		})
	}
}
