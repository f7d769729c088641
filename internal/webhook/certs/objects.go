// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// readConfiguration returns nil when there is none.
func (r *Rotator) readConfiguration(ctx context.Context) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: r.Configuration}, config)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", r.Configuration, err)
	}
	return config, nil
}

// configuredBundle returns the authorities that every webhook of the configuration trusts.
func configuredBundle(config *admissionregistrationv1.ValidatingWebhookConfiguration) bundle {
	if config == nil || len(config.Webhooks) == 0 {
		return nil
	}
	configured := parseBundle(config.Webhooks[0].ClientConfig.CABundle)
	for _, webhook := range config.Webhooks[1:] {
		configured = configured.intersection(parseBundle(webhook.ClientConfig.CABundle))
	}
	return configured
}

// inject writes the authorities into every webhook of the configuration, if one of them differs.
func (r *Rotator) inject(ctx context.Context, config *admissionregistrationv1.ValidatingWebhookConfiguration, authorities bundle) error {
	if config == nil || len(config.Webhooks) == 0 {
		return fmt.Errorf(
			"%w: ValidatingWebhookConfiguration %s does not exist or is empty; apply the manifest that declares it, or run without webhooks",
			errNotConfigured,
			r.Configuration,
		)
	}
	before, want, same := config.DeepCopy(), authorities.encode(), true
	for i := range config.Webhooks {
		same = same && bytes.Equal(config.Webhooks[i].ClientConfig.CABundle, want)
		config.Webhooks[i].ClientConfig.CABundle = want
	}
	if same {
		return nil
	}
	// A strategic merge patch sets caBundle and leaves alone what this version of the API does not know.
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, config, patch, fieldOwner); err != nil {
		return fmt.Errorf("write the caBundle of ValidatingWebhookConfiguration %s: %w", r.Configuration, err)
	}
	log.FromContext(ctx).Info("Wrote the caBundle of the webhook configuration", "validatingWebhookConfiguration", klog.KObj(config))
	return nil
}

// readSecret returns the Secret, or the one to create when there is none. Its labels are not those of the Secrets that
// hold API keys.
func (r *Rotator) readSecret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, r.Secret, secret)
	if apierrors.IsNotFound(err) {
		labels := map[string]string{"app.kubernetes.io/name": "apikey-manager", "app.kubernetes.io/component": "webhook"}
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Secret.Namespace, Name: r.Secret.Name, Labels: labels},
			Type:       corev1.SecretTypeTLS,
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", r.Secret, err)
	}
	return secret, nil
}

// writeSecret creates or updates the Secret if anything changed; the resourceVersion makes one of several replicas win.
func (r *Rotator) writeSecret(ctx context.Context, secret *corev1.Secret, want material, changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	data, err := want.encode()
	if err != nil {
		return err
	}
	if secret.Data == nil {
		secret.Data = make(map[string][]byte, len(data))
	}
	maps.Copy(secret.Data, data)
	if secret.ResourceVersion == "" {
		err = r.Client.Create(ctx, secret, fieldOwner)
	} else {
		err = r.Client.Update(ctx, secret, fieldOwner)
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", r.Secret, err)
	}
	log.FromContext(ctx).Info("Wrote the webhook certificate", "secret", klog.KObj(secret), "changes", changes)
	return nil
}
