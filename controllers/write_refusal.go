// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// withoutData returns the error of a write without any part of the data that was written. The messages of the API
// server and of its admission plugins may contain the object, and errors are logged.
func withoutData(err error, data ...map[string][]byte) error {
	var response apierrors.APIStatus
	if !errors.As(err, &response) {
		return err
	}
	hidden := joined(data)
	if refused := keys.NewRefusedError(response.Status(), hidden); refused != nil {
		return refused
	}
	return &apierrors.StatusError{ErrStatus: keys.RedactStatus(response.Status(), hidden)}
}

// joined returns the values of all maps in one map. The names of its entries have no meaning.
func joined(data []map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for i, values := range data {
		for name, value := range values {
			all[string(rune('a'+i))+name] = value
		}
	}
	return all
}

// errorKind returns the kind of an API error without its text, which may differ from one attempt to the next. The
// message is kept if the API server refused the write, or denied the right to it.
func errorKind(err error) string {
	if refused, ok := errors.AsType[*keys.RefusedError](err); ok {
		return refused.Error()
	}
	if response := apierrors.APIStatus(nil); errors.As(err, &response) {
		if webhook := keys.FailedWebhook(response.Status()); webhook != "" {
			return "admission webhook " + webhook + " could not be called"
		}
		if keys.IsAuthorizerDenial(response.Status()) {
			return response.Status().Message // it names the right that the manager lacks
		}
	}
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		return string(r)
	}
	return "the API server did not respond"
}
