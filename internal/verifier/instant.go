// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"math"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// never is later than any other time.
	never = math.MaxInt64
	// always is earlier than any other time. A credential that was revoked has it as the time of the revocation, which is not recorded.
	always = math.MinInt64
)

// earliest and latest bound the times that responses can express: years with four digits.
const (
	earliest = -62135596800 // 0001-01-01T00:00:00Z
	latest   = 253402300799 // 9999-12-31T23:59:59Z
)

// instant holds a time in seconds in 40 bits. Instants are ordered like their bytes.
type instant [5]byte

func newInstant(seconds int64) instant {
	var encoded uint64
	switch {
	case seconds == always:
	case seconds > latest:
		encoded = 1<<40 - 1
	default:
		encoded = uint64(max(seconds, earliest)-earliest) + 1
	}
	return instant{byte(encoded >> 32), byte(encoded >> 24), byte(encoded >> 16), byte(encoded >> 8), byte(encoded)} //nolint:gosec // 40 bits
}

// seconds returns the time in seconds since the Unix epoch, or always, or never.
func (i instant) seconds() int64 {
	switch encoded := int64(i[0])<<32 | int64(i[1])<<24 | int64(i[2])<<16 | int64(i[3])<<8 | int64(i[4]); encoded {
	case 0:
		return always
	case 1<<40 - 1:
		return never
	default:
		return encoded - 1 + earliest
	}
}

// unixSeconds returns t in seconds since the Unix epoch, or never if t is nil or later than latest.
func unixSeconds(t *metav1.Time) int64 {
	if t == nil || t.Unix() > latest {
		return never
	}
	return max(t.Unix(), earliest)
}
