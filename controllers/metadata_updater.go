// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// ObjectUpdater updates Secrets and ConfigMaps.
type ObjectUpdater interface {
	// Update replaces an object as client.Writer does. Of the given object, it may update the metadata only.
	Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error
}

// metadataOnly is the Accept header of requests whose response holds the metadata of an object only.
const metadataOnly = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// metadataUpdater is an ObjectUpdater that receives only the metadata of an object in response. The API server would have to
// encode and compress the whole object otherwise, which the caller has already.
type metadataUpdater struct {
	api        rest.Interface
	parameters runtime.ParameterCodec
}

func newMetadataUpdater(config *rest.Config, httpClient *http.Client) (*metadataUpdater, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme of objects: %w", err)
		}
	}
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion, c.ContentType = "/api", &corev1.SchemeGroupVersion, runtime.ContentTypeProtobuf
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	api, err := rest.RESTClientForConfigAndClient(c, httpClient)
	if err != nil {
		return nil, fmt.Errorf("set up the client of objects: %w", err)
	}
	return &metadataUpdater{api: api, parameters: runtime.NewParameterCodec(scheme)}, nil
}

// Update implements ObjectUpdater.
func (u *metadataUpdater) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	resource := corev1.ResourceSecrets.String()
	if _, isConfigMap := object.(*corev1.ConfigMap); isConfigMap {
		resource = corev1.ResourceConfigMaps.String()
	}
	o := client.UpdateOptions{}
	o.ApplyOptions(options)
	var stored metav1.PartialObjectMetadata
	err := u.api.Put().Namespace(object.GetNamespace()).Resource(resource).Name(object.GetName()).
		VersionedParams(o.AsUpdateOptions(), u.parameters).SetHeader("Accept", metadataOnly).Body(object).Do(ctx).Into(&stored)
	if err != nil {
		return err //nolint:wrapcheck // an error of the API server, as client.Writer returns it
	}
	setObjectMeta(object, &stored.ObjectMeta)
	return nil
}

// clearedManagedFields returns managedFields that make the API server stop tracking which client wrote which field of an object,
// until a client applies the object. With thousands of entries, that costs it as much time and space as the entries themselves.
func clearedManagedFields() []metav1.ManagedFieldsEntry { return []metav1.ManagedFieldsEntry{{}} }

// isTrackedByOthers reports whether managedFields name another client than the manager. Then they must not be cleared: that
// client may rely on them.
func isTrackedByOthers(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager != keys.FieldManager || e.Operation != metav1.ManagedFieldsOperationUpdate
	})
}
