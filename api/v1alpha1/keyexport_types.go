// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// KeyExport declares the set of keys that one gateway keeps itself. The manager writes their credentials to Secrets or
// ConfigMaps in the namespace of the KeyExport, where the gateway reads them, and withdraws each credential as soon as
// verifiers would not accept it. While no manager runs, nothing is withdrawn; a gateway that asks a verifier has no such
// gap.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=kex,categories=apikey-manager
// +kubebuilder:printcolumn:name="TARGET",type=string,JSONPath=`.spec.target.name`
// +kubebuilder:printcolumn:name="CONTENT",type=string,JSONPath=`.spec.content`
// +kubebuilder:printcolumn:name="KEYS",type=integer,JSONPath=`.status.keys`
// +kubebuilder:printcolumn:name="CREDENTIALS",type=integer,JSONPath=`.status.credentials`
// +kubebuilder:printcolumn:name="WITHHELD",type=integer,JSONPath=`.status.withheldKeys`
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="KIND",type=string,priority=1,JSONPath=`.spec.target.kind`
// +kubebuilder:printcolumn:name="LAYOUT",type=string,priority=1,JSONPath=`.spec.layout`
// +kubebuilder:printcolumn:name="REASON",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
type KeyExport struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines which credentials are exported, and how.
	// +required
	Spec KeyExportSpec `json:"spec,omitzero"`
	// status is the most recently observed state of the KeyExport.
	// +optional
	// +default={"observedGeneration":-1}
	Status KeyExportStatus `json:"status,omitzero"`

	// Undecodable holds the paths of the fields that could not be decoded, such as spec.target; these fields are left at
	// their zero values. It is not part of the API. The manager does not reconcile such an object and must not write it.
	Undecodable []string `json:"-"`
}

// KeyExportList is a list of KeyExports.
//
// +kubebuilder:object:root=true
type KeyExportList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items is the list of KeyExports.
	Items []KeyExport `json:"items"`
}

// ExportPolicy determines what KeyExports may hold of the keys of an account.
//
// +kubebuilder:validation:Enum=Forbid;Digest;Key
type ExportPolicy string

// The policies for the export of keys.
const (
	// ExportForbid withholds the keys of the account from every KeyExport.
	ExportForbid ExportPolicy = "Forbid"
	// ExportDigest allows KeyExports to hold the digests of the keys.
	ExportDigest ExportPolicy = "Digest"
	// ExportKey allows KeyExports to hold the keys themselves, too.
	ExportKey ExportPolicy = "Key"
)

// ExportContent determines what a KeyExport holds of each credential.
//
// +kubebuilder:validation:Enum=Digest;Key
type ExportContent string

// The contents of KeyExports.
const (
	// ExportContentDigest means the SHA-256 digest of each credential.
	ExportContentDigest ExportContent = "Digest"
	// ExportContentKey means each credential itself.
	ExportContentKey ExportContent = "Key"
)

// ExportLayout determines how a KeyExport distributes credentials to objects.
//
// +kubebuilder:validation:Enum=Entries;Objects
type ExportLayout string

// The layouts of KeyExports.
const (
	// ExportLayoutEntries means an entry for each credential, in objects of about 256 KiB.
	ExportLayoutEntries ExportLayout = "Entries"
	// ExportLayoutObjects means an object for each credential.
	ExportLayoutObjects ExportLayout = "Objects"
)

// ExportTargetKind is the kind of the objects that a KeyExport writes.
//
// +kubebuilder:validation:Enum=Secret;ConfigMap
type ExportTargetKind string

// The kinds of objects that a KeyExport writes.
const (
	// ExportToSecret means Secrets.
	ExportToSecret ExportTargetKind = "Secret"
	// ExportToConfigMap means ConfigMaps.
	ExportToConfigMap ExportTargetKind = "ConfigMap"
)

// AddressRestrictedPolicy determines whether a KeyExport holds keys that may be used from some addresses only.
//
// +kubebuilder:validation:Enum=Withhold;Include
type AddressRestrictedPolicy string

// The policies for keys that may be used from some addresses only.
const (
	// AddressRestrictedWithhold withholds them, because the gateway cannot check the address of a client.
	AddressRestrictedWithhold AddressRestrictedPolicy = "Withhold"
	// AddressRestrictedInclude exports them, for a gateway that checks the address by other means or accepts the risk.
	AddressRestrictedInclude AddressRestrictedPolicy = "Include"
)

// KeyExportSpec defines the desired state of a KeyExport. A key is selected if it meets all criteria that are set.
//
// +kubebuilder:validation:XValidation:rule="self.content != 'Key' || self.target.kind == 'Secret'",fieldPath=".content",message="content: Key may be written to Secrets only: set target.kind to Secret, or content to Digest"
type KeyExportSpec struct {
	// accounts lists the names of the accounts whose keys are exported. If not set, the keys of all accounts are.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="accounts entries must be names of Accounts, which are DNS-1123 labels, such as acme-shop"
	Accounts []string `json:"accounts,omitempty"`
	// accountSelector selects, by label, the accounts whose keys are exported. If not set, it selects all accounts.
	// +optional
	AccountSelector *metav1.LabelSelector `json:"accountSelector,omitempty"`
	// namespaceSelector selects, by label, the namespaces whose keys are exported. If not set, it selects all namespaces.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// scopes lists scopes that a key must have, all of them, to be exported. If not set, a key needs none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="scopes entries must consist of letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	Scopes []string `json:"scopes,omitempty"`
	// content determines what is exported of each credential. Digest: its SHA-256 digest, which is no secret. Key: the
	// credential itself, which the manager reads from the Secret of the key. The exportPolicy of an account can restrict
	// both.
	// +optional
	// +default="Digest"
	Content ExportContent `json:"content,omitempty"`
	// layout determines how credentials are distributed to objects. Entries: an entry for each credential, in
	// objects of about 256 KiB. Objects: an object for each credential. Immutable.
	// +optional
	// +default="Entries"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="layout is immutable: create another KeyExport for another layout"
	Layout ExportLayout `json:"layout,omitempty"`
	// target describes the objects that the manager writes.
	// +required
	Target ExportTarget `json:"target,omitzero"`
	// entry determines the names and values of entries.
	// +optional
	Entry *ExportEntry `json:"entry,omitempty"`
	// addressRestricted determines whether keys that have an ipWhitelist are exported. Withhold: they are not, because the
	// gateway cannot check the address of a client. Include: they are.
	// +optional
	// +default="Withhold"
	AddressRestricted AddressRestrictedPolicy `json:"addressRestricted,omitempty"`
}

// ExportTarget describes the objects that a KeyExport writes, in its own namespace. The manager never changes an object
// that exists and that the KeyExport does not own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.kind == 'Secret'",fieldPath=".type",message="target.type may be set for Secrets only"
// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : 'Opaque') == (has(oldSelf.type) ? oldSelf.type : 'Opaque')",fieldPath=".type",message="target.type is immutable, like the type of a Secret: create another KeyExport to write Secrets of another type"
type ExportTarget struct {
	// kind is the kind of the objects: Secret or ConfigMap. The manager writes ConfigMaps only in the namespaces of its
	// flag --export-configmap-namespaces. Immutable.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="target.kind is immutable: create another KeyExport to write objects of another kind"
	Kind ExportTargetKind `json:"kind,omitempty"`
	// name is the name of the first object. Under layout Entries, further objects are called <name>-1, <name>-2 and so on.
	// Under layout Objects, each object is called <name>-<first 16 hexadecimal digits of the credential's digest>.
	// Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="target.name must be the name of an object: lower-case letters, digits, '-' and '.', such as gateway-keys"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="target.name is immutable: create another KeyExport to write other objects"
	Name string `json:"name,omitempty"`
	// type is the type of Secrets. It defaults to Opaque. Types that Kubernetes or its tools act upon are rejected.
	// Immutable.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().trim().matches('^([^/]*[.])?((kubernetes|k8s|x-k8s|apikey-manager|cattle)[.]io|helm[.]sh)(/|$)')",message="target.type must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use a type that the gateway defines, such as nginx.org/apikey"
	Type string `json:"type,omitempty"`
	// labels are added to the labels of the objects. The domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io
	// are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 63)",message="target.labels must have valid names, such as example.com/team, and values of at most 63 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="target.labels must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: use a label that the gateway defines, such as konghq.com/credential"
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are added to the annotations of the objects. The domains kubernetes.io, k8s.io, x-k8s.io and
	// apikey-manager.io are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 4096)",message="target.annotations must have valid names, such as example.com/owner, and values of at most 4096 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="target.annotations must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: use a domain of your own, such as example.com/owner"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ExportEntry determines the name and the value of each entry. Both are Go templates over .KeyID, .Account, .ExternalID,
// .Label, .Scopes, .Expiration, .Namespace, .Name, .UID, .Role, .Plan, .Metadata, .RateLimits, .Digest and, under content:
// Key, .Key, with the functions of a Secret template.
//
// +kubebuilder:validation:MinProperties=1
type ExportEntry struct {
	// name is the template of the name of an entry, which consists of letters, digits and - _ . only. It must not use .Key,
	// because names are not secret. Under layout Entries it defaults to {{ .KeyID }}, and no two credentials may get the
	// same name. Under layout Objects it defaults to api-key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name,omitempty"`
	// value is the template of the value of an entry. It must contain .Digest under content: Digest, and .Key under content:
	// Key, unchanged; each of them alone is the default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// KeyExportStatus describes the most recently observed state of a KeyExport.
//
// +kubebuilder:validation:MinProperties=1
type KeyExportStatus struct {
	// conditions describe the observed state of the KeyExport. Ready: the objects hold exactly the credentials that they
	// should. Stalled, present only while True: the manager cannot make progress until a user changes something.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// observedGeneration is the generation of the spec that this status describes. It is -1 until the manager has
	// reconciled the object for the first time; tools that follow kstatus treat that as in progress.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"` //nolint:kubeapilinter // generations begin at 1, so that 0 is never meant
	// keys is the number of keys of which the objects hold a credential.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Keys *int32 `json:"keys,omitempty"`
	// credentials is the number of credentials that the objects hold. A key in rotation has more than one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Credentials *int32 `json:"credentials,omitempty"`
	// withheldKeys is the number of selected keys that verifiers accept and that are withheld, in whole or in part.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WithheldKeys *int32 `json:"withheldKeys,omitempty"`
	// withheld lists the first of these keys, by namespace and name.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=50
	Withheld []WithheldKey `json:"withheld,omitempty"`
	// objectCount is the number of objects that the KeyExport owns.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObjectCount *int32 `json:"objectCount,omitempty"`
	// objects lists the names of the first of these objects.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Objects []string `json:"objects,omitempty"`
}

// WithheldKey describes a key that verifiers accept and that a KeyExport withholds.
type WithheldKey struct {
	// namespace is the namespace of the key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name is the name of the key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// reason is why the key is withheld, such as AddressRestricted.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}
