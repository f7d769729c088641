// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane starts a real Kubernetes control plane on this machine, and stops it: etcd, kube-apiserver with
// RBAC and, where it is built, kube-controller-manager, so that owned objects are collected and namespaces go away. On it
// are the CRDs, roles and bindings that config/default installs on a cluster, and the manager gets a token of the very
// ServiceAccount it has there, so that what it may do is what we ship. The demo, the integration tests and the benchmark
// share it. It imports nothing of this module.
package controlplane
