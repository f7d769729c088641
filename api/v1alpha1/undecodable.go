// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// This file prevents one object that cannot be decoded from failing a list or a watch. Such an object was written under
// another schema than the one this version ships.

// UnmarshalJSON implements json.Unmarshaler. It decodes as many fields as it can and records the paths of the others in
// Undecodable. It returns an error only if the metadata cannot be decoded.
func (k *APIKey) UnmarshalJSON(data []byte) error {
	type plain APIKey
	if err := kjson.Unmarshal(data, (*plain)(k)); err == nil {
		k.Undecodable = nil
		return nil
	}
	*k = APIKey{}
	undecodable, err := decodeParts(data, &k.TypeMeta, &k.ObjectMeta, &k.Spec, &k.Status)
	k.Undecodable = undecodable
	return err
}

// UnmarshalJSON implements json.Unmarshaler. It decodes as many fields as it can and records the paths of the others in
// Undecodable. It returns an error only if the metadata cannot be decoded.
func (a *Account) UnmarshalJSON(data []byte) error {
	type plain Account
	if err := kjson.Unmarshal(data, (*plain)(a)); err == nil {
		a.Undecodable = nil
		return nil
	}
	*a = Account{}
	undecodable, err := decodeParts(data, &a.TypeMeta, &a.ObjectMeta, &a.Spec, &a.Status)
	a.Undecodable = undecodable
	return err
}

// UnmarshalJSON implements json.Unmarshaler. It decodes as many fields as it can and records the paths of the others in
// Undecodable. It returns an error only if the metadata cannot be decoded.
func (e *KeyExport) UnmarshalJSON(data []byte) error {
	type plain KeyExport
	if err := kjson.Unmarshal(data, (*plain)(e)); err == nil {
		e.Undecodable = nil
		return nil
	}
	*e = KeyExport{}
	undecodable, err := decodeParts(data, &e.TypeMeta, &e.ObjectMeta, &e.Spec, &e.Status)
	e.Undecodable = undecodable
	return err
}

// decodeParts decodes metadata as a whole, and spec and status field by field. It returns the paths of the fields that
// it could not decode.
func decodeParts(data []byte, kind *metav1.TypeMeta, meta *metav1.ObjectMeta, spec, status any) ([]string, error) {
	var parts struct {
		metav1.TypeMeta `json:",inline"`

		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     json.RawMessage   `json:"spec"`
		Status   json.RawMessage   `json:"status"`
	}
	if err := kjson.Unmarshal(data, &parts); err != nil {
		return nil, err //nolint:wrapcheck // the caller implements json.Unmarshaler
	}
	*kind, *meta = parts.TypeMeta, parts.Metadata
	return append(decodeFields("spec", parts.Spec, spec), decodeFields("status", parts.Status, status)...), nil
}

// decodeFields decodes each field of a struct separately. It returns the paths of the fields that it could not decode.
func decodeFields(path string, data json.RawMessage, into any) []string {
	if len(data) == 0 {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := kjson.Unmarshal(data, &fields); err != nil {
		return []string{path}
	}
	var undecodable []string
	target := reflect.ValueOf(into).Elem()
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		data, present := fields[name]
		if !present {
			continue
		}
		if err := kjson.Unmarshal(data, target.Field(i).Addr().Interface()); err != nil {
			target.Field(i).SetZero() // discards what was decoded before the error
			undecodable = append(undecodable, path+"."+name)
		}
	}
	return undecodable
}
