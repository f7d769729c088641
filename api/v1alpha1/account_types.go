// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Account represents the customer or tenant that owns API keys, and defines the policy for them.
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

	// spec defines the policy for the account's keys.
	// +optional
	// +default={}
	Spec AccountSpec `json:"spec,omitzero"`
	// status is the most recently observed state of the Account.
	// +optional
	// +default={"observedGeneration":-1}
	Status AccountStatus `json:"status,omitzero"`

	// Undecodable holds the paths of the fields that could not be decoded, such as spec.limits; these fields are left
	// at their zero values. It is not part of the API. The manager does not reconcile such an object and must not write
	// it, and verifiers do not accept its keys.
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
	// items is the list of Accounts.
	Items []Account `json:"items"`
}

// AccountState determines whether the keys of an account may be used.
//
// +kubebuilder:validation:Enum=Active;Suspended
type AccountState string

// The states of an account.
const (
	// AccountActive means that the keys of the account may be used.
	AccountActive AccountState = "Active"
	// AccountSuspended means that no key of the account is valid.
	AccountSuspended AccountState = "Suspended"
)

// DeletionPolicy determines whether keys may be deleted.
//
// +kubebuilder:validation:Enum=Allow;Forbid;RequireConfirmation
type DeletionPolicy string

// The policies for the deletion of keys.
const (
	// DeletionAllow allows the deletion of keys.
	DeletionAllow DeletionPolicy = "Allow"
	// DeletionForbid rejects the deletion of keys: they can only be deactivated or revoked.
	DeletionForbid DeletionPolicy = "Forbid"
	// DeletionRequireConfirmation rejects the deletion of a key that does not have ConfirmDeletionAnnotation.
	DeletionRequireConfirmation DeletionPolicy = "RequireConfirmation"
)

// ConfirmDeletionAnnotation confirms the deletion of a key under DeletionRequireConfirmation. Its value is the name of
// the key.
const ConfirmDeletionAnnotation = "apikey-manager.io/confirm-deletion"

// AdoptAnnotation requests that an APIKey adopt the annotated Secret together with the key in it. Its value is the name
// of the APIKey. It requires ImportAllow.
const AdoptAnnotation = "apikey-manager.io/adopt"

// ImportPolicy determines whether keys may use credentials that the manager did not generate.
//
// +kubebuilder:validation:Enum=Forbid;Allow
type ImportPolicy string

// The policies for the import of credentials.
const (
	// ImportForbid restricts keys to credentials that the manager generates.
	ImportForbid ImportPolicy = "Forbid"
	// ImportAllow allows a key to adopt an annotated Secret, or to name a digest in spec.import.
	ImportAllow ImportPolicy = "Allow"
)

// CreatedByAnnotation marks an Account that the manager created; its value is CreatedByManager. No user has written the
// spec of such an Account while it is at its first generation. The first spec that a user writes also applies to keys
// that were issued before.
const (
	CreatedByAnnotation = "apikey-manager.io/created-by"
	CreatedByManager    = "apikey-manager"
)

// LabelPolicy determines whether several keys of an account may have the same label.
//
// +kubebuilder:validation:Enum=Unique;Shared
type LabelPolicy string

// The policies for the labels of keys.
const (
	// LabelUnique allows a label on one key of the account only.
	LabelUnique LabelPolicy = "Unique"
	// LabelShared allows the same label on several keys.
	LabelShared LabelPolicy = "Shared"
)

// IPWhitelistPolicy determines whether keys must have an IP whitelist.
//
// +kubebuilder:validation:Enum=Optional;Required
type IPWhitelistPolicy string

// The policies for the IP whitelists of keys.
const (
	// IPWhitelistOptional allows keys with and without an IP whitelist.
	IPWhitelistOptional IPWhitelistPolicy = "Optional"
	// IPWhitelistRequired rejects keys without an IP whitelist.
	IPWhitelistRequired IPWhitelistPolicy = "Required"
)

// AccountSpec defines the policy for the keys of an account.
//
// +kubebuilder:validation:MinProperties=0
type AccountSpec struct {
	// displayName is the name of the account in the provider's own system.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 256",message="displayName must be at most 256 characters"
	DisplayName string `json:"displayName,omitempty"`
	// externalID is the opaque id of the account in the provider's own system. Verifiers pass it to the gateway.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 256",message="externalID must be at most 256 characters"
	ExternalID string `json:"externalID,omitempty"`
	// state determines whether the keys of the account may be used. Active: they may. Suspended: every key of the
	// account is invalid immediately.
	// +optional
	// +default="Active"
	State AccountState `json:"state,omitempty"`
	// timeZone is the IANA time zone in which the expiration date of a key starts, such as Europe/Madrid.
	// +optional
	// +default="UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+/-]*$') && self != 'Local' && timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0",message="timeZone must be an IANA time zone, such as UTC or Europe/Madrid"
	TimeZone string `json:"timeZone,omitempty"`
	// limits determines how many keys the account may have.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// deletionPolicy determines whether keys may be deleted. It defaults to the manager's --default-deletion-policy.
	// Allow: they may. Forbid: they can only be deactivated or revoked. RequireConfirmation: a key may be deleted once
	// its annotation apikey-manager.io/confirm-deletion is its own name.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// retention determines how long expired and revoked keys are kept. After that time the manager deletes them with
	// their Secrets, unless the effective deletionPolicy is Forbid. Under RequireConfirmation this field is the
	// confirmation. If not set, such keys are kept until a user deletes them.
	// +optional
	Retention *Retention `json:"retention,omitempty"`
	// labelPolicy determines whether several keys of the account may have the same label. Unique: the older key keeps
	// the label, and the younger key is not accepted. Shared: they may.
	// +optional
	// +default="Unique"
	LabelPolicy LabelPolicy `json:"labelPolicy,omitempty"`
	// expirationPolicy determines whether keys must expire, and how soon.
	// +optional
	ExpirationPolicy *ExpirationPolicy `json:"expirationPolicy,omitempty"`
	// ipWhitelistPolicy determines whether keys must have an IP whitelist. Optional: they need none. Required: a key
	// without ipWhitelist is not accepted.
	// +optional
	// +default="Optional"
	IPWhitelistPolicy IPWhitelistPolicy `json:"ipWhitelistPolicy,omitempty"`
	// importPolicy determines whether keys may use credentials that the manager did not generate. Forbid: they may not.
	// Allow: a key may adopt a Secret with the annotation apikey-manager.io/adopt, or name a digest in spec.import.
	// With Allow, every client that can write Secrets can choose the value of a key, and every client that can create
	// APIKeys can name the digest of a key that it does not own.
	// +optional
	// +default="Forbid"
	ImportPolicy ImportPolicy `json:"importPolicy,omitempty"`
	// exportPolicy determines what KeyExports may hold of the account's keys. Forbid: nothing. Digest: their digests.
	// Key: the keys themselves, too. Verifiers accept the keys in any case.
	// +optional
	// +default="Digest"
	ExportPolicy ExportPolicy `json:"exportPolicy,omitempty"`
	// allowedScopes lists the scopes that keys may have. A trailing * matches any suffix. If not set, all scopes are
	// allowed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="allowedScopes entries must consist of letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	AllowedScopes []string `json:"allowedScopes,omitempty"`
	// allowedNamespaces selects, by label, the namespaces whose keys may name this account. If not set, all namespaces
	// are allowed.
	// +optional
	AllowedNamespaces *metav1.LabelSelector `json:"allowedNamespaces,omitempty"`
	// plan is the name of the plan that the account is on, such as free or pro. Verifiers pass it to gateways.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="plan must be a label value: letters, digits and - _ . that starts and ends with a letter or digit, such as free"
	Plan string `json:"plan,omitempty"`
	// metadata holds facts about the account that verifiers pass to gateways with each of its keys. This project does
	// not interpret them. An entry takes precedence over one of the same name in the metadata of a key.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.matches('^[a-z][A-Za-z0-9]{0,62}$'))",message="metadata names must be a lower-case letter followed by at most 62 letters and digits, such as tier or costCenter"
	Metadata map[string]MetadataValue `json:"metadata,omitempty"`
	// rateLimits lists the rate limits of the account. Verifiers pass them to gateways, which enforce them for the account
	// as a whole, for each of its keys, or for both.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	RateLimits []RateLimit `json:"rateLimits,omitempty"`
	// keyDefaults holds the defaults for fields that a key does not set.
	// +optional
	KeyDefaults *KeyDefaults `json:"keyDefaults,omitempty"`
}

// Switch enables or disables a feature.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type Switch string

// The values of a Switch.
const (
	// SwitchEnabled enables the feature.
	SwitchEnabled Switch = "Enabled"
	// SwitchDisabled disables the feature.
	SwitchDisabled Switch = "Disabled"
)

// Enforcement determines what happens when a key is created while the account is at its limit.
//
// +kubebuilder:validation:Enum=Reject;Queue
type Enforcement string

// The ways to enforce the limit on the creation of a key.
const (
	// EnforcementReject rejects the creation of the key.
	EnforcementReject Enforcement = "Reject"
	// EnforcementQueue allows the creation of the key, which then waits for a slot.
	EnforcementQueue Enforcement = "Queue"
)

// Counting determines which keys count towards the limit.
//
// +kubebuilder:validation:Enum=All;Usable
type Counting string

// The ways to count keys.
const (
	// CountAll counts every key that exists.
	CountAll Counting = "All"
	// CountUsable counts active keys only. Inactive, expired and revoked keys release their slots.
	CountUsable Counting = "Usable"
)

// Limits determines how many keys an account may have.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxKeys) || !has(self.unlimited) || self.unlimited != 'Enabled'",message="limits.maxKeys must not be set when unlimited is Enabled"
type Limits struct {
	// maxKeys is the maximum number of keys that hold a slot. It defaults to the manager's --default-max-keys, which
	// defaults to 5.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MaxKeys *int32 `json:"maxKeys,omitempty"`
	// unlimited removes the limit when it is Enabled. Disabled is the same as not set.
	// +optional
	Unlimited Switch `json:"unlimited,omitempty"`
	// enforcement determines what happens when a key is created while the account is at its limit. Reject: the creation
	// is rejected. Queue: the key is created and waits for a slot.
	// +optional
	// +default="Reject"
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// counting determines which keys hold a slot. All: every key that exists. Usable: active keys only; inactive,
	// expired and revoked keys release their slots.
	// +optional
	// +default="All"
	Counting Counting `json:"counting,omitempty"`
}

// ExpirationMode determines whether keys must expire.
//
// +kubebuilder:validation:Enum=Optional;Required;Forbidden
type ExpirationMode string

// The modes of an expiration policy.
const (
	// ExpirationOptional allows keys with and without an expiration.
	ExpirationOptional ExpirationMode = "Optional"
	// ExpirationRequired rejects keys without an expiration.
	ExpirationRequired ExpirationMode = "Required"
	// ExpirationForbidden rejects keys with an expiration.
	ExpirationForbidden ExpirationMode = "Forbidden"
)

// ExpirationPolicy determines whether keys must expire, and how soon.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxLifetime) || !has(self.mode) || self.mode != 'Forbidden'",message="expirationPolicy.maxLifetime must not be set when mode is Forbidden"
type ExpirationPolicy struct {
	// mode determines whether keys must have an expiration. Optional: they may have one. Required: they must have one.
	// Forbidden: they must not have one.
	// +optional
	// +default="Optional"
	Mode ExpirationMode `json:"mode,omitempty"`
	// maxLifetime is the maximum time from the creation of a key to its expiration. It does not apply to a key without
	// an expiration.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="expirationPolicy.maxLifetime must be at least 1m, such as 2160h for ninety days"
	MaxLifetime Duration `json:"maxLifetime,omitempty"`
}

// Retention determines how long expired and revoked keys are kept.
//
// +kubebuilder:validation:MinProperties=1
type Retention struct {
	// expiredAfter is how long a key must have been Expired before the manager deletes it. Until then, setting a later
	// expiration makes the key valid again. If not set, expired keys are kept.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="retention.expiredAfter must be at least 1m, such as 720h for thirty days"
	ExpiredAfter Duration `json:"expiredAfter,omitempty"`
	// revokedAfter is how long a key must have been Revoked before the manager deletes it. If not set, revoked keys are
	// kept.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="retention.revokedAfter must be at least 1m, such as 720h for thirty days"
	RevokedAfter Duration `json:"revokedAfter,omitempty"`
}

// KeyDefaults holds the defaults for fields that a key does not set.
//
// +kubebuilder:validation:MinProperties=1
type KeyDefaults struct {
	// format is the format of credentials of keys that do not set format.
	// +optional
	Format *Format `json:"format,omitempty"`
	// scopes lists the scopes of keys that do not set scopes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="scopes entries must consist of letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	Scopes []string `json:"scopes,omitempty"`
	// rotation is the rotation of keys. Each of its fields applies to keys that do not set that field.
	// +optional
	Rotation *RotationDefaults `json:"rotation,omitempty"`
	// notification is the notification of keys that do not set notification.
	// +optional
	Notification *Notification `json:"notification,omitempty"`
}

// RotationDefaults holds the fields of Rotation that an account can set for its keys.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.overlap) || !(self.interval + self.overlap).matches('^([0-9]{1,6}(h|m|s)){2,6}$') || duration(self.overlap) <= duration(self.interval)",message="keyDefaults.rotation.overlap must not be longer than keyDefaults.rotation.interval"
type RotationDefaults struct {
	// interval is how often a new credential is issued. It is at least 1m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="keyDefaults.rotation.interval must be at least 1m, such as 720h for thirty days"
	Interval Duration `json:"interval,omitempty"`
	// overlap is how long the previous credential stays valid after a rotation.
	// +optional
	Overlap Duration `json:"overlap,omitempty"`
}

// AccountStatus describes the most recently observed state of an Account.
//
// +kubebuilder:validation:MinProperties=1
type AccountStatus struct {
	// conditions describe the observed state of the Account. Ready: the spec has been carried out, which includes
	// suspended accounts. Stalled, present only while True: the manager cannot make progress until a user changes
	// something.
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
	// deletionPolicy is the effective policy: that of the spec or the manager's default. It is Allow, Forbid or
	// RequireConfirmation.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// keys holds the numbers of the account's keys.
	// +optional
	Keys *KeyCounts `json:"keys,omitempty"`
	// slots is the authoritative record of the keys that may hold a credential. It is empty for an account without a
	// limit.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Slots []Slot `json:"slots,omitempty"`
	// mail counts the mails that were sent about the account's keys. It is kept when keys are deleted, so that deleting
	// and recreating a key does not circumvent the manager's --smtp-max-per-account.
	// +optional
	Mail *MailStatus `json:"mail,omitempty"`
}

// MailStatus counts the mails that were sent about the keys of an account on one day.
type MailStatus struct {
	// date is the day in UTC that sent refers to.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	Date string `json:"date,omitempty"`
	// sent is the number of mails passed to the mail server on that day, counting one for each recipient. It is written
	// before they are sent.
	// +required
	// +kubebuilder:validation:Minimum=0
	Sent *int32 `json:"sent,omitempty"`
}

// KeyCounts holds the numbers of an account's keys.
type KeyCounts struct {
	// usage is the number of slots in use and the limit, such as 3/5 or 3/unlimited.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Usage string `json:"usage,omitempty"`
	// admitted is the number of keys that hold a slot.
	// +required
	// +kubebuilder:validation:Minimum=0
	Admitted *int32 `json:"admitted,omitempty"`
	// waiting is the number of keys that wait for a slot.
	// +required
	// +kubebuilder:validation:Minimum=0
	Waiting *int32 `json:"waiting,omitempty"`
	// active is the number of keys that verifiers accept.
	// +required
	// +kubebuilder:validation:Minimum=0
	Active *int32 `json:"active,omitempty"`
	// inactive is the number of keys that are deactivated.
	// +required
	// +kubebuilder:validation:Minimum=0
	Inactive *int32 `json:"inactive,omitempty"`
	// expired is the number of keys that have expired.
	// +required
	// +kubebuilder:validation:Minimum=0
	Expired *int32 `json:"expired,omitempty"`
	// revoked is the number of keys that are revoked.
	// +required
	// +kubebuilder:validation:Minimum=0
	Revoked *int32 `json:"revoked,omitempty"`
}

// Slot describes a slot within the limit of an account, and the key that holds it.
type Slot struct {
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
	// uid is the UID of the key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=36
	UID string `json:"uid,omitempty"`
	// grant identifies this grant of the slot. It is the resourceVersion of the Account at which the slot was granted.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Grant string `json:"grant,omitempty"`
	// label is the label that the key has in the account, if any.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Label string `json:"label,omitempty"`
}
