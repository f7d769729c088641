// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// withoutData returns the error of a write of an object with some data, without anything of that data: what the API server
// and its admission plugins say may repeat the object, and an error is logged.
func withoutData(err error, data ...map[string][]byte) error {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return err
	}
	hidden := joined(data)
	if refused := keys.NewRefusedError(answer.Status(), hidden); refused != nil {
		return refused
	}
	return &apierrors.StatusError{ErrStatus: keys.RedactStatus(answer.Status(), hidden)}
}

// joined returns the values of all data, under names that do not matter.
func joined(data []map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for i, values := range data {
		for name, value := range values {
			all[string(rune('a'+i))+name] = value
		}
	}
	return all
}

// errorKind names the kind of an API error without its text, which may vary from one try to the next. What the API server refused
// is repeated.
func errorKind(err error) string {
	if refused, ok := errors.AsType[*keys.RefusedError](err); ok {
		return refused.Error()
	}
	if answer := apierrors.APIStatus(nil); errors.As(err, &answer) {
		if webhook := keys.FailedWebhook(answer.Status()); webhook != "" {
			return "admission webhook " + webhook + " could not be called"
		}
	}
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		return string(r)
	}
	return "the API server did not answer"
}
