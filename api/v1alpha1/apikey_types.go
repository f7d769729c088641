// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// APIKey declares one API key next to the application that uses it. The manager generates the credential, writes it to
// a Secret in the same namespace, and enforces the policy of the Account that owns the key.
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

	// spec defines the desired state of the APIKey.
	// +required
	Spec APIKeySpec `json:"spec,omitzero"`
	// status is the most recently observed state of the APIKey.
	// +optional
	// +default={"observedGeneration":-1}
	Status APIKeyStatus `json:"status,omitzero"`

	// Undecodable holds the paths of the fields that could not be decoded, such as spec.rotation; these fields are left
	// at their zero values. It is not part of the API. The manager does not reconcile such an object and must not write
	// it, and verifiers do not accept its key.
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
	// items is the list of APIKeys.
	Items []APIKey `json:"items"`
}

// KeyState is the desired state of a key.
//
// +kubebuilder:validation:Enum=Active;Inactive;Revoked
type KeyState string

// The desired states of a key.
const (
	// KeyStateActive means that verifiers accept the key.
	KeyStateActive KeyState = "Active"
	// KeyStateInactive means that verifiers reject the key, which can be activated again.
	KeyStateInactive KeyState = "Inactive"
	// KeyStateRevoked means that the key is revoked permanently.
	KeyStateRevoked KeyState = "Revoked"
)

// APIKeySpec defines the desired state of an APIKey.
//
// +kubebuilder:validation:XValidation:rule="has(self.__import__) == has(oldSelf.__import__)",fieldPath=".import",message="import is immutable and may only be set on creation: create another APIKey to import another key"
// +kubebuilder:validation:XValidation:rule="(has(self.secret) && has(self.secret.template) && has(self.secret.template.type) ? self.secret.template.type : 'Opaque') == (has(oldSelf.secret) && has(oldSelf.secret.template) && has(oldSelf.secret.template.type) ? oldSelf.secret.template.type : 'Opaque')",fieldPath=".secret",message="secret.template.type is immutable, like the type of a Secret: create another APIKey to write a Secret of another type"
type APIKeySpec struct {
	// account is the name of the Account that owns the key. The manager creates the Account with an empty spec if it
	// does not exist, unless it runs with --require-account. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="account must be a DNS-1123 label: lower-case letters, digits and '-', such as acme-shop"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="account is immutable: create another APIKey for the other account"
	Account string `json:"account,omitempty"`
	// label is the display name of the key, in any script. It must be unique within the account unless the account sets
	// labelPolicy: Shared. It is stored as given; labels are compared after Unicode NFKC normalization, without
	// invisible characters, and with white space collapsed to single spaces.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.size() <= 128",message="label must be at most 128 characters"
	// +kubebuilder:validation:XValidation:rule="!self.matches(r'[\\p{Cc}\\x{2028}-\\x{202e}\\x{2066}-\\x{2069}]')",message="label must not contain control characters, line breaks or bidirectional formatting characters"
	// +kubebuilder:validation:XValidation:rule="self.matches(r'[^\\p{Z}\\p{Cc}\\p{Cf}\\x{34f}\\x{115f}\\x{1160}\\x{17b4}\\x{17b5}\\x{180b}-\\x{180f}\\x{2065}\\x{2800}\\x{3164}\\x{fe00}-\\x{fe0f}\\x{ffa0}\\x{fff0}-\\x{fff8}\\x{e0000}-\\x{e0fff}]')",message="label must contain a visible character"
	Label string `json:"label,omitempty"`
	// state is the desired state of the key. Active: verifiers accept the key. Inactive: verifiers reject the key until
	// it is activated again. Revoked: the key is revoked permanently, which cannot be undone.
	// +optional
	// +default="Active"
	// +kubebuilder:validation:XValidation:rule="oldSelf != 'Revoked' || self == 'Revoked'",message="state must not change once it is Revoked: create another APIKey"
	State KeyState `json:"state,omitempty"`
	// expiration is when verifiers stop accepting the key: a date (2027-02-28, which means the START of that day in the
	// account's time zone) or an RFC 3339 instant in whole seconds (2027-02-28T12:00:00Z). If not set, the key never
	// expires.
	// +optional
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$') && !self.startsWith('9999') && !format.date().validate(self.substring(0, 10)).hasValue() && (self.size() == 10 || !format.datetime().validate(self).hasValue() && timestamp(self).getFullYear() >= 1000 && timestamp(self).getFullYear() <= 9998)",message="expiration must be a valid date, such as 2027-02-28, or an RFC 3339 instant in whole seconds, such as 2027-02-28T12:00:00Z, with a year from 1000 to 9998"
	Expiration string `json:"expiration,omitempty"`
	// ipWhitelist lists the IP addresses and CIDRs from which the key may be used. If not set, the key may be used from
	// any address. An empty list is rejected, so that removing the last entry cannot open the key to every address.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="ipWhitelist must not be empty: list an address or CIDR, or omit the field to allow any address"
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || (isCIDR(self) && cidr(self).masked() == cidr(self))",message="ipWhitelist entries must be IP addresses, such as 192.0.2.7, or CIDRs without host bits, such as 10.0.0.0/8"
	IPWhitelist []string `json:"ipWhitelist,omitempty"`
	// scopes lists what the key may do, such as conversions:write. A trailing * matches any suffix. If not set, the
	// account's default scopes apply.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._:/-]*[*]?$')",message="scopes entries must consist of letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	Scopes []string `json:"scopes,omitempty"`
	// metadata holds facts about the key that verifiers pass to gateways, such as a team, a cost center or allowed
	// models. This project does not interpret them. An entry of the same name in the metadata of the account takes
	// precedence.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.matches('^[a-z][A-Za-z0-9]{0,62}$'))",message="metadata names must be a lower-case letter followed by at most 62 letters and digits, such as team or costCenter"
	Metadata map[string]MetadataValue `json:"metadata,omitempty"`
	// rateLimits lowers rate limits of the account for this key. Each entry must have the name and the unit of a rate
	// limit of the account, and must not allow more requests. Gateways enforce rate limits. If the account's rate limit
	// is later lowered below this one, gets another unit or is removed, the key is not accepted, and verifiers reject it
	// with 401 INACTIVE, until this rate limit is lowered or removed: change the keys first.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	RateLimits []RateLimit `json:"rateLimits,omitempty"`
	// rotation determines when the key gets a new credential, and how long the previous credential stays valid.
	// +optional
	Rotation *Rotation `json:"rotation,omitempty"`
	// notification determines who is notified before the key expires, and when.
	// +optional
	Notification *Notification `json:"notification,omitempty"`
	// format determines the format of the credential. A change applies from the next credential on.
	// +optional
	Format *Format `json:"format,omitempty"`
	// import imports an existing key by its digest. Verifiers accept the key, and the manager writes no Secret until
	// the first rotation. The account must set importPolicy: Allow. Immutable.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="import is immutable and may only be set on creation: create another APIKey to import another key"
	Import *Import `json:"import,omitempty"`
	// secret determines the name and the content of the Secret that the credential is written to.
	// +optional
	Secret *SecretSpec `json:"secret,omitempty"`
}

// MetadataValue is the value of an entry of metadata.
//
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="!self.matches(r'[\\p{Cc}\\x{2028}-\\x{202e}\\x{2066}-\\x{2069}]')",message="metadata values must not contain control characters, line breaks or bidirectional formatting characters"
type MetadataValue string

// Duration is a length of time in hours, minutes and seconds, in the notation of Go and the Gateway API: 24h, 1h30m,
// 90s. It is at most 876000h, which is 100 years.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') && duration(self) <= duration('876000h')",message="must be a duration in hours, minutes and seconds, such as 720h (thirty days), 1h30m or 90s, of at most 876000h: days are not a unit"
type Duration string

// Instant is a point in time in RFC 3339 notation, in whole seconds, with an upper-case T and either Z or an offset:
// 2027-02-28T12:00:00Z. Its year must be 1000 to 9998, both as written and in UTC.
//
// +kubebuilder:validation:MinLength=20
// +kubebuilder:validation:MaxLength=25
// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') && !self.startsWith('9999') && !format.datetime().validate(self).hasValue() && timestamp(self).getFullYear() >= 1000 && timestamp(self).getFullYear() <= 9998",message="must be an RFC 3339 instant in whole seconds with a year from 1000 to 9998, such as 2027-02-28T12:00:00Z"
type Instant string

// Rotation determines when a key gets a new credential.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.overlap) || !(self.interval + self.overlap).matches('^([0-9]{1,6}(h|m|s)){2,6}$') || duration(self.overlap) <= duration(self.interval)",message="rotation.overlap must not be longer than rotation.interval"
type Rotation struct {
	// interval is how often a new credential is issued. It is at least 1m. If not set, a new credential is issued only
	// on request.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s)){1,3}$') || duration(self) >= duration('1m')",message="rotation.interval must be at least 1m, such as 720h for thirty days"
	Interval Duration `json:"interval,omitempty"`
	// overlap is how long the previous credential stays valid after a rotation. It defaults to 24h, or to interval if
	// that is shorter, and must not be longer than interval. 0s ends the previous credential at once.
	// +optional
	Overlap Duration `json:"overlap,omitempty"`
	// requestedAt requests one rotation at this instant, such as 2027-02-28T12:00:00Z, if the current credential was
	// issued before it, or in the same second but before the request was made. status.rotation.observedRequestedAt
	// reports the last request that was carried out.
	// +optional
	RequestedAt Instant `json:"requestedAt,omitempty"`
	// revokeBefore revokes every credential that was issued before this instant, and the manager issues a new one. Use
	// it when a credential has been compromised.
	// +optional
	RevokeBefore Instant `json:"revokeBefore,omitempty"`
}

// Notification determines who is notified before a key expires, and when.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!(has(self.daysBefore) && has(self.date))",message="notification.daysBefore and notification.date are mutually exclusive"
type Notification struct {
	// emails lists the addresses to notify.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=254
	// +kubebuilder:validation:items:XValidation:rule="self.matches(r'^[^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+([.][^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+)*@[^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+([.][^\\x00-\\x20\\x7f()<>\\[\\]:;@\\\\,\".]+)*$')",message="notification.emails entries must be plain addresses, such as ops@example.com"
	Emails []string `json:"emails,omitempty"`
	// daysBefore lists how many days before the expiration to notify. It defaults to 7.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=366
	DaysBefore []int32 `json:"daysBefore,omitempty"`
	// date is the day on which to notify, in the account's time zone: 2027-02-21.
	// +optional
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}$') && !self.startsWith('9999') && !format.date().validate(self).hasValue()",message="notification.date must be a valid date with a year from 1000 to 9998, such as 2027-02-21"
	Date string `json:"date,omitempty"`
	// locale is the language of the mail as two lower-case letters. It defaults to en.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=2
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2}$')",message="notification.locale must be two lower-case letters, such as es"
	Locale string `json:"locale,omitempty"`
}

// FormatType is the format of a credential.
//
// +kubebuilder:validation:Enum=Token;UUID;Alphanumeric;Hex
type FormatType string

// The formats of a credential.
const (
	// FormatToken is prefix_id_secret followed by a checksum, with a public id and 256 bits of secret.
	FormatToken FormatType = "Token"
	// FormatUUID is a version 4 UUID (RFC 9562).
	FormatUUID FormatType = "UUID"
	// FormatAlphanumeric is a string of base62 characters. Its length is configurable.
	FormatAlphanumeric FormatType = "Alphanumeric"
	// FormatHex is a string of hexadecimal digits. Its length is configurable.
	FormatHex FormatType = "Hex"
)

// Format determines the format of a credential.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.prefix) || !has(self.type) || self.type == 'Token'",message="format.prefix may only be set when type is Token"
// +kubebuilder:validation:XValidation:rule="!has(self.length) || (has(self.type) && self.type in ['Alphanumeric', 'Hex'])",message="format.length may only be set when type is Alphanumeric or Hex"
// +kubebuilder:validation:XValidation:rule="!has(self.length) || !has(self.type) || self.type != 'Hex' || self.length >= 32",message="format.length must be at least 32 when type is Hex"
type Format struct {
	// type is the format of the credential. It defaults to Token. Token is prefix_id_secret followed by a checksum,
	// UUID is a version 4 UUID, Alphanumeric is a string of letters and digits, and Hex is a string of hexadecimal
	// digits.
	// +optional
	Type FormatType `json:"type,omitempty"`
	// prefix is the first part of a Token. It defaults to ak. Secret scanners can find leaked keys by their prefix.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9]*$')",message="format.prefix must be a lower-case letter followed by at most 15 lower-case letters and digits, such as ak or shop2: the manager appends the '_'"
	Prefix string `json:"prefix,omitempty"`
	// length is the number of characters of type Alphanumeric (22 to 256, defaults to 100) or Hex (32 to 256, defaults
	// to 64).
	// +optional
	// +kubebuilder:validation:Minimum=22
	// +kubebuilder:validation:Maximum=256
	Length int32 `json:"length,omitempty"`
}

// Import describes a key that the manager did not generate and whose value it never sees.
type Import struct {
	// sha256 is the SHA-256 digest of the whole key without a trailing line break: 64 lower-case hexadecimal digits, as
	// printed by printf %s "$KEY" | sha256sum. The key should have at least 122 random bits, because the digest of a
	// weaker key can be reversed by brute force. The manager cannot check this.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="import.sha256 must be a SHA-256 digest of 64 lower-case hexadecimal digits, as printed by sha256sum"
	SHA256 string `json:"sha256,omitempty"`
	// hint is the first characters of the key, by which users can identify it. It is public: at most 8 letters, digits
	// and . _ -, or the prefix and the id of a Token, such as ak_8GkQ2vLx0RtW.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=29
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9._-]{1,8}|[a-z][a-z0-9]{0,15}_[A-Za-z0-9]{12})$')",message="import.hint must be the first characters of the key: at most 8 letters, digits and . _ -, or the prefix and the id of a Token, such as ak_8GkQ2vLx0RtW"
	Hint string `json:"hint,omitempty"`
}

// SecretSpec determines the name and the content of the Secret that a credential is written to.
//
// +kubebuilder:validation:MinProperties=1
type SecretSpec struct {
	// name is the name of the Secret in the namespace of the APIKey. It defaults to the name of the APIKey. Immutable.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="secret.name must be a DNS-1123 subdomain, such as shop-api-key"
	Name string `json:"name,omitempty"`
	// previousKey determines whether a Secret with the default content holds the previous credential, as entry
	// previous-api-key, until the end of the overlap. Omit (the default): it does not, and a rotation changes the
	// Secret exactly once. Include: it does, and the Secret changes a second time at the end of the overlap. It has no
	// effect on a Secret with template.data, which holds the previous credential if it uses .PreviousKey.
	// +optional
	PreviousKey PreviousKeyPolicy `json:"previousKey,omitempty"`
	// template replaces the default content of the Secret.
	// +optional
	Template *SecretTemplate `json:"template,omitempty"`
}

// PreviousKeyPolicy determines whether a Secret holds the previous credential during an overlap.
//
// +kubebuilder:validation:Enum=Omit;Include
type PreviousKeyPolicy string

// The policies for the previous credential.
const (
	// PreviousKeyOmit omits the previous credential, so that a rotation changes the Secret once.
	PreviousKeyOmit PreviousKeyPolicy = "Omit"
	// PreviousKeyInclude keeps the previous credential in entry previous-api-key until the end of the overlap.
	PreviousKeyInclude PreviousKeyPolicy = "Include"
)

// SecretTemplate determines the content of a Secret.
//
// +kubebuilder:validation:MinProperties=1
type SecretTemplate struct {
	// labels are added to the labels of the Secret. The domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io
	// are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 63)",message="secret.template.labels must have valid names, such as example.com/team, and values of at most 63 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="secret.template.labels must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: use a domain of your own, such as example.com/team"
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are added to the annotations of the Secret. The domains kubernetes.io, k8s.io, x-k8s.io and
	// apikey-manager.io are reserved.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 317 && !format.qualifiedName().validate(name).hasValue() && self[name].size() <= 4096)",message="secret.template.annotations must have valid names, such as example.com/owner, and values of at most 4096 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^([^/]*[.])?(kubernetes|k8s|x-k8s|apikey-manager)[.]io/'))",message="secret.template.annotations must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: use a domain of your own, such as example.com/owner"
	Annotations map[string]string `json:"annotations,omitempty"`
	// type is the type of the Secret. It defaults to Opaque. Immutable, like the type of a Secret. Types that
	// Kubernetes or its tools act upon are rejected for every user, because the manager must not write what the user
	// may not. kubernetes.io/basic-auth requires an entry username or password, and kubernetes.io/dockerconfigjson
	// requires an entry .dockerconfigjson that is JSON.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self in ['kubernetes.io/basic-auth', 'kubernetes.io/dockerconfigjson'] || !self.lowerAscii().trim().matches('^([^/]*[.])?((kubernetes|k8s|x-k8s|apikey-manager|cattle)[.]io|helm[.]sh)(/|$)')",message="secret.template.type must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use kubernetes.io/basic-auth, kubernetes.io/dockerconfigjson or a type in a domain of your own, such as example.com/api-key"
	Type string `json:"type,omitempty"`
	// data holds the entries of the Secret. Each value is a Go template over .Key, .PreviousKey, .KeyID, .Account,
	// .ExternalID, .Label, .Scopes, .Expiration, .Namespace, .Name and .Metadata. They replace the default entries. At least one
	// entry must contain .Key unchanged.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.matches('^[-._a-zA-Z0-9]{1,253}$') && self[name].size() <= 4096)",message="secret.template.data must have entry names of letters, digits and - _ . only, and templates of at most 4096 characters"
	Data map[string]string `json:"data,omitempty"`
}

// ObservedState is the observed state of a key.
//
// +kubebuilder:validation:Enum=Pending;Active;Inactive;Suspended;Expired;Revoked
type ObservedState string

// The observed states of a key.
const (
	// StatePending means that the key is not accepted or has no credential yet.
	StatePending ObservedState = "Pending"
	// StateActive means that verifiers accept the key.
	StateActive ObservedState = "Active"
	// StateInactive means that the key is deactivated and can be activated again.
	StateInactive ObservedState = "Inactive"
	// StateSuspended means that the account of the key is suspended. The key is valid again once the account is Active.
	StateSuspended ObservedState = "Suspended"
	// StateExpired means that the key has reached its expiration. Setting a later expiration makes it valid again.
	StateExpired ObservedState = "Expired"
	// StateRevoked means that the key is revoked permanently.
	StateRevoked ObservedState = "Revoked"
)

// APIKeyStatus describes the most recently observed state of an APIKey.
//
// +kubebuilder:validation:MinProperties=1
type APIKeyStatus struct {
	// conditions describe the observed state of the APIKey. Ready: the spec has been carried out, which includes keys
	// that are inactive, suspended, expired or revoked. Accepted: the key complies with the policy of its account and
	// holds a slot. Valid: verifiers accept the key now. Stalled, present only while True: the manager cannot make
	// progress until a user changes something. Enforced, present on keys that are Inactive or Revoked: every verifier
	// rejects the key.
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
	// state is the observed state of the key. Pending: the key is not accepted or has no credential yet. Active:
	// verifiers accept the key. Inactive: the key is deactivated and can be activated again. Suspended: the account of
	// the key is suspended. Expired: the key has reached its expiration; setting a later one makes it valid again.
	// Revoked: the key is revoked permanently.
	// +optional
	State ObservedState `json:"state,omitempty"`
	// keyID is the public id of the current credential. It is safe to log.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	KeyID string `json:"keyID,omitempty"`
	// expirationTime is the expiration of the accepted spec as an instant. If not set, the key never expires.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
	// rotation describes which requested rotation has been carried out.
	// +optional
	Rotation RotationStatus `json:"rotation,omitzero"`
	// nextRotationTime is when the next credential is due.
	// +optional
	NextRotationTime *metav1.Time `json:"nextRotationTime,omitempty"`
	// lastUsedTime is when a verifier last accepted the key, accurate to a few minutes.
	// +optional
	LastUsedTime *metav1.Time `json:"lastUsedTime,omitempty"`
	// ipRestriction reports whether the accepted spec has an ipWhitelist: Restricted or Unrestricted. If the account
	// starts to require a whitelist, that applies to this key only once its ipWhitelist is changed.
	// +optional
	IPRestriction IPRestriction `json:"ipRestriction,omitempty"`
	// releasedGrant is the grant of the slot that this key released under counting: Usable. The key can be used again
	// only with a new grant.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ReleasedGrant string `json:"releasedGrant,omitempty"`
	// secretRef refers to the Secret that holds the credential.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// credentials lists the credentials that verifiers accept, by digest.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=8
	Credentials []Credential `json:"credentials,omitempty"`
	// revokedCredentials lists the credentials that were revoked, by rotation.revokeBefore or together with the key,
	// and are no longer listed in credentials. Verifiers reject them as long as the APIKey exists. Only the last 128
	// are kept.
	// +optional
	// +listType=map
	// +listMapKey=sha256
	// +kubebuilder:validation:MaxItems=128
	RevokedCredentials []RevokedCredential `json:"revokedCredentials,omitempty"`
	// notifications lists the mails that are due before the key expires.
	// +optional
	// +listType=map
	// +listMapKey=date
	// +kubebuilder:validation:MaxItems=16
	Notifications []NotificationStatus `json:"notifications,omitempty"`
	// history lists the last 20 transitions, oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	History []Transition `json:"history,omitempty"`
}

// RotationStatus describes the observed state of a key's rotation.
//
// +kubebuilder:validation:MinProperties=1
type RotationStatus struct {
	// observedRequestedAt is the value of spec.rotation.requestedAt that was last carried out: the Secret holds a
	// credential that was issued after the request.
	// +optional
	ObservedRequestedAt Instant `json:"observedRequestedAt,omitempty"`
}

// IPRestriction describes whether a key is restricted to IP addresses.
//
// +kubebuilder:validation:Enum=Restricted;Unrestricted
type IPRestriction string

// The IP restrictions of a key.
const (
	// IPRestricted means that the key has an ipWhitelist.
	IPRestricted IPRestriction = "Restricted"
	// IPUnrestricted means that the key may be used from any address.
	IPUnrestricted IPRestriction = "Unrestricted"
)

// SecretRef refers to the Secret that holds a key's credential.
type SecretRef struct {
	// name is the name of the Secret in the namespace of the APIKey.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// resourceVersion is the resourceVersion of the Secret when its content was last compared with the digest of the
	// current credential.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// CredentialRole describes what a credential is used for.
//
// +kubebuilder:validation:Enum=Staged;Current;Previous
type CredentialRole string

// The roles of a credential.
const (
	// RoleStaged is the next credential. Verifiers observe it before it is written to the Secret.
	RoleStaged CredentialRole = "Staged"
	// RoleCurrent is the credential in the Secret.
	RoleCurrent CredentialRole = "Current"
	// RolePrevious is the credential before the current one. Verifiers accept it until its notAfter.
	RolePrevious CredentialRole = "Previous"
)

// Credential describes one credential without its secret characters.
type Credential struct {
	// id is the public id of the credential. It is safe to log.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// hint is the first characters of the credential, by which users can identify it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Hint string `json:"hint,omitempty"`
	// sha256 is the SHA-256 digest of the whole key as lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`
	// issuedAt is when the credential was issued.
	// +required
	IssuedAt metav1.Time `json:"issuedAt,omitzero"`
	// notAfter is when verifiers stop accepting the credential. If not set, they accept it as long as the key is valid.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// lastUsedTime is when a verifier last accepted the credential, accurate to a few minutes.
	// +optional
	LastUsedTime *metav1.Time `json:"lastUsedTime,omitempty"`
	// role is the role of the credential: Staged, Current or Previous.
	// +required
	Role CredentialRole `json:"role,omitempty"`
}

// RevokedCredential describes a credential that verifiers must never accept again.
type RevokedCredential struct {
	// id is the public id of the credential.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// sha256 is the SHA-256 digest of the whole key as lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`
	// issuedAt is when the credential was issued.
	// +required
	IssuedAt metav1.Time `json:"issuedAt,omitzero"`
}

// NotificationState is the delivery state of a mail.
//
// +kubebuilder:validation:Enum=Pending;Sent;Failed;Skipped
type NotificationState string

// The delivery states of a mail.
const (
	// NotificationPending means that the mail is due later or is being sent.
	NotificationPending NotificationState = "Pending"
	// NotificationSent means that the mail server accepted the mail.
	NotificationSent NotificationState = "Sent"
	// NotificationFailed means that the mail server rejected the mail permanently.
	NotificationFailed NotificationState = "Failed"
	// NotificationSkipped means that the mail was not sent, for the given reason.
	NotificationSkipped NotificationState = "Skipped"
)

// NotificationStatus describes one mail that is due before a key expires.
type NotificationStatus struct {
	// date is the day on which the mail is due, in the account's time zone.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	Date string `json:"date,omitempty"`
	// state is the delivery state of the mail: Pending, Sent, Failed or Skipped.
	// +required
	State NotificationState `json:"state,omitempty"`
	// attempts is the number of attempts to send the mail.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Attempts *int32 `json:"attempts,omitempty"`
	// lastAttemptTime is when the last attempt to send the mail began. It is written before the mail server is
	// contacted.
	// +optional
	LastAttemptTime *metav1.Time `json:"lastAttemptTime,omitempty"`
	// remaining lists the addresses that have not been notified yet while others have.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=254
	Remaining []string `json:"remaining,omitempty"`
	// sentAt is when the mail server accepted the mail.
	// +optional
	SentAt *metav1.Time `json:"sentAt,omitempty"`
	// reason is why the mail has not been sent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}

// Transition describes an event in the life of a key.
type Transition struct {
	// time is when the transition happened.
	// +required
	Time metav1.Time `json:"time,omitzero"`
	// reason is a CamelCase word for the transition. The Event and the condition have the same reason.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message describes the transition in one sentence.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}
