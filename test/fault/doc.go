// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package fault has a test in which two managers work on a real control plane while it kills the leader, stops the API server
// and etcd, and cuts connections. It checks that keys, KeyExports, limits and mails are not affected.
package fault
