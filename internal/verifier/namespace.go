// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"
	"unique"

	"k8s.io/apimachinery/pkg/labels"
)

// namespace holds what the keys of a namespace share. One atomic store updates the labels for all of them.
type namespace struct {
	name  string
	index *Index
	// keyCount counts the keys in the namespace.
	keyCount int
	// profiles holds profiles that several keys may share.
	profiles map[unique.Handle[string]]*profile
	// labels is nil if the Namespace is not known. It is replaced, never modified.
	labels atomic.Pointer[labels.Set]
}

// isIn reports whether a selector matches the namespace.
func (n *namespace) isIn(selector labels.Selector) bool {
	set := n.labels.Load()
	return set != nil && selector.Matches(*set)
}
