// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Audit writes a line about each denial, and about some of those who were let in.
type Audit struct {
	logger       logr.Logger
	sample       float64
	allowedCount atomic.Uint64
}

// NewAudit returns an audit that writes about a share of those who were let in, from 0 to 1. It counts and throws no dice:
// of ten with a share of 0.1 it is the tenth.
func NewAudit(logger logr.Logger, sample float64) *Audit {
	return &Audit{logger: logger, sample: sample}
}

// record writes about a verdict, or not.
func (a *Audit) record(r *request, in *verifier.Input, verdict *verifier.Verdict) {
	switch {
	case a == nil:
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

// What a client sent is cut here.
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
		path = redacted // which of the keys was sent is not known here, and one may be in it
	}
	a.logger.Info(message, "face", r.protocol.String(), "code", verdict.Code.String(), "keyID", verdict.KeyID(), "account", verdict.Account(),
		"client", client, "method", redact(r.method, in.Key, maxMethodLength), "host", redact(r.host, in.Key, maxHostLength),
		"path", path)
}
