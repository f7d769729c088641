// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

const (
	// objectsEntryName is the default name of the entry under layout Objects.
	objectsEntryName = "api-key"
	// maxTargetName limits the length of target.name, so that a suffix can follow it.
	maxTargetName = 200
)

var specPath = field.NewPath("spec")

// Export is the compiled spec of a KeyExport. It must not be used by several goroutines at a time.
type Export struct {
	name string
	spec v1alpha1.KeyExportSpec

	accounts map[string]bool
	// accountSelector and namespaceSelector are nil if the spec has none.
	accountSelector, namespaceSelector labels.Selector

	template *keys.EntryTemplate
	// json reports whether the template of the value makes JSON, so that each value must be valid JSON.
	json bool

	// acceptances caches what accounts determine, by their names.
	acceptances map[string]cachedAcceptance
}

// Compile checks the spec of a KeyExport and prepares it for use. The message of an error names the field and what to
// change, and is safe to publish. Compile needs only the spec and the name, so that the webhook may call it, too.
func Compile(e *v1alpha1.KeyExport) (*Export, error) {
	if len(e.Undecodable) > 0 {
		return nil, fmt.Errorf("%s cannot be decoded: correct it to match the schema of this version", strings.Join(e.Undecodable, ", "))
	}
	x := &Export{name: e.Name, spec: withDefaults(e.Spec), acceptances: map[string]cachedAcceptance{}}
	if err := x.checkTarget(); err != nil {
		return nil, err
	}
	if err := x.compileSelection(); err != nil {
		return nil, err
	}
	if err := x.compileTemplate(); err != nil {
		return nil, err
	}
	return x, nil
}

// withDefaults returns a copy of a spec with the defaults of the schema.
func withDefaults(spec v1alpha1.KeyExportSpec) v1alpha1.KeyExportSpec {
	s := *spec.DeepCopy()
	s.Content = cmp.Or(s.Content, v1alpha1.ExportContentDigest)
	s.Layout = cmp.Or(s.Layout, v1alpha1.ExportLayoutEntries)
	s.AddressRestricted = cmp.Or(s.AddressRestricted, v1alpha1.AddressRestrictedWithhold)
	if s.Target.Kind == v1alpha1.ExportToSecret {
		s.Target.Type = cmp.Or(s.Target.Type, "Opaque")
	}
	if s.Entry == nil {
		s.Entry = &v1alpha1.ExportEntry{}
	}
	name, value := "{{ .KeyID }}", "{{ .Digest }}"
	if s.Layout == v1alpha1.ExportLayoutObjects {
		name = objectsEntryName
	}
	if s.Content == v1alpha1.ExportContentKey {
		value = "{{ .Key }}"
	}
	s.Entry.Name, s.Entry.Value = cmp.Or(s.Entry.Name, name), cmp.Or(s.Entry.Value, value)
	return s
}

// checkTarget checks what the schema checks, too, and what would be dangerous if the schema did not.
func (x *Export) checkTarget() error {
	s, path := &x.spec, specPath.Child("target")
	switch {
	case s.Content != v1alpha1.ExportContentDigest && s.Content != v1alpha1.ExportContentKey:
		return errors.New("spec.content: must be Digest or Key")
	case s.Layout != v1alpha1.ExportLayoutEntries && s.Layout != v1alpha1.ExportLayoutObjects:
		return errors.New("spec.layout: must be Entries or Objects")
	case s.AddressRestricted != v1alpha1.AddressRestrictedWithhold && s.AddressRestricted != v1alpha1.AddressRestrictedInclude:
		return errors.New("spec.addressRestricted: must be Withhold or Include")
	case s.Target.Kind != v1alpha1.ExportToSecret && s.Target.Kind != v1alpha1.ExportToConfigMap:
		return errors.New("spec.target.kind: must be Secret or ConfigMap")
	case s.Content == v1alpha1.ExportContentKey && s.Target.Kind != v1alpha1.ExportToSecret:
		return errors.New("spec.content: Key may be written to Secrets only: set spec.target.kind to Secret, or spec.content to Digest")
	case s.Target.Kind != v1alpha1.ExportToSecret && s.Target.Type != "":
		return errors.New("spec.target.type: may be set for Secrets only")
	case len(s.Target.Name) > maxTargetName || len(validation.IsDNS1123Subdomain(s.Target.Name)) > 0:
		return fmt.Errorf(
			"spec.target.name: must be the name of an object of at most %d lower-case letters, digits, '-' and '.', such as gateway-keys",
			maxTargetName,
		)
	}
	if errs := keys.ValidateExportTarget(&s.Target, path); len(errs) > 0 {
		message, _, _ := strings.Cut(errs[0].Error(), " (e.g. ") // the example is too long for a condition
		return errors.New(message)
	}
	return nil
}

func (x *Export) compileSelection() (err error) {
	if len(x.spec.Accounts) > 0 {
		x.accounts = make(map[string]bool, len(x.spec.Accounts))
	}
	for _, name := range x.spec.Accounts {
		x.accounts[name] = true
	}
	if x.accountSelector, err = compileSelector(x.spec.AccountSelector, "accountSelector"); err != nil {
		return err
	}
	x.namespaceSelector, err = compileSelector(x.spec.NamespaceSelector, "namespaceSelector")
	return err
}

// compileSelector returns nil for a selector that is not set.
func compileSelector(s *metav1.LabelSelector, name string) (labels.Selector, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no selector selects everything
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		var all interface{ Errors() []error }
		if errors.As(err, &all) && len(all.Errors()) > 0 {
			err = all.Errors()[0]
		}
		return nil, errors.New(keys.TruncateMessage(fmt.Sprintf("%s: must be a valid label selector: %v", specPath.Child(name), err)))
	}
	return selector, nil
}

func (x *Export) compileTemplate() (err error) {
	if x.template, err = keys.CompileEntryTemplate(*x.spec.Entry, x.spec.Content); err != nil {
		return fmt.Errorf("spec.%w", err)
	}
	return x.checkTemplate()
}
