// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/labels"
)

// namespace has the keys of a namespace, and what they share, so that one store reaches all of them.
type namespace struct {
	name string
	keys map[string]*key
	// labels are nil while the namespace is not known. They are never changed, only replaced.
	labels atomic.Pointer[labels.Set]
}

// isIn is whether a selector picks the namespace.
func (n *namespace) isIn(selector labels.Selector) bool {
	set := n.labels.Load()
	return set != nil && selector.Matches(*set)
}
