// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Each carries observedGeneration; messages never hold a time, a counter or key material.
const (
	// ConditionReady is True when what is declared has been carried out. A key that is Inactive, Expired or Revoked and
	// fully carried out is Ready too, so that GitOps tools see it as healthy.
	ConditionReady = "Ready"
	// ConditionAccepted is True when the key is within the policy of its account and holds a slot.
	ConditionAccepted = "Accepted"
	// ConditionValid is True when a verifier accepts the key now.
	ConditionValid = "Valid"
	// ConditionStalled is present, and True, only while nothing but a person can help (kstatus convention).
	ConditionStalled = "Stalled"
	// ConditionEnforced is present on a key that is Inactive or Revoked while the manager runs with --verifier-service. It
	// is True once every verifier refuses the key, and stays so until the key is used again. Its observedGeneration is
	// the one that verifiers were last seen to know of.
	ConditionEnforced = "Enforced"
)

// Reasons of Ready and Valid that name the state of a key. A key in one of them that is carried out is Ready=True.
const (
	// ReasonActive (Ready=True, Valid=True): verifiers accept the key. On an Account, Ready=True: its keys may be used.
	ReasonActive = "Active"
	// ReasonInactive (Ready=True, Valid=False): spec.state is Inactive. Set it to Active to use the same key again.
	ReasonInactive = "Inactive"
	// ReasonExpired (Ready=True, Valid=False): spec.expiration has come. Move it later, or remove it, to revive the key.
	ReasonExpired = "Expired"
	// ReasonRevoked (Ready=True, Valid=False): spec.state is Revoked, for good. Create another APIKey instead.
	ReasonRevoked = "Revoked"
	// ReasonPending (Ready=False, Accepted=Unknown, Valid=False): the manager is at it; nothing needs to be done.
	ReasonPending = "Pending"
	// ReasonNotAccepted (Valid=False): condition Accepted says why.
	ReasonNotAccepted = "NotAccepted"
	// ReasonSecretConflict (Ready=False, Stalled=True): a Secret of that name exists and is not owned by the key. It is never
	// touched; the message names its owner. Create the key again with another spec.secret.name, or let it adopt the Secret.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretImmutable (Ready=False, Stalled=True): the key's Secret is immutable, or has another type than the key declares,
	// and has to change. Delete the Secret; the manager writes another one with a new key.
	ReasonSecretImmutable = "SecretImmutable"
	// ReasonSecretNotAdoptable (Ready=False, Stalled=True): the Secret is annotated for adoption, and what it holds can't become
	// a key; the message names the entry and says why. Correct the entry, or delete the Secret to have a key generated.
	ReasonSecretNotAdoptable = "SecretNotAdoptable"
	// ReasonSecretContested (Ready=False, Stalled=True): another client keeps changing or deleting the key's Secret. It is put
	// back ever more seldom, at least once an hour. Make the client that the message names leave the Secret alone.
	ReasonSecretContested = "SecretContested"
	// ReasonWriteFailed (Ready=False): a write to the API server failed and is tried again; the message names it.
	ReasonWriteFailed = "WriteFailed"
)

// Reasons of Accepted.
const (
	// ReasonAccepted (Accepted=True): the key is within its account's policy and holds a slot.
	ReasonAccepted = "Accepted"
	// ReasonAccountNotFound (Accepted=False): the manager runs with --require-account and the Account does not exist.
	// Create it.
	ReasonAccountNotFound = "AccountNotFound"
	// ReasonAccountSuspended (Accepted=False): the Account's state is Suspended. Its keys come back when it is Active. On an
	// Account, Ready=True: no key of it may be used.
	ReasonAccountSuspended = "AccountSuspended"
	// ReasonNamespaceNotAllowed (Accepted=False, Stalled=True): the Account's allowedNamespaces does not select the key's namespace.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonLimitReached (Accepted=False): every slot of the Account is taken. The key gets the first one that comes free;
	// delete a key or raise limits.maxKeys.
	ReasonLimitReached = "LimitReached"
	// ReasonLabelTaken (Accepted=False, Stalled=True): another key of the Account has the label. Choose another.
	ReasonLabelTaken = "LabelTaken"
	// ReasonScopeNotAllowed (Accepted=False, Stalled=True): the Account's allowedScopes does not cover a scope of the key.
	ReasonScopeNotAllowed = "ScopeNotAllowed"
	// ReasonExpirationRequired (Accepted=False, Stalled=True): the Account wants an expiration and the key has none.
	ReasonExpirationRequired = "ExpirationRequired"
	// ReasonExpirationForbidden (Accepted=False, Stalled=True): the Account wants no expiration and the key has one.
	ReasonExpirationForbidden = "ExpirationForbidden"
	// ReasonLifetimeTooLong (Accepted=False, Stalled=True): the expiration is later than the Account's maxLifetime allows.
	ReasonLifetimeTooLong = "LifetimeTooLong"
	// ReasonIPWhitelistRequired (Accepted=False, Stalled=True): the Account wants an IP whitelist and the key has none.
	ReasonIPWhitelistRequired = "IPWhitelistRequired"
	// ReasonImportNotAllowed (Accepted=False, Stalled=True): the key names a digest in spec.import, and the Account's importPolicy
	// is Forbid. Allow it, or create the APIKey without spec.import.
	ReasonImportNotAllowed = "ImportNotAllowed"
	// ReasonDuplicateKey (Accepted=False, Stalled=True): another APIKey has, or has revoked, the same credential, and it was issued
	// there first. Verifiers take it for that one's. Delete this APIKey and create it again, or the Secret that it would adopt.
	ReasonDuplicateKey = "DuplicateKey"
	// ReasonExternalIDTaken (on an Account, Ready=False, Stalled=True): an older Account has the same externalID. Verifiers
	// take the older; correct the externalID of one of them.
	ReasonExternalIDTaken = "ExternalIDTaken"
	// ReasonInvalidSpec (Accepted=False, Stalled=True; on an Account Ready=False, Stalled=True): the spec has a value that
	// can't be carried out; the message names the field.
	ReasonInvalidSpec = "InvalidSpec"
)

// Reasons of Enforced.
const (
	// ReasonEnforced (Enforced=True): every verifier refuses the key.
	ReasonEnforced = "Enforced"
	// ReasonEnforcing (Enforced=False): some verifier has not heard yet that the key is off, or can't be reached. Nothing needs
	// to be done unless it lasts: then look at the verifier's Pods.
	ReasonEnforcing = "Enforcing"
	// ReasonNoVerifier (Enforced=Unknown): the Service of --verifier-service has no verifier. Start one, or correct the
	// flag.
	ReasonNoVerifier = "NoVerifier"
)

// Reasons of events and of status.history, beside those above.
const (
	// ReasonIssued: the key got its first credential.
	ReasonIssued = "Issued"
	// ReasonAdopted: the key got its first credential from a Secret that was annotated for adoption.
	ReasonAdopted = "Adopted"
	// ReasonImported: the key got its first credential from spec.import.
	ReasonImported = "Imported"
	// ReasonRotated: the key got its next credential, by schedule, on request or after a compromise.
	ReasonRotated = "Rotated"
	// ReasonReissued: the Secret was deleted or edited, and the key got a new credential.
	ReasonReissued = "Reissued"
	// ReasonActivated: verifiers accept the key again.
	ReasonActivated = "Activated"
	// ReasonDeactivated: the key was switched off.
	ReasonDeactivated = "Deactivated"
	// ReasonRetentionOver: the manager deletes the key, because it has been Expired or Revoked for as long as the Account's
	// spec.retention keeps such keys. An event only.
	ReasonRetentionOver = "RetentionOver"
)

// Reasons of status.notifications and of the events about mail.
const (
	// ReasonNotificationSent: a mail before the key's expiration was taken by the mail server.
	ReasonNotificationSent = "NotificationSent"
	// ReasonNotificationFailed: a mail before the key's expiration could not be sent, to some or to all; the entry in
	// status.notifications says why.
	ReasonNotificationFailed = "NotificationFailed"
	// ReasonSending: the mail was handed to the mail server, whose answer is not recorded yet.
	ReasonSending = "Sending"
	// ReasonSuperseded: while the manager was away a more urgent mail came due, and only that one is sent.
	ReasonSuperseded = "Superseded"
	// ReasonNoMailServer: the manager runs without --smtp-host.
	ReasonNoMailServer = "NoMailServer"
	// ReasonAfterExpiration: the mail's date is not before the expiration.
	ReasonAfterExpiration = "AfterExpiration"
	// ReasonLocaleNotAvailable: the mail was sent in English, because there are no texts in notification.locale.
	ReasonLocaleNotAvailable = "LocaleNotAvailable"
	// ReasonMailLimitReached: the account's mails of the day, --smtp-max-per-account, are used up. The mail goes out on the
	// next day, in UTC.
	ReasonMailLimitReached = "MailLimitReached"
	// ReasonRecipientNotAllowed: some or all of the addresses are outside --smtp-allowed-domains, and get no mail. The
	// webhook refuses them with the same reason.
	ReasonRecipientNotAllowed = "RecipientNotAllowed"
	// ReasonSomeRejected: some of the addresses were told, others refused by their mail server.
	ReasonSomeRejected = "SomeRejected"
)
