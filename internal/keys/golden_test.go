// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import "flag"

var update = flag.Bool("update", false, "write the golden files anew")
