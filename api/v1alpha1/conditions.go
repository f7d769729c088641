// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Each condition has an observedGeneration. Messages do not contain times, counters or key material.
const (
	// ConditionReady is True when the spec has been carried out. A key that is Inactive, Suspended, Expired or Revoked
	// and carried out is Ready too, so that GitOps tools report it as healthy.
	ConditionReady = "Ready"
	// ConditionAccepted is True when the key complies with the policy of its account and holds a slot.
	ConditionAccepted = "Accepted"
	// ConditionValid is True when verifiers accept the key now.
	ConditionValid = "Valid"
	// ConditionStalled is True while the manager cannot make progress until a user changes something, and is absent
	// otherwise (kstatus convention).
	ConditionStalled = "Stalled"
	// ConditionEnforced is present on a key that is Inactive or Revoked while the manager runs with --verifier-service.
	// It is True once every verifier rejects the key, and stays True until the key is used again. Its
	// observedGeneration is the generation that all verifiers were last seen to have observed.
	ConditionEnforced = "Enforced"
)

// Reasons of Ready and Valid. A key in the state Active, Inactive, Expired or Revoked is Ready=True once that state has
// been carried out.
const (
	// ReasonActive (Ready=True, Valid=True): verifiers accept the key. On an Account (Ready=True): its keys may be
	// used.
	ReasonActive = "Active"
	// ReasonInactive (Ready=True, Valid=False): spec.state is Inactive. To use the same key again, set it to Active.
	ReasonInactive = "Inactive"
	// ReasonExpired (Ready=True, Valid=False): the key has reached spec.expiration. To make it valid again, set a later
	// expiration or remove it.
	ReasonExpired = "Expired"
	// ReasonRevoked (Ready=True, Valid=False): spec.state is Revoked, which is final. Create another APIKey instead.
	ReasonRevoked = "Revoked"
	// ReasonPending (Ready=False, Accepted=Unknown, Valid=False): reconciliation is in progress. No action is needed.
	ReasonPending = "Pending"
	// ReasonNotAccepted (Valid=False): the Accepted condition has the reason.
	ReasonNotAccepted = "NotAccepted"
	// ReasonSecretConflict (Ready=False, Stalled=True): a Secret of that name already exists and is not owned by the
	// key. The manager does not modify it; the message names its owner. Create the key again with another
	// spec.secret.name, or let it adopt the Secret.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretImmutable (Ready=False, Stalled=True): the Secret of the key must change but is immutable or has
	// another type than the spec. Delete the Secret; the manager writes a new one with a new key.
	ReasonSecretImmutable = "SecretImmutable"
	// ReasonSecretNotAdoptable (Ready=False, Stalled=True): the Secret is annotated for adoption, but its content
	// cannot be used as a key; the message names the entry and the cause. Correct the entry, or delete the Secret to
	// have a key generated.
	ReasonSecretNotAdoptable = "SecretNotAdoptable"
	// ReasonSecretContested (Ready=False, Stalled=True): another client keeps changing or deleting the Secret of the
	// key. The manager restores it at increasing intervals of up to one hour. Stop the client named in the message from
	// changing the Secret.
	ReasonSecretContested = "SecretContested"
	// ReasonWriteFailed (Ready=False): a write to the API server failed and will be retried; the message describes it.
	ReasonWriteFailed = "WriteFailed"
)

// Reasons of Accepted.
const (
	// ReasonAccepted (Accepted=True): the key complies with the policy of its account and holds a slot.
	ReasonAccepted = "Accepted"
	// ReasonAccountNotFound (Accepted=False): the manager runs with --require-account and the Account does not exist.
	// Create it.
	ReasonAccountNotFound = "AccountNotFound"
	// ReasonAccountSuspended (Accepted=False): the Account is Suspended. Its keys are valid again once it is Active. On
	// an Account (Ready=True): none of its keys may be used.
	ReasonAccountSuspended = "AccountSuspended"
	// ReasonNamespaceNotAllowed (Accepted=False, Stalled=True): the Account's allowedNamespaces does not select the
	// namespace of the key.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonLimitReached (Accepted=False): every slot of the Account is in use. The key gets the next free slot; delete
	// a key or raise limits.maxKeys.
	ReasonLimitReached = "LimitReached"
	// ReasonLabelTaken (Accepted=False, Stalled=True): another key of the Account has the same label. Choose another
	// label.
	ReasonLabelTaken = "LabelTaken"
	// ReasonScopeNotAllowed (Accepted=False, Stalled=True): the Account's allowedScopes does not cover a scope of the
	// key.
	ReasonScopeNotAllowed = "ScopeNotAllowed"
	// ReasonRateLimitNotAllowed (Accepted=False, Stalled=True): a rate limit of the key is not one of the Account's, has
	// another unit, or allows more requests. Lower it or remove it.
	ReasonRateLimitNotAllowed = "RateLimitNotAllowed"
	// ReasonExpirationRequired (Accepted=False, Stalled=True): the Account requires an expiration and the key has none.
	ReasonExpirationRequired = "ExpirationRequired"
	// ReasonExpirationForbidden (Accepted=False, Stalled=True): the Account forbids an expiration and the key has one.
	ReasonExpirationForbidden = "ExpirationForbidden"
	// ReasonLifetimeTooLong (Accepted=False, Stalled=True): the expiration is later than the Account's maxLifetime
	// allows.
	ReasonLifetimeTooLong = "LifetimeTooLong"
	// ReasonIPWhitelistRequired (Accepted=False, Stalled=True): the Account requires an IP whitelist and the key has
	// none.
	ReasonIPWhitelistRequired = "IPWhitelistRequired"
	// ReasonImportNotAllowed (Accepted=False, Stalled=True): the key names a digest in spec.import and the Account's
	// importPolicy is Forbid. Set it to Allow, or create the APIKey without spec.import.
	ReasonImportNotAllowed = "ImportNotAllowed"
	// ReasonDuplicateKey (Accepted=False, Stalled=True): another APIKey has, or has revoked, the same credential, and
	// it was issued to that APIKey first. Verifiers attribute the credential to that APIKey. Delete this APIKey and
	// create it again, or delete the Secret that it would adopt.
	ReasonDuplicateKey = "DuplicateKey"
	// ReasonExternalIDTaken (on an Account, Ready=False, Stalled=True): an older Account has the same externalID.
	// Verifiers use the older Account; change the externalID of one of them.
	ReasonExternalIDTaken = "ExternalIDTaken"
	// ReasonInvalidSpec (Accepted=False, Stalled=True; on an Account Ready=False, Stalled=True): the spec has a value
	// that cannot be carried out; the message names the field.
	ReasonInvalidSpec = "InvalidSpec"
)

// Reasons of Ready on a KeyExport, in addition to InvalidSpec and WriteFailed.
const (
	// ReasonExported (Ready=True): the objects hold the credentials of all selected keys that verifiers accept, except
	// those in status.withheld.
	ReasonExported = "Exported"
	// ReasonTargetConflict (Ready=False, Stalled=True): an object of the target's name already exists and is not owned by
	// the KeyExport, or an older KeyExport has the same target. The manager does not modify the object. Delete it, or
	// create the KeyExport again with another target.
	ReasonTargetConflict = "TargetConflict"
	// ReasonTargetImmutable (Ready=False, Stalled=True): an object of the KeyExport must change but is immutable or has
	// another type than the spec. Delete the object; the manager writes it again.
	ReasonTargetImmutable = "TargetImmutable"
	// ReasonConfigMapsNotAllowed (Ready=False, Stalled=True): the target is a ConfigMap in a namespace that the manager's
	// flag --export-configmap-namespaces does not list. Add the namespace, or use a Secret.
	ReasonConfigMapsNotAllowed = "ConfigMapsNotAllowed"
)

// Reasons in status.withheld of a KeyExport.
const (
	// ReasonExportNotAllowed: the exportPolicy of the Account does not allow the content of the KeyExport.
	ReasonExportNotAllowed = "ExportNotAllowed"
	// ReasonAddressRestricted: the key has an ipWhitelist, which the gateway cannot check, and the KeyExport does not have
	// addressRestricted: Include.
	ReasonAddressRestricted = "AddressRestricted"
	// ReasonKeyNotReadable: the Secret of the key does not exist, cannot be read, or does not hold the credential, as
	// after spec.import.
	ReasonKeyNotReadable = "KeyNotReadable"
	// ReasonDuplicateEntry: another, older key has an entry of the same name. Make the template of entry.name unique, for
	// example with .KeyID.
	ReasonDuplicateEntry = "DuplicateEntry"
	// ReasonInvalidEntry: the templates of the KeyExport do not render to a valid entry for this key.
	ReasonInvalidEntry = "InvalidEntry"
	// ReasonExportFull: the KeyExport holds as many credentials as one KeyExport can.
	ReasonExportFull = "ExportFull"
)

// Reasons of Enforced.
const (
	// ReasonEnforced (Enforced=True): every verifier rejects the key.
	ReasonEnforced = "Enforced"
	// ReasonEnforcing (Enforced=False): at least one verifier has not observed yet that the key is disabled, or cannot
	// be reached. If this lasts, check the Pods of the verifier.
	ReasonEnforcing = "Enforcing"
	// ReasonNoVerifier (Enforced=Unknown): the Service of --verifier-service has no verifier. Start a verifier, or
	// correct the flag.
	ReasonNoVerifier = "NoVerifier"
)

// Reasons of Events and of status.history, in addition to those above.
const (
	// ReasonIssued: the first credential of the key was issued.
	ReasonIssued = "Issued"
	// ReasonAdopted: the key adopted its first credential from an annotated Secret.
	ReasonAdopted = "Adopted"
	// ReasonImported: the key imported its first credential from spec.import.
	ReasonImported = "Imported"
	// ReasonRotated: the key got its next credential, on schedule, on request or because of rotation.revokeBefore.
	ReasonRotated = "Rotated"
	// ReasonReissued: the Secret was deleted or edited, and a new credential was issued.
	ReasonReissued = "Reissued"
	// ReasonActivated: verifiers accept the key again.
	ReasonActivated = "Activated"
	// ReasonDeactivated: the key was deactivated.
	ReasonDeactivated = "Deactivated"
	// ReasonRetentionOver: the manager deletes the key because it has been Expired or Revoked for as long as the
	// Account's spec.retention keeps such keys. Used in Events only.
	ReasonRetentionOver = "RetentionOver"
)

// Reasons of status.notifications and of the Events about mail.
const (
	// ReasonNotificationSent: the mail server accepted a mail that is due before the key expires.
	ReasonNotificationSent = "NotificationSent"
	// ReasonNotificationFailed: a mail that is due before the key expires could not be sent to some or all recipients;
	// the entry in status.notifications has the cause.
	ReasonNotificationFailed = "NotificationFailed"
	// ReasonSending: the mail was passed to the mail server, whose response is not recorded yet.
	ReasonSending = "Sending"
	// ReasonSuperseded: a more urgent mail came due while the manager was not running, and only that one is sent.
	ReasonSuperseded = "Superseded"
	// ReasonNoMailServer: the manager runs without --smtp-host.
	ReasonNoMailServer = "NoMailServer"
	// ReasonAfterExpiration: the date of the mail is not before the expiration.
	ReasonAfterExpiration = "AfterExpiration"
	// ReasonLocaleNotAvailable: the mail was sent in English because there is no translation for notification.locale.
	ReasonLocaleNotAvailable = "LocaleNotAvailable"
	// ReasonMailLimitReached: the account has reached --smtp-max-per-account for the day. The mail is sent on the next
	// day in UTC.
	ReasonMailLimitReached = "MailLimitReached"
	// ReasonRecipientNotAllowed: some or all addresses are outside --smtp-allowed-domains and get no mail. The webhook
	// rejects such addresses with the same reason.
	ReasonRecipientNotAllowed = "RecipientNotAllowed"
	// ReasonSomeRejected: the mail server accepted the mail for some addresses and rejected others.
	ReasonSomeRejected = "SomeRejected"
)
