// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package access tests, on a real control plane with impersonated users, that users may do exactly what config/access,
// config/account-use, config/key-export and config/secret-template grant.
package access
