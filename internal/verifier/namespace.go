// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/labels"
)

// namespace holds the keys of a namespace and the labels that they share, so that one atomic store updates all of them.
type namespace struct {
	name string
	keys map[string]*key
	// labels is nil if the Namespace is not known. It is replaced, never modified.
	labels atomic.Pointer[labels.Set]
}

// isIn reports whether a selector matches the namespace.
func (n *namespace) isIn(selector labels.Selector) bool {
	set := n.labels.Load()
	return set != nil && selector.Matches(*set)
}
