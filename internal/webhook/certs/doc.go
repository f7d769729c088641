// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package certs keeps the serving certificate of the validating webhook: it creates an authority and a certificate in a
// Secret, renews both before they end, and writes the authority into the ValidatingWebhookConfiguration. Every replica
// runs it and all of them serve what the Secret holds. Nothing is mounted, and cert-manager is not needed.
//
// Each pass reads the world and does what is due, so a crash after any write is healed by the next pass:
//
//	authority A, certificate of A      caBundle: A
//	   | two thirds of A's life are over
//	authorities B and A, cert. of A    caBundle: B, A     the API server trusts B before a replica serves it
//	   | the caBundle has held B for settlePeriod
//	authorities B and A, cert. of B    caBundle: B, A     replicas change over, each when it looks
//	   | retirePeriod
//	authority B, certificate of B      caBundle: B
//
// github.com/open-policy-agent/cert-controller v0.16.0 was read first, and compiles with controller-runtime v0.25.2. It
// needs a Secret that exists already (Start returns an error otherwise) and its files mounted in CertDir (it ends the
// process when they don't appear), so a manager outside the cluster can't use it. It replaces a due authority in one
// write, which leaves the API server and the served files disagreeing until the kubelet has synced the mount. It also
// caches every Secret of the namespace, rewrites the webhook configuration on each reconcile whether or not it differs,
// and takes neither a clock nor IP addresses.
//
// The package knows nothing of API keys and must not import other rooms of the house.
package certs
