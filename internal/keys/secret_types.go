// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// The types of Secrets that a template may have and that require entries, and Opaque.
const (
	typeOpaque       = "Opaque"
	typeBasicAuth    = "kubernetes.io/basic-auth"
	typeDockerConfig = "kubernetes.io/dockerconfigjson"

	entryUsername     = "username"
	entryPassword     = "password"
	entryDockerConfig = ".dockerconfigjson"
)

// The problems of templates that lack what their type requires.
const (
	basicAuthProblem  = "type " + typeBasicAuth + " requires an entry " + entryUsername + " or " + entryPassword + " that is not empty"
	dockerProblem     = "type " + typeDockerConfig + " requires an entry " + entryDockerConfig
	dockerJSONProblem = "entry " + entryDockerConfig + " must render to a JSON object, as type " + typeDockerConfig +
		" requires: use quote for values that may have quotation marks"
)

// validateRequiredEntries refuses a template that lacks an entry which its type requires, whatever the entries render
// to.
func validateRequiredEntries(t *v1alpha1.SecretTemplate, path *field.Path) field.ErrorList {
	_, hasUsername := t.Data[entryUsername]
	_, hasPassword := t.Data[entryPassword]
	_, hasDockerConfig := t.Data[entryDockerConfig]
	switch {
	case t.Type == typeBasicAuth && !hasUsername && !hasPassword:
		return field.ErrorList{field.Required(path, basicAuthProblem)}
	case t.Type == typeDockerConfig && !hasDockerConfig:
		return field.ErrorList{field.Required(path, dockerProblem)}
	}
	return nil
}

// checkRequiredEntries returns an error if the API server would refuse the rendered entries of a Secret of this type.
func checkRequiredEntries(secretType string, entries map[string][]byte) error {
	switch secretType {
	case typeBasicAuth:
		if len(entries[entryUsername])+len(entries[entryPassword]) == 0 {
			return &TemplateError{basicAuthProblem}
		}
	case typeDockerConfig:
		if len(entries[entryDockerConfig]) == 0 {
			return &TemplateError{dockerProblem}
		}
		var config map[string]any
		if json.Unmarshal(entries[entryDockerConfig], &config) != nil || config == nil {
			return &TemplateError{dockerJSONProblem} // the decoder's error would contain characters of the entry
		}
	}
	return nil
}

// clearedEntries returns the entries of the Secret of a revoked key: those without which the API server refuses a
// Secret of its type, with empty values. A gateway may take any other entry for a key, even if it is empty or a
// constant text. For basic-auth, the API server requires one of two entries. With both of them empty, some gateways
// would admit a user without a name and a password.
func clearedEntries(t *v1alpha1.SecretTemplate) map[string][]byte {
	if t == nil {
		return map[string][]byte{}
	}
	switch t.Type {
	case typeBasicAuth:
		_, hasPassword := t.Data[entryPassword]
		if _, hasUsername := t.Data[entryUsername]; hasUsername && !hasPassword {
			return map[string][]byte{entryUsername: {}}
		}
		return map[string][]byte{entryPassword: {}}
	case typeDockerConfig:
		return map[string][]byte{entryDockerConfig: []byte(`{"auths":{}}`)}
	}
	return map[string][]byte{}
}
