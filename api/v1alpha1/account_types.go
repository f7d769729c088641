// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Account is the customer or tenant that owns API keys, and the policy for them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=acct,categories=apikey-manager
// +kubebuilder:printcolumn:name="KEYS",type=string,JSONPath=`.status.keys.usage`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.spec.state`
// +kubebuilder:printcolumn:name="DELETION",type=string,JSONPath=`.status.deletionPolicy`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self.metadata.name).hasValue()",message="metadata.name of an Account must be a DNS-1123 label of at most 63 characters, such as acme-shop"
type Account struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the policy for the account's keys.
	// +optional
	// +default={}
	Spec AccountSpec `json:"spec,omitzero"`
	// status is what is true of the account now.
	// +optional
	// +default={"observedGeneration":-1}
	Status AccountStatus `json:"status,omitzero"`

	// Undecodable holds the paths of the fields that could not be decoded and are left out here, such as spec.rotation. It is
	// not part of the API. Such an object is not worked on, its keys are not accepted, and it must not be written.
	Undecodable []string `json:"-"`
}

// AccountList is a list of Accounts.
//
// +kubebuilder:object:root=true
type AccountList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the accounts.
	Items []Account `json:"items"`
}

// AccountState is whether an account's keys may be used.
//
// +kubebuilder:validation:Enum=Active;Suspended
type AccountState string

// Whether an account's keys may be used.
const (
	// AccountActive is the normal state.
	AccountActive AccountState = "Active"
	// AccountSuspended makes every key of the account invalid at once.
	AccountSuspended AccountState = "Suspended"
)

// DeletionPolicy is whether keys may be deleted.
//
// +kubebuilder:validation:Enum=Allow;Forbid;RequireConfirmation
type DeletionPolicy string

// Whether keys may be deleted.
const (
	// DeletionAllow lets keys be deleted.
	DeletionAllow DeletionPolicy = "Allow"
	// DeletionForbid rejects deletion: keys can only be deactivated or revoked.
	DeletionForbid DeletionPolicy = "Forbid"
	// DeletionRequireConfirmation rejects deletion until the key carries the confirming annotation.
	DeletionRequireConfirmation DeletionPolicy = "RequireConfirmation"
)

// ConfirmDeletionAnnotation confirms the deletion of a key under RequireConfirmation. Its value is the key's name.
const ConfirmDeletionAnnotation = "apikey-manager.io/confirm-deletion"

// AdoptAnnotation asks that an APIKey adopt the Secret it is on, with the key that the Secret holds. Its value is the
// name of the APIKey. It has an effect under ImportAllow only.
const AdoptAnnotation = "apikey-manager.io/adopt"

// ImportPolicy determines whether keys may be made from credentials that the manager did not generate.
//
// +kubebuilder:validation:Enum=Forbid;Allow
type ImportPolicy string

// Whether keys may be made from credentials that the manager did not generate.
const (
	// ImportForbid leaves it to the manager to generate every credential.
	ImportForbid ImportPolicy = "Forbid"
	// ImportAllow lets a key adopt a Secret that is annotated for it.
	ImportAllow ImportPolicy = "Allow"
)

// CreatedByAnnotation marks an Account that the manager created, with CreatedByManager as its value. While such an Account
// is at its first generation no user has written its spec, and keys issued under it are bound by the first spec that is
// written.
const (
	CreatedByAnnotation = "apikey-manager.io/created-by"
	CreatedByManager    = "apikey-manager"
)

// LabelPolicy is whether two keys of an account may have the same label.
//
// +kubebuilder:validation:Enum=Unique;Shared
type LabelPolicy string

// Whether two keys of an account may have the same label.
const (
	// LabelUnique gives a label to one key of the account only.
	LabelUnique LabelPolicy = "Unique"
	// LabelShared lets keys share a label.
	LabelShared LabelPolicy = "Shared"
)

// IPWhitelistPolicy is whether keys must have an IP whitelist.
//
// +kubebuilder:validation:Enum=Optional;Required
type IPWhitelistPolicy string

// Whether keys must have an IP whitelist.
const (
	// IPWhitelistOptional leaves it to the key.
	IPWhitelistOptional IPWhitelistPolicy = "Optional"
	// IPWhitelistRequired refuses keys without one.
	IPWhitelistRequired IPWhitelistPolicy = "Required"
)

// AccountSpec is the policy for an account's keys.
//
// +kubebuilder:validation:MinProperties=0
type AccountSpec struct {
	// displayName is the account's name in the provider's own system.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 256",message="displayName must be at most 256 characters"
	DisplayName string `json:"displayName,omitempty"`
	// externalID is the account's opaque id in the provider's own system. Verifiers hand it on.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 256",message="externalID must be at most 256 characters"
	ExternalID string `json:"externalID,omitempty"`
	// state is Active, or Suspended, which makes every key of the account invalid at once.
	// +optional
	// +default="Active"
	State AccountState `json:"state,omitempty"`
	// timeZone is the IANA zone in which a key's expiration date begins, such as Europe/Madrid.
	// +optional
	// +default="UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+/-]*$') && self != 'Local' && timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0",message="timeZone must be an IANA time zone, such as UTC or Europe/Madrid"
	TimeZone string `json:"timeZone,omitempty"`
	// limits are how many keys the account may have.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// deletionPolicy determines whether keys may be deleted; it defaults to the manager's --default-deletion-policy. Allow: they
	// may. Forbid: they can only be switched off or revoked. RequireConfirmation: they may once they have the annotation
	// apikey-manager.io/confirm-deletion with their name.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// retention is how long keys are kept that have come to their end. Left out, until they are deleted by a user. The manager
	// deletes them after that, with their Secrets, unless the deletionPolicy in force is Forbid. Under RequireConfirmation this
	// field is the confirmation.
	// +optional
	Retention *Retention `json:"retention,omitempty"`
	// labelPolicy determines whether two keys of the account may have the same label. Unique: the older key keeps it, and the
	// younger is not accepted. Shared: they may.
	// +optional
	// +default="Unique"
	LabelPolicy LabelPolicy `json:"labelPolicy,omitempty"`
	// expirationPolicy is whether keys must expire, and how soon.
	// +optional
	ExpirationPolicy *ExpirationPolicy `json:"expirationPolicy,omitempty"`
	// ipWhitelistPolicy determines whether keys must be bound to addresses. Optional: that is up to the key. Required: a key
	// without ipWhitelist is not accepted.
	// +optional
	// +default="Optional"
	IPWhitelistPolicy IPWhitelistPolicy `json:"ipWhitelistPolicy,omitempty"`
	// importPolicy determines whether keys may be made from credentials that the manager did not generate. Forbid: they
	// may not. Allow: a key may adopt a Secret with the annotation apikey-manager.io/adopt, or name a digest in spec.import.
	// Whoever may write Secrets can then choose a key's value, and whoever may create APIKeys can name a digest that is not theirs.
	// +optional
	// +default="Forbid"
	ImportPolicy ImportPolicy `json:"importPolicy,omitempty"`
	// allowedScopes are the scopes keys may have; a trailing * matches the rest. Left out, all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="allowedScopes are letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	AllowedScopes []string `json:"allowedScopes,omitempty"`
	// allowedNamespaces selects, by label, the namespaces whose keys may name this account. Left out, all.
	// +optional
	AllowedNamespaces *metav1.LabelSelector `json:"allowedNamespaces,omitempty"`
	// keyDefaults are for keys that do not say otherwise.
	// +optional
	KeyDefaults *KeyDefaults `json:"keyDefaults,omitempty"`
}

// Switch turns something on or off.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type Switch string

// On and off.
const (
	// SwitchEnabled is on.
	SwitchEnabled Switch = "Enabled"
	// SwitchDisabled is off.
	SwitchDisabled Switch = "Disabled"
)

// Enforcement is what the creation of one key too many gets.
//
// +kubebuilder:validation:Enum=Reject;Queue
type Enforcement string

// What the creation of one key too many gets.
const (
	// EnforcementReject denies it.
	EnforcementReject Enforcement = "Reject"
	// EnforcementQueue lets it in, to wait for a slot.
	EnforcementQueue Enforcement = "Queue"
)

// Counting is which keys count towards the limit.
//
// +kubebuilder:validation:Enum=All;Usable
type Counting string

// Which keys count towards the limit.
const (
	// CountAll counts every key that exists.
	CountAll Counting = "All"
	// CountUsable counts active keys: inactive, expired and revoked ones give their slot back.
	CountUsable Counting = "Usable"
)

// Limits are how many keys an account may have.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxKeys) || !has(self.unlimited) || self.unlimited != 'Enabled'",message="limits takes maxKeys or unlimited: Enabled, not both"
type Limits struct {
	// maxKeys is how many keys may hold a slot: what the manager's --default-max-keys says (5) unless said.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MaxKeys *int32 `json:"maxKeys,omitempty"`
	// unlimited lifts the limit when Enabled; Disabled is the same as leaving it out.
	// +optional
	Unlimited Switch `json:"unlimited,omitempty"`
	// enforcement determines what happens when a key is created while every slot is taken. Reject: it is denied. Queue: it is let
	// in, and waits for a slot.
	// +optional
	// +default="Reject"
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// counting determines which keys hold a slot. All: every key that exists. Usable: inactive, expired and revoked keys give
	// their slots back.
	// +optional
	// +default="All"
	Counting Counting `json:"counting,omitempty"`
}

// ExpirationMode is whether keys must expire.
//
// +kubebuilder:validation:Enum=Optional;Required;Forbidden
type ExpirationMode string

// Whether keys must expire.
const (
	// ExpirationOptional leaves it to the key.
	ExpirationOptional ExpirationMode = "Optional"
	// ExpirationRequired refuses keys without an expiration.
	ExpirationRequired ExpirationMode = "Required"
	// ExpirationForbidden refuses keys with an expiration.
	ExpirationForbidden ExpirationMode = "Forbidden"
)

// ExpirationPolicy is whether keys must expire, and how soon.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxLifetime) || !has(self.mode) || self.mode != 'Forbidden'",message="expirationPolicy.maxLifetime does not go with mode Forbidden"
type ExpirationPolicy struct {
	// mode is Optional, Required or Forbidden.
	// +optional
	// +default="Optional"
	Mode ExpirationMode `json:"mode,omitempty"`
	// maxLifetime is the longest time from a key's creation to its expiration. A key without one is not bound by it
	// unless mode is Required.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="expirationPolicy.maxLifetime must be at least 1m, such as 2160h for ninety days"
	MaxLifetime Duration `json:"maxLifetime,omitempty"`
}

// Retention is how long keys are kept that have come to their end.
//
// +kubebuilder:validation:MinProperties=1
type Retention struct {
	// expiredAfter is how long a key must have been Expired to be deleted by the manager. Left out, such keys are kept. An expired
	// key can be revived only until then.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="retention.expiredAfter must be at least 1m, such as 720h for thirty days"
	ExpiredAfter Duration `json:"expiredAfter,omitempty"`
	// revokedAfter is how long a key must have been Revoked to be deleted by the manager. Left out, such keys are kept.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="retention.revokedAfter must be at least 1m, such as 720h for thirty days"
	RevokedAfter Duration `json:"revokedAfter,omitempty"`
}

// KeyDefaults are for keys that do not say otherwise.
//
// +kubebuilder:validation:MinProperties=1
type KeyDefaults struct {
	// format of the credentials.
	// +optional
	Format *Format `json:"format,omitempty"`
	// scopes of keys that name none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="scopes are letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	Scopes []string `json:"scopes,omitempty"`
	// rotation of keys that name none.
	// +optional
	Rotation *RotationDefaults `json:"rotation,omitempty"`
	// notification of keys that name none.
	// +optional
	Notification *Notification `json:"notification,omitempty"`
}

// RotationDefaults is the part of Rotation that an account can set for its keys.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.overlap) || !(self.interval + self.overlap).matches('^([0-9]{1,6}(h|m|s)){2,6}$') || duration(self.overlap) <= duration(self.interval)",message="keyDefaults.rotation.overlap must not be longer than keyDefaults.rotation.interval"
type RotationDefaults struct {
	// interval is how often a new credential is issued, at least 1m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="keyDefaults.rotation.interval must be at least 1m, such as 720h for thirty days"
	Interval Duration `json:"interval,omitempty"`
	// overlap is how long the previous credential stays valid after a rotation.
	// +optional
	Overlap Duration `json:"overlap,omitempty"`
}

// AccountStatus is what is true of an account now.
//
// +kubebuilder:validation:MinProperties=1
type AccountStatus struct {
	// conditions say how far the spec is carried out. Ready: it is; also of a suspended account. Stalled, which is there only while
	// it is True: waiting does not help, a user has to act.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// observedGeneration is the generation of the spec that this status reports on. It is -1 until the manager has reconciled
	// the object for the first time, which tools that follow kstatus take for "in progress".
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"` //nolint:kubeapilinter // generations begin at 1, so that 0 is never meant
	// deletionPolicy is the policy in force, Allow, Forbid or RequireConfirmation: that of the spec, or the manager's default.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// keys counts the account's keys.
	// +optional
	Keys *KeyCounts `json:"keys,omitempty"`
	// slots is the one record of which keys may hold a credential. Empty for an account without a limit.
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=2000
	Slots []Slot `json:"slots,omitempty"`
	// mail counts the mails that were sent about the account's keys. It outlives the keys, so that no key gets around the
	// manager's --smtp-max-per-account by being created anew.
	// +optional
	Mail *MailStatus `json:"mail,omitempty"`
}

// MailStatus counts the mails of an account on one day.
type MailStatus struct {
	// date is the day that sent counts, in UTC.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	Date string `json:"date,omitempty"`
	// sent is how many mails were handed to the mail server on that day: one for each recipient. It is written before they
	// are.
	// +required
	// +kubebuilder:validation:Minimum=0
	Sent *int32 `json:"sent,omitempty"`
}

// KeyCounts counts an account's keys.
type KeyCounts struct {
	// usage is the slots taken and the limit, such as 3/5 or 3/unlimited.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Usage string `json:"usage,omitempty"`
	// admitted keys hold a slot.
	// +required
	// +kubebuilder:validation:Minimum=0
	Admitted *int32 `json:"admitted,omitempty"`
	// waiting keys wait for one.
	// +required
	// +kubebuilder:validation:Minimum=0
	Waiting *int32 `json:"waiting,omitempty"`
	// active keys are accepted by verifiers.
	// +required
	// +kubebuilder:validation:Minimum=0
	Active *int32 `json:"active,omitempty"`
	// inactive keys are switched off.
	// +required
	// +kubebuilder:validation:Minimum=0
	Inactive *int32 `json:"inactive,omitempty"`
	// expired keys have passed their expiration.
	// +required
	// +kubebuilder:validation:Minimum=0
	Expired *int32 `json:"expired,omitempty"`
	// revoked keys were ended for good.
	// +required
	// +kubebuilder:validation:Minimum=0
	Revoked *int32 `json:"revoked,omitempty"`
}

// Slot is a key's place within its account's limit.
type Slot struct {
	// namespace is the key's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name is the key's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// uid is the key's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// grant tells this grant of a slot from the next: the account's resourceVersion on which it was decided.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Grant string `json:"grant,omitempty"`
	// label is the label the key holds in the account, if it has one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Label string `json:"label,omitempty"`
}
