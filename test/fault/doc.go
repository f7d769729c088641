// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package fault has a test that lets two managers do a lot of work on a real control plane, kills whichever leads, stops
// the API server and etcd, cuts the network, and then looks whether a key, a limit or a mail has suffered.
package fault
