// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package crd validates objects of this project's kinds as an API server does, but without a server: it reads the
// generated CustomResourceDefinitions, applies their defaults, and checks schema, sets and CEL rules in the order of
// the API server.
//
// Only tests may import the package.
package crd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	_ "time/tzdata" // kube-apiserver embeds it, too: the rule of timeZone must not depend on the machine

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"
)

// Object is an object as decoded from YAML or JSON.
type Object = map[string]any

// Kinds holds the kinds of the project by name.
type Kinds map[string]*Kind

// Kind validates the objects of one kind.
type Kind struct {
	// Definition is the CustomResourceDefinition as read from the file, without the defaults of the API server.
	Definition *apiextensionsv1.CustomResourceDefinition

	internal   *apiextensions.CustomResourceDefinition
	structural *schema.Structural
	openAPI    validation.SchemaValidator
	rules      *cel.Validator
}

// Root returns the root of the repository that contains the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "config", "crd", "bases")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no config/crd/bases in any directory above the working directory")
		}
		dir = parent
	}
}

// Load reads the generated CustomResourceDefinitions of the repository at root.
func Load(root string) (Kinds, error) {
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no CustomResourceDefinition in config/crd/bases: run controller-gen")
	}
	kinds := Kinds{}
	for _, file := range files {
		kind, err := ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(file), err)
		}
		kinds[kind.Definition.Spec.Names.Kind] = kind
	}
	return kinds, nil
}

// ReadFile reads a CustomResourceDefinition with one version, which may be that of another project.
func ReadFile(file string) (*Kind, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, definition); err != nil {
		return nil, err
	}
	if n := len(definition.Spec.Versions); n != 1 {
		return nil, fmt.Errorf("%d versions; these tests know one", n)
	}
	defaulted := definition.DeepCopy()
	scheme.Default(defaulted)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := scheme.Convert(defaulted, internal, nil); err != nil {
		return nil, err
	}
	internal.Status.StoredVersions = []string{internal.Spec.Versions[0].Name}
	return newKind(definition, internal)
}

func newKind(definition *apiextensionsv1.CustomResourceDefinition, internal *apiextensions.CustomResourceDefinition) (*Kind, error) {
	declared, err := apiextensions.GetSchemaForVersion(internal, internal.Spec.Versions[0].Name)
	if err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(declared.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("structural schema: %w", err)
	}
	openAPI, _, err := validation.NewSchemaValidator(declared.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("schema validator: %w", err)
	}
	return &Kind{
		Definition: definition,
		internal:   internal,
		structural: structural,
		openAPI:    openAPI,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// ValidateDefinition returns the errors for which an API server would reject the CustomResourceDefinition itself: the
// structure of the schema, defaults, columns, selectable fields, and rules that cannot be compiled or whose estimated
// cost exceeds the limits.
func (k *Kind) ValidateDefinition(ctx context.Context) field.ErrorList {
	return crdvalidation.ValidateCustomResourceDefinition(ctx, k.internal)
}

// Schema returns the schema of the kind.
func (k *Kind) Schema() *apiextensionsv1.JSONSchemaProps {
	return k.Definition.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// Create returns the object that an API server would store for obj, and the errors for which it would reject obj.
// Unlike a create, it also validates the status, as an update of the status would. It does not modify obj.
func (k *Kind) Create(ctx context.Context, obj Object) (Object, field.ErrorList) {
	obj, errs := k.admit(obj)
	errs = append(errs, k.checkName(obj)...)
	errs = append(errs, validation.ValidateCustomResource(nil, obj, k.openAPI)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, obj)...)
	return obj, append(errs, k.checkRules(ctx, errs, obj, nil)...)
}

// Update returns the object that an API server would store for obj in place of old, and the errors for which it would
// reject obj. It does not modify obj and old.
func (k *Kind) Update(ctx context.Context, obj, old Object) (Object, field.ErrorList) {
	obj, errs := k.admit(obj)
	old, _ = k.admit(old)
	correlated := common.NewCorrelatedObject(obj, old, &model.Structural{Structural: k.structural})
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, obj, old, k.openAPI, validation.WithRatcheting(correlated))...)
	if len(listtype.ValidateListSetsAndMaps(nil, k.structural, old)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, obj)...)
	}
	return obj, append(errs, k.checkRules(ctx, errs, obj, old, cel.WithRatcheting(correlated))...)
}

// admit performs the steps before validation: it rejects unknown fields (kubectl requests strict field validation) and
// applies defaults.
func (k *Kind) admit(given Object) (Object, field.ErrorList) {
	obj := runtime.DeepCopyJSON(given)
	var errs field.ErrorList
	unknown := pruning.PruneWithOptions(obj, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, field.Invalid(field.NewPath(path), nil, "unknown field"))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, k.structural)
	defaulting.Default(obj, k.structural)
	return obj, errs
}

func (k *Kind) checkName(obj Object) field.ErrorList {
	object := &metav1.ObjectMeta{}
	if metadata, ok := obj["metadata"].(Object); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(metadata, object); err != nil {
			return field.ErrorList{field.Invalid(field.NewPath("metadata"), nil, err.Error())}
		}
	}
	namespaced := k.Definition.Spec.Scope == apiextensionsv1.NamespaceScoped
	if namespaced && object.Namespace == "" {
		object.Namespace = metav1.NamespaceDefault // the default of kubectl
	}
	return metavalidation.ValidateObjectMeta(object, namespaced, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
}

// blocking lists the errors after which an API server does not evaluate CEL rules.
var blocking = []field.ErrorType{
	field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid,
}

func (k *Kind) checkRules(ctx context.Context, before field.ErrorList, obj, old Object, options ...cel.Option) field.ErrorList {
	if slices.ContainsFunc(before, func(err *field.Error) bool { return slices.Contains(blocking, err.Type) }) {
		return nil
	}
	var former any // an untyped nil means: no old object
	if old != nil {
		former = old
	}
	errs, _ := k.rules.Validate(ctx, nil, k.structural, obj, former, celconfig.RuntimeCELCostBudget, options...)
	return errs
}

// Decode reads one object from YAML as an API server does: whole numbers are decoded as integers, and duplicate fields
// are rejected.
func Decode(data []byte) (Object, error) {
	converted, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	obj := Object{}
	return obj, json.Unmarshal(converted, &obj)
}

// For returns the kind of an object, by its kind and apiVersion.
func (k Kinds) For(obj Object) (*Kind, error) {
	name, _ := obj["kind"].(string)
	kind, ok := k[name]
	if !ok {
		return nil, fmt.Errorf("kind %q is none of %q", name, slices.Sorted(maps.Keys(k)))
	}
	want := kind.Definition.Spec.Group + "/" + kind.Definition.Spec.Versions[0].Name
	if obj["apiVersion"] != want {
		return nil, fmt.Errorf("apiVersion %q of %s is not %s", obj["apiVersion"], name, want)
	}
	return kind, nil
}
