// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package access has tests that people may do what config/access, config/account-use and config/secret-template
// say, and no more, on a real control plane and as impersonated users.
package access
