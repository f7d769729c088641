// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// APIKey is one API key, declared next to the application that uses it. The manager generates its credential, writes it
// into a Secret of the same namespace, and keeps it within the policy of the Account that owns it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ak,categories=apikey-manager
// +kubebuilder:printcolumn:name="ACCOUNT",type=string,JSONPath=`.spec.account`
// +kubebuilder:printcolumn:name="LABEL",type=string,JSONPath=`.spec.label`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="READY",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="EXPIRES",type=string,JSONPath=`.status.expirationTime`
// +kubebuilder:printcolumn:name="LAST-USED",type=date,JSONPath=`.status.lastUsedTime`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="KEY-ID",type=string,priority=1,JSONPath=`.status.keyID`
// +kubebuilder:printcolumn:name="SECRET",type=string,priority=1,JSONPath=`.status.secretRef.name`
// +kubebuilder:printcolumn:name="REASON",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:selectablefield:JSONPath=`.spec.account`
// +kubebuilder:selectablefield:JSONPath=`.spec.label`
// +kubebuilder:selectablefield:JSONPath=`.status.state`
// +kubebuilder:selectablefield:JSONPath=`.status.keyID`
// +kubebuilder:validation:XValidation:rule="has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name == (has(oldSelf.spec.secret) && has(oldSelf.spec.secret.name) ? oldSelf.spec.secret.name : self.metadata.name) : !has(oldSelf.spec.secret) || !has(oldSelf.spec.secret.name) || oldSelf.spec.secret.name == self.metadata.name",fieldPath=".spec.secret.name",message="secret.name is immutable: create another APIKey to write another Secret"
type APIKey struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted of the key.
	// +required
	Spec APIKeySpec `json:"spec,omitzero"`
	// status is what is true of the key now.
	// +optional
	// +default={"observedGeneration":-1}
	Status APIKeyStatus `json:"status,omitzero"`

	// Undecodable holds the paths of the fields that could not be decoded and are left out here, such as spec.rotation. It is
	// not part of the API. Such an object is not worked on, its key is not accepted, and it must not be written.
	Undecodable []string `json:"-"`
}

// APIKeyList is a list of APIKeys.
//
// +kubebuilder:object:root=true
type APIKeyList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the keys.
	Items []APIKey `json:"items"`
}

// KeyState is the state a person wants a key to be in.
//
// +kubebuilder:validation:Enum=Active;Inactive;Revoked
type KeyState string

// The states a person can ask for.
const (
	// KeyStateActive makes verifiers accept the key.
	KeyStateActive KeyState = "Active"
	// KeyStateInactive makes verifiers refuse the key, which is kept for later.
	KeyStateInactive KeyState = "Inactive"
	// KeyStateRevoked ends the key for good.
	KeyStateRevoked KeyState = "Revoked"
)

// APIKeySpec is what is wanted of a key.
//
// +kubebuilder:validation:XValidation:rule="has(self.__import__) == has(oldSelf.__import__)",fieldPath=".import",message="import is immutable, and is set when the APIKey is created: create another APIKey to import another key"
// +kubebuilder:validation:XValidation:rule="(has(self.secret) && has(self.secret.template) && has(self.secret.template.type) ? self.secret.template.type : 'Opaque') == (has(oldSelf.secret) && has(oldSelf.secret.template) && has(oldSelf.secret.template.type) ? oldSelf.secret.template.type : 'Opaque')",fieldPath=".secret",message="secret.template.type is immutable, as the type of a Secret is: create another APIKey to write a Secret of another type"
type APIKeySpec struct {
	// account names the Account that owns the key. It is created with an empty spec if it does not exist.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="account must be a DNS-1123 label: lower-case letters, digits and '-', such as acme-shop"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="account is immutable: create another APIKey for the other account"
	Account string `json:"account,omitempty"`
	// label is what a user calls the key, in any script. It is unique in the account unless the account says labelPolicy:
	// Shared. It is stored as given, and compared as it looks: after Unicode's NFKC, without invisible characters, and with
	// single spaces.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 128",message="label must be at most 128 characters"
	// +kubebuilder:validation:XValidation:rule="!self.matches(r'[\\p{Cc}\\x{2028}-\\x{202e}\\x{2066}-\\x{2069}]')",message="label must not have control characters, line breaks or characters that turn the direction of writing"
	// +kubebuilder:validation:XValidation:rule="self.matches(r'[^\\p{Z}\\p{Cc}\\p{Cf}\\x{34f}\\x{115f}\\x{1160}\\x{17b4}\\x{17b5}\\x{180b}-\\x{180f}\\x{2065}\\x{2800}\\x{3164}\\x{fe00}-\\x{fe0f}\\x{ffa0}\\x{fff0}-\\x{fff8}\\x{e0000}-\\x{e0fff}]')",message="label must have a visible character"
	Label string `json:"label,omitempty"`
	// state is the desired state of the key. Active: verifiers accept it. Inactive: they refuse it, and it is kept for later.
	// Revoked: it is ended for good, which can't be undone.
	// +optional
	// +default="Active"
	// +kubebuilder:validation:XValidation:rule="oldSelf != 'Revoked' || self == 'Revoked'",message="a revoked key stays revoked: create another APIKey instead"
	State KeyState `json:"state,omitempty"`
	// expiration is when the key stops being accepted: a date (2027-02-28, the START of that day in the account's time
	// zone) or an RFC 3339 instant in whole seconds (2027-02-28T12:00:00Z). Left out, the key never expires.
	// +optional
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$') && !self.startsWith('9999') && !format.date().validate(self.substring(0, 10)).hasValue() && (self.size() == 10 || !format.datetime().validate(self).hasValue() && timestamp(self).getFullYear() >= 1000 && timestamp(self).getFullYear() <= 9998)",message="expiration must be a date that exists, such as 2027-02-28, or an RFC 3339 instant in whole seconds, such as 2027-02-28T12:00:00Z, of a year from 1000 to 9998"
	Expiration string `json:"expiration,omitempty"`
	// ipWhitelist are the addresses and networks the key may be used from. Left out, it may be used from anywhere; an
	// empty list is refused, so that emptying it can never open a key.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="ipWhitelist must not be empty: name an address or network, or leave the field out to allow any"
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || (isCIDR(self) && cidr(self).masked() == cidr(self))",message="ipWhitelist entries are addresses, such as 192.0.2.7, or networks without host bits, such as 10.0.0.0/8"
	IPWhitelist []string `json:"ipWhitelist,omitempty"`
	// scopes are what the key may do, such as conversions:write; a trailing * matches the rest. Left out, the account's
	// default scopes apply.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="scopes are letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	Scopes []string `json:"scopes,omitempty"`
	// rotation says when the key gets a new credential, and how long the previous one stays valid.
	// +optional
	Rotation *Rotation `json:"rotation,omitempty"`
	// notification says whom to tell before the key expires, and when.
	// +optional
	Notification *Notification `json:"notification,omitempty"`
	// format says what the credential looks like. A change applies from the next credential on.
	// +optional
	Format *Format `json:"format,omitempty"`
	// import names a key that exists already, by its digest: verifiers accept it, and no Secret is written until the first
	// rotation. It takes an account with importPolicy: Allow. Immutable.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="import is immutable, and is set when the APIKey is created: create another APIKey to import another key"
	Import *Import `json:"import,omitempty"`
	// secret says where and in which shape the credential is written.
	// +optional
	Secret *SecretSpec `json:"secret,omitempty"`
}

// Duration is a length of time as Go and the Gateway API write it, in hours, minutes and seconds: 24h, 1h30m, 90s. It is at
// most 876000h, a hundred years.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') && duration(self) <= duration('876000h')",message="must be a duration in hours, minutes and seconds, such as 720h (thirty days), 1h30m or 90s, of at most 876000h: there is no unit for days"
type Duration string

// Instant is a moment in time as RFC 3339 writes it, in whole seconds, with an upper-case T and either Z or an offset:
// 2027-02-28T12:00:00Z. Its year is 1000 to 9998, as written and in UTC.
//
// +kubebuilder:validation:MinLength=20
// +kubebuilder:validation:MaxLength=25
// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') && !self.startsWith('9999') && !format.datetime().validate(self).hasValue() && timestamp(self).getFullYear() >= 1000 && timestamp(self).getFullYear() <= 9998",message="must be an RFC 3339 instant in whole seconds, of a year from 1000 to 9998, such as 2027-02-28T12:00:00Z"
type Instant string

// Rotation says when a key gets a new credential.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.overlap) || !(self.interval + self.overlap).matches('^([0-9]{1,6}(h|m|s)){2,6}$') || duration(self.overlap) <= duration(self.interval)",message="rotation.overlap must not be longer than rotation.interval"
type Rotation struct {
	// interval is how often a new credential is issued, at least 1m. Left out, only on request.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="rotation.interval must be at least 1m, such as 720h for thirty days"
	Interval Duration `json:"interval,omitempty"`
	// overlap is how long the previous credential stays valid after a rotation: 24h unless said, and never longer than
	// interval; 0s means not at all.
	// +optional
	Overlap Duration `json:"overlap,omitempty"`
	// requestedAt asks for one rotation, at this instant, of a credential that was issued before it: 2027-02-28T12:00:00Z. One
	// that was issued in the same second, before the request, is rotated too. status.rotation.observedRequestedAt says that the
	// request was carried out.
	// +optional
	RequestedAt Instant `json:"requestedAt,omitempty"`
	// revokeBefore makes every credential issued before this dead at once; a new one is issued. For a compromise.
	// +optional
	RevokeBefore Instant `json:"revokeBefore,omitempty"`
}

// Notification says whom to tell before a key expires.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!(has(self.daysBefore) && has(self.date))",message="notification takes daysBefore or date, not both"
type Notification struct {
	// emails are the addresses to tell.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=254
	// +kubebuilder:validation:items:XValidation:rule="self.matches(r'^[^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+([.][^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+)*@[^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+([.][^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+)*$')",message="notification.emails are plain addresses, such as ops@example.com"
	Emails []string `json:"emails,omitempty"`
	// daysBefore are how many days before the expiration to tell them: 7 unless said.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=366
	DaysBefore []int32 `json:"daysBefore,omitempty"`
	// date is the day on which to tell them, in the account's time zone: 2027-02-21.
	// +optional
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}$') && !self.startsWith('9999') && !format.date().validate(self).hasValue()",message="notification.date must be a date that exists, of a year from 1000 to 9998, such as 2027-02-21"
	Date string `json:"date,omitempty"`
	// locale is the language of the mail: two letters, en unless said.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=2
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2}$')",message="notification.locale must be two lower-case letters, such as es"
	Locale string `json:"locale,omitempty"`
}

// FormatType names the shape of a credential.
//
// +kubebuilder:validation:Enum=Token;UUID;Alphanumeric;Hex
type FormatType string

// The shapes of a credential.
const (
	// FormatToken is prefix_id_secret+checksum, with a public id and 256 bits of secret.
	FormatToken FormatType = "Token"
	// FormatUUID is a version 4 UUID (RFC 9562).
	FormatUUID FormatType = "UUID"
	// FormatAlphanumeric is length base62 characters.
	FormatAlphanumeric FormatType = "Alphanumeric"
	// FormatHex is length hexadecimal digits.
	FormatHex FormatType = "Hex"
)

// Format says what a credential looks like.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.prefix) || !has(self.type) || self.type == 'Token'",message="format.prefix goes with type Token only"
// +kubebuilder:validation:XValidation:rule="!has(self.length) || (has(self.type) && self.type in ['Alphanumeric', 'Hex'])",message="format.length goes with type Alphanumeric or Hex only"
// +kubebuilder:validation:XValidation:rule="!has(self.length) || !has(self.type) || self.type != 'Hex' || self.length >= 32",message="format.length of type Hex must be at least 32"
type Format struct {
	// type determines what the credential looks like; it defaults to Token. Token is prefix_id_secret with a checksum, UUID is a
	// version 4 UUID, Alphanumeric is letters and digits, Hex is hexadecimal digits.
	// +optional
	Type FormatType `json:"type,omitempty"`
	// prefix opens a Token: ak unless said. Scanners find leaked keys by it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9]*$')",message="format.prefix must be a lower-case letter and up to 15 lower-case letters and digits, such as ak or shop2: the manager adds the '_' after it"
	Prefix string `json:"prefix,omitempty"`
	// length is the number of characters: Alphanumeric 22..256 (100 unless said), Hex 32..256 (64 unless said).
	// +optional
	// +kubebuilder:validation:Minimum=22
	// +kubebuilder:validation:Maximum=256
	Length int32 `json:"length,omitempty"`
}

// Import describes a key that the manager did not generate, and whose value it never sees.
type Import struct {
	// sha256 is the SHA-256 of the whole key, without a line break at its end: 64 lower-case hexadecimal digits, as
	// printf %s "$KEY" | sha256sum prints it. The key should have 122 random bits or more, since a digest of a weaker one can be
	// reversed by trying: that can't be seen from a digest.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="import.sha256 must be a SHA-256 as 64 lower-case hexadecimal digits, such as sha256sum prints"
	SHA256 string `json:"sha256,omitempty"`
	// hint is how the key begins, so that a user can tell which one they hold. It is public: at most 8 letters, digits and . _ -,
	// or the prefix and the id of a Token, such as ak_8GkQ2vLx0RtW.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=29
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9._-]{1,8}|[a-z][a-z0-9]{0,15}_[A-Za-z0-9]{12})$')",message="import.hint must be how the key begins, in at most 8 letters, digits and . _ -, or the prefix and the id of a Token, such as ak_8GkQ2vLx0RtW"
	Hint string `json:"hint,omitempty"`
}

// SecretSpec says where and in which shape a credential is written.
//
// +kubebuilder:validation:MinProperties=1
type SecretSpec struct {
	// name is the Secret's name, in the key's own namespace: the APIKey's name unless said. Immutable.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="secret.name must be a DNS-1123 subdomain, such as shop-api-key"
	Name string `json:"name,omitempty"`
	// previousKey says whether a Secret of the default shape holds the previous credential, as entry previous-api-key, until
	// the end of the overlap. It defaults to Omit: a rotation changes the Secret exactly once. Include changes it once more, at
	// the end of the overlap. A template says so itself, by using .PreviousKey.
	// +optional
	PreviousKey PreviousKeyPolicy `json:"previousKey,omitempty"`
	// template replaces the default shape of the Secret.
	// +optional
	Template *SecretTemplate `json:"template,omitempty"`
}

// PreviousKeyPolicy says whether a Secret holds the previous credential during an overlap.
//
// +kubebuilder:validation:Enum=Omit;Include
type PreviousKeyPolicy string

// Whether a Secret holds the previous credential during an overlap.
const (
	// PreviousKeyOmit leaves the previous credential out, so that a rotation changes the Secret once.
	PreviousKeyOmit PreviousKeyPolicy = "Omit"
	// PreviousKeyInclude keeps the previous credential in entry previous-api-key until the end of the overlap.
	PreviousKeyInclude PreviousKeyPolicy = "Include"
)

// SecretTemplate is the shape of a Secret.
//
// +kubebuilder:validation:MinProperties=1
type SecretTemplate struct {
	// labels are added to the Secret's own. Names of kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 63)",message="secret.template.labels must be valid labels: names such as example.com/team, values of at most 63 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="secret.template.labels must not use names of kubernetes.io, k8s.io, x-k8s.io or apikey-manager.io, which controllers act upon: use a domain of your own, such as example.com/team"
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are added to the Secret. Names of kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 4096)",message="secret.template.annotations must be valid annotations of at most 4096 characters, with names such as example.com/owner"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="secret.template.annotations must not use names of kubernetes.io, k8s.io, x-k8s.io or apikey-manager.io, which controllers act upon: use a domain of your own, such as example.com/owner"
	Annotations map[string]string `json:"annotations,omitempty"`
	// type is the type of the Secret; it defaults to Opaque. Immutable, as a Secret's type is. Types that Kubernetes or its
	// tools act upon are refused, whoever asks: the manager must not write what the user may not. kubernetes.io/basic-auth takes
	// an entry username or password, and kubernetes.io/dockerconfigjson an entry .dockerconfigjson of JSON.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self in ['kubernetes.io/basic-auth', 'kubernetes.io/dockerconfigjson'] || !self.lowerAscii().trim().matches('^([^/]*[.])?((kubernetes|k8s|x-k8s|apikey-manager|cattle)[.]io|helm[.]sh)(/|$)')",message="secret.template.type must not be one that Kubernetes or its tools act upon: leave it out for Opaque, or use kubernetes.io/basic-auth, kubernetes.io/dockerconfigjson or a type of a domain of your own, such as example.com/api-key"
	Type string `json:"type,omitempty"`
	// data are the entries, each a Go template over .Key, .PreviousKey, .KeyID, .Account, .ExternalID, .Label, .Scopes,
	// .Expiration, .Namespace and .Name. They replace the default entries. One entry at least holds .Key as it is.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.matches('^[-._a-zA-Z0-9]{1,253}$') && self[name].size() <= 4096)",message="secret.template.data takes entry names of letters, digits and - _ . only, and templates of at most 4096 characters"
	Data map[string]string `json:"data,omitempty"`
}

// ObservedState is the state a key is in.
//
// +kubebuilder:validation:Enum=Pending;Active;Inactive;Suspended;Expired;Revoked
type ObservedState string

// The states a key can be in.
const (
	// StatePending means the key is not accepted, or has no credential yet.
	StatePending ObservedState = "Pending"
	// StateActive means verifiers accept the key.
	StateActive ObservedState = "Active"
	// StateInactive means the key is switched off and kept for later.
	StateInactive ObservedState = "Inactive"
	// StateSuspended means the key's account is suspended. The key comes back with the account.
	StateSuspended ObservedState = "Suspended"
	// StateExpired means the key's expiration has come. Moving it later revives the key.
	StateExpired ObservedState = "Expired"
	// StateRevoked means the key was ended for good.
	StateRevoked ObservedState = "Revoked"
)

// APIKeyStatus is what is true of a key now.
//
// +kubebuilder:validation:MinProperties=1
type APIKeyStatus struct {
	// conditions say how far the spec is carried out. Ready: what is declared has been carried out; also of a key that is off,
	// suspended, expired or revoked. Accepted: the key is within the policy of its account and holds a slot. Valid: verifiers
	// accept it now. Stalled, which is there only while it is True: waiting does not help, a user has to act. Enforced, on a
	// key that is Inactive or Revoked: every verifier refuses it.
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
	// state is the state the key is in. Pending: it is not accepted, or has no credential yet. Active: verifiers accept it.
	// Inactive: it is switched off and kept for later. Suspended: its account is suspended. Expired: its expiration has come;
	// moving that later revives the key. Revoked: it was ended for good.
	// +optional
	State ObservedState `json:"state,omitempty"`
	// keyID is the public id of the current credential, safe to log.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	KeyID string `json:"keyID,omitempty"`
	// expirationTime is the accepted expiration as an instant. Absent: the key never expires.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
	// rotation says which requested rotation was carried out.
	// +optional
	Rotation RotationStatus `json:"rotation,omitzero"`
	// nextRotationTime is when the next credential is due.
	// +optional
	NextRotationTime *metav1.Time `json:"nextRotationTime,omitempty"`
	// lastUsedTime is when a verifier last accepted the key, to a few minutes.
	// +optional
	LastUsedTime *metav1.Time `json:"lastUsedTime,omitempty"`
	// ipRestriction says whether the accepted spec has an ipWhitelist: Restricted, or Unrestricted. An account that comes to
	// require a whitelist binds a key from its next change of this on.
	// +optional
	IPRestriction IPRestriction `json:"ipRestriction,omitempty"`
	// releasedGrant is the account's grant that this key gave back under counting: Usable. It becomes usable again only
	// with another one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ReleasedGrant string `json:"releasedGrant,omitempty"`
	// secretRef is the Secret that holds the credential.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// credentials are those that verifiers know, by digest.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=8
	Credentials []Credential `json:"credentials,omitempty"`
	// revokedCredentials are the credentials that were revoked, by rotation.revokeBefore or with the whole key, and are no
	// longer listed in credentials. Verifiers refuse them as long as the APIKey exists. Only the last 128 are kept.
	// +optional
	// +listType=map
	// +listMapKey=sha256
	// +kubebuilder:validation:MaxItems=128
	RevokedCredentials []RevokedCredential `json:"revokedCredentials,omitempty"`
	// notifications are the mails due before the key expires.
	// +optional
	// +listType=map
	// +listMapKey=date
	// +kubebuilder:validation:MaxItems=16
	Notifications []NotificationStatus `json:"notifications,omitempty"`
	// history are the last 20 transitions, oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	History []Transition `json:"history,omitempty"`
}

// RotationStatus is the observed state of a key's rotation.
//
// +kubebuilder:validation:MinProperties=1
type RotationStatus struct {
	// observedRequestedAt is the spec.rotation.requestedAt that was last carried out, as the spec writes it: the Secret holds a
	// credential that was issued after the request.
	// +optional
	ObservedRequestedAt Instant `json:"observedRequestedAt,omitempty"`
}

// IPRestriction is whether a key is bound to addresses.
//
// +kubebuilder:validation:Enum=Restricted;Unrestricted
type IPRestriction string

// Whether a key is bound to addresses.
const (
	// IPRestricted means the key has a whitelist.
	IPRestricted IPRestriction = "Restricted"
	// IPUnrestricted means the key may be used from anywhere.
	IPUnrestricted IPRestriction = "Unrestricted"
)

// SecretRef points to the Secret that holds a key's credential.
type SecretRef struct {
	// name is the Secret's name, in the key's own namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// resourceVersion is the Secret's when its content was last checked against the current digest.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// CredentialRole says what a credential is for.
//
// +kubebuilder:validation:Enum=Staged;Current;Previous
type CredentialRole string

// What a credential is for.
const (
	// RoleStaged is the next one: verifiers are to know it before the Secret holds it.
	RoleStaged CredentialRole = "Staged"
	// RoleCurrent is the one in the Secret's current entry.
	RoleCurrent CredentialRole = "Current"
	// RolePrevious is the one before, accepted until its notAfter.
	RolePrevious CredentialRole = "Previous"
)

// Credential is one generated key, described without its secret characters.
type Credential struct {
	// id is public and safe to log.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// hint is how the credential begins, so that a person can tell which one they hold.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Hint string `json:"hint,omitempty"`
	// sha256 is the lower-case hexadecimal SHA-256 of the whole key.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`
	// issuedAt is when it was issued.
	// +required
	IssuedAt metav1.Time `json:"issuedAt,omitzero"`
	// notAfter is when it stops being accepted. Absent: as long as the key.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// lastUsedTime is when a verifier last accepted it, to a few minutes.
	// +optional
	LastUsedTime *metav1.Time `json:"lastUsedTime,omitempty"`
	// role is Staged, Current or Previous.
	// +required
	Role CredentialRole `json:"role,omitempty"`
}

// RevokedCredential is a credential that must never be accepted again.
type RevokedCredential struct {
	// id is the credential's public id.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// sha256 is the lower-case hexadecimal SHA-256 of the whole key.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`
	// issuedAt is when it was issued.
	// +required
	IssuedAt metav1.Time `json:"issuedAt,omitzero"`
}

// NotificationState is how far a mail has come.
//
// +kubebuilder:validation:Enum=Pending;Sent;Failed;Skipped
type NotificationState string

// How far a mail has come.
const (
	// NotificationPending means it is due later, or being sent.
	NotificationPending NotificationState = "Pending"
	// NotificationSent means the mail server took it.
	NotificationSent NotificationState = "Sent"
	// NotificationFailed means the mail server refused it for good.
	NotificationFailed NotificationState = "Failed"
	// NotificationSkipped means it was not sent, for the reason given.
	NotificationSkipped NotificationState = "Skipped"
)

// NotificationStatus is one mail due before a key expires.
type NotificationStatus struct {
	// date is the day on which it is due, in the account's time zone.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	Date string `json:"date,omitempty"`
	// state is Pending, Sent, Failed or Skipped.
	// +required
	State NotificationState `json:"state,omitempty"`
	// attempts is how often sending was tried.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Attempts *int32 `json:"attempts,omitempty"`
	// lastAttemptTime is when sending was last begun. It is written before the mail server is asked.
	// +optional
	LastAttemptTime *metav1.Time `json:"lastAttemptTime,omitempty"`
	// remaining are the addresses still to be told when others already were.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=254
	Remaining []string `json:"remaining,omitempty"`
	// sentAt is when the mail server took it.
	// +optional
	SentAt *metav1.Time `json:"sentAt,omitempty"`
	// reason is why it is not sent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}

// Transition is something that happened to a key.
type Transition struct {
	// time is when it happened.
	// +required
	Time metav1.Time `json:"time,omitzero"`
	// reason is one word for it, equal to the event's and the condition's reason.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message is one sentence for it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}
