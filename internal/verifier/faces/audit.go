// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

import (
	"math"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Audit writes a line about each denial, and about some of those who were let in.
type Audit struct {
	logger logr.Logger
	sample float64
	passed atomic.Uint64
}

// NewAudit returns an audit that writes about a share of those who were let in, from 0 to 1. It counts and throws no dice:
// of ten with a share of 0.1 it is the tenth.
func NewAudit(logger logr.Logger, sample float64) *Audit {
	return &Audit{logger: logger, sample: sample}
}

// record writes about a verdict, or not.
func (a *Audit) record(v *visit, q *verifier.Question, verdict *verifier.Verdict) {
	switch {
	case a == nil:
	case verdict.Code != verifier.Valid:
		a.write("Denied", v, q, verdict)
	case a.due():
		a.write("Allowed", v, q, verdict)
	}
}

func (a *Audit) due() bool {
	if a.sample <= 0 {
		return false
	}
	n := float64(a.passed.Add(1))
	return math.Floor(n*a.sample) > math.Floor((n-1)*a.sample)
}

// What a client sent is cut here.
const (
	longestMethod = 32
	longestHost   = 255
	longestPath   = 512
)

func (a *Audit) write(message string, v *visit, q *verifier.Question, verdict *verifier.Verdict) {
	client := ""
	if q.Client.IsValid() {
		client = q.Client.String()
	}
	path := told(v.path, q.Key, longestPath)
	if verdict.Code == verifier.Ambiguous && path != "" {
		path = redacted // which of the keys was sent is not known here, and one may be in it
	}
	a.logger.Info(message, "face", v.face.String(), "code", verdict.Code.String(), "keyID", verdict.KeyID(), "account", verdict.Account(),
		"client", client, "method", told(v.method, q.Key, longestMethod), "host", told(v.host, q.Key, longestHost),
		"path", path)
}

const (
	redacted = "[redacted]"
	// shortestKey is how long a key is at the least: whoever sends less for one, to have it struck out, is told of.
	shortestKey = 22
)

// told is what may be told of what a client sent: not the key as it was sent, wherever else the client put it, nor more
// than so much.
func told(text, key string, longest int) string {
	if len(key) >= shortestKey && len(text) >= len(key) {
		text = strings.ReplaceAll(text, key, redacted)
	}
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
