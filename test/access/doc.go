// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package access has tests that people may do what config/access and config/account-use say, and no more, on a real
// control plane and as impersonated users.
package access
