// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/faces"
)

// run answers until the context ends. What the API server tells is heard until the last answer is given.
func run(ctx context.Context, config *rest.Config, o options) error {
	index := verifier.NewIndex()
	feed, err := newFeed(config, index)
	if err != nil {
		return err
	}
	door, err := newDoor(o, index)
	if err != nil {
		return err
	}
	server, err := faces.NewServer(ctx, door, o.server)
	if err != nil {
		return err
	}
	hearing, deaf := context.WithCancel(context.WithoutCancel(ctx))
	defer deaf()
	go feed.Run(hearing)
	return server.Run(ctx)
}

func newFeed(config *rest.Config, index *verifier.Index) (*verifier.Feed, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API: %w", err)
	}
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	source, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("create the client: %w", err)
	}
	return verifier.NewFeed(source, clock.RealClock{}, index), nil
}

func newDoor(o options, index *verifier.Index) (*faces.Door, error) {
	finder, err := verifier.NewFinder(o.sources)
	if err != nil {
		return nil, fmt.Errorf("--key-source: %w", err)
	}
	clients, err := verifier.NewClients(o.trusted)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	door, err := faces.NewDoor(faces.DoorOptions{
		Finder: finder, Clients: clients, Index: index, Clock: clock.RealClock{}, AccountHeader: o.accountHeader, Realm: o.realm,
		DenyStatusOnly: o.denyStatusOnly, Audit: faces.NewAudit(auditLogger(o), o.auditSample),
	})
	if err != nil {
		return nil, fmt.Errorf("--key-source: %w", err)
	}
	return door, nil
}

// auditLogger writes every line it is given. At its usual level the logger drops those that come in numbers.
func auditLogger(o options) logr.Logger {
	const all = -2
	return zap.New(zap.UseFlagOptions(&o.log), zap.Level(zapcore.Level(all))).WithName("audit")
}
