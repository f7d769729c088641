// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

func TestWebhookCertificateCollector(t *testing.T) {
	t.Parallel()
	var expiration time.Time
	collector := metrics.WebhookCertificateCollector{Expiration: func() time.Time { return expiration }}
	if n := testutil.CollectAndCount(collector); n != 0 {
		t.Errorf("%d series without a certificate, want none", n)
	}
	expiration = time.Unix(1_800_000_000, 0)
	if got := testutil.ToFloat64(collector); got != 1_800_000_000 {
		t.Errorf("the metric is %v, want 1800000000", got)
	}
	problems, err := testutil.CollectAndLint(collector)
	if err != nil || len(problems) > 0 {
		t.Errorf("the linter reports %v, %v", problems, err)
	}
}
