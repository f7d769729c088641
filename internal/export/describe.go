// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Facts holds everything that Describe reads.
type Facts struct {
	// Export holds the KeyExport as it was read.
	Export *v1alpha1.KeyExport
	// Objects holds the objects that the KeyExport owns after the writes that succeeded.
	Objects Objects
	// Withheld lists the keys that are withheld, in any order, and more than once if they have several reasons.
	Withheld []Withheld
	// Violation describes why the export can't make progress until a user changes something, or is nil. Its reason is
	// InvalidSpec, TargetConflict, TargetImmutable or ConfigMapsNotAllowed.
	Violation *keys.Violation
	// Err holds the error of the write that failed, if any.
	Err error
	// Now holds the current time.
	Now time.Time
}

// Describe returns the status of a KeyExport.
func Describe(f Facts) v1alpha1.KeyExportStatus { return f.Export.Status }
