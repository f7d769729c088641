// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane starts and stops a real Kubernetes control plane on this machine: etcd, kube-apiserver with RBAC and, if
// its binary exists, kube-controller-manager, so that garbage collection and the deletion of namespaces work. It installs the
// CRDs, roles and bindings of config/default. The manager and the verifier run as processes with tokens of their ServiceAccounts,
// so that they have the shipped permissions and no others. The demo, the tests and the benchmarks use it. It imports no other
// package of this module.
package controlplane
