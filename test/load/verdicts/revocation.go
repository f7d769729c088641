// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// measureRevocations disables keys one after the other under load, and measures the time from the API server's response to the
// first denial.
func (b *bench) measureRevocations(ctx context.Context) error {
	if err := b.grow(ctx, max(b.keys, b.revocationsAt)); err != nil {
		return err
	}
	b.printf("Switching %d of %d keys off, under load", b.revocations, b.keys)
	connection, err := grpc.NewClient(b.candidate.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	load := make(chan error, 1)
	go func() {
		_, err := b.askAll(
			ctx,
			loading,
			b.candidate.address,
			func(i int) string { return material(b.revocations + i%(b.keys-b.revocations)) },
			wantOK,
		)
		load <- err
	}()
	for i := range b.revocations {
		took, err := b.revoke(ctx, authv3.NewAuthorizationClient(connection), i)
		if err != nil {
			return err
		}
		b.revoked = append(b.revoked, took)
	}
	stop()
	slices.Sort(b.revoked)
	return errors.Join(<-load, b.restore(ctx))
}

// revoke disables a key, and polls until it is denied.
func (b *bench) revoke(ctx context.Context, c authv3.AuthorizationClient, i int) (time.Duration, error) {
	if err := b.set(ctx, i, v1alpha1.KeyStateInactive); err != nil {
		return 0, err
	}
	start := time.Now()
	for {
		answer, err := c.Check(ctx, envoys(material(i)))
		if err != nil {
			return 0, err
		}
		if codes.Code(answer.GetStatus().GetCode()) == codes.Unauthenticated {
			return time.Since(start), nil
		}
	}
}

func (b *bench) set(ctx context.Context, i int, state v1alpha1.KeyState) error {
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}}
	patch := fmt.Appendf(nil, `{"spec":{"state":%q}}`, state)
	return b.admin.Patch(ctx, k, client.RawPatch(types.MergePatchType, patch))
}

// restore enables the keys again, and waits until the verifier knows that.
func (b *bench) restore(ctx context.Context) error {
	for i := range b.revocations {
		if err := b.set(ctx, i, v1alpha1.KeyStateActive); err != nil {
			return err
		}
	}
	connection, err := grpc.NewClient(b.candidate.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	for {
		answer, err := authv3.NewAuthorizationClient(connection).Check(ctx, envoys(material(b.revocations-1)))
		if err != nil || codes.Code(answer.GetStatus().GetCode()) == codes.OK {
			return err
		}
	}
}
