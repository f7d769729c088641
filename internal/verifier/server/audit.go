// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Audit writes a log line about each denied request, and about a sample of the allowed requests.
type Audit struct {
	logger       logr.Logger
	sample       float64
	allowedCount atomic.Uint64
}

// NewAudit returns an Audit that logs a fraction (0 to 1) of the allowed requests. The sample is deterministic: a
// fraction of 0.1 logs every tenth allowed request.
func NewAudit(logger logr.Logger, sample float64) *Audit {
	return &Audit{logger: logger, sample: sample}
}

// record logs a verdict if it is a denial or part of the sample. Of the requests of a client beyond its limit of failures,
// it logs the first, the second, the fourth, the eighth and so on, with their number, so that a flood does not fill the
// log. A nil Audit logs nothing.
func (a *Audit) record(r *request, in *verifier.Input, verdict *verifier.Verdict) {
	switch {
	case a == nil, bits.OnesCount32(r.refusals) > 1:
	case !verdict.Code.Passes():
		a.write("Denied", r, in, verdict)
	case a.isSampled():
		a.write("Allowed", r, in, verdict)
	}
}

func (a *Audit) isSampled() bool {
	if a.sample <= 0 {
		return false
	}
	n := float64(a.allowedCount.Add(1))
	return math.Floor(n*a.sample) > math.Floor((n-1)*a.sample)
}

// The maximum lengths of client-supplied values in audit lines.
const (
	maxMethodLength = 32
	maxHostLength   = 255
	maxPathLength   = 512
)

func (a *Audit) write(message string, r *request, in *verifier.Input, verdict *verifier.Verdict) {
	client := ""
	if in.Client.IsValid() {
		client = in.Client.String()
	}
	path := redact(r.path, in.Key, maxPathLength)
	if verdict.Code == verifier.Ambiguous && path != "" {
		path = redacted // the path may contain one of the keys, and redact knows none of them
	}
	logger := a.logger
	if r.refusals > 0 {
		logger = logger.WithValues("refusals", r.refusals)
	}
	logger.Info(message, "protocol", r.protocol.String(), "code", verdict.Code.String(), "keyID", verdict.KeyID(), "account",
		verdict.Account(),
		"client", client, "method", redact(r.method, in.Key, maxMethodLength), "host", redact(r.host, in.Key, maxHostLength),
		"path", path)
}
