// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

// State is the outcome of an attempt to send a mail to a recipient.
type State string

// The outcomes of an attempt.
const (
	// Sent means that the mail server accepted the mail.
	Sent State = "Sent"
	// Temporary means that a later attempt may succeed. If only the response of the server was lost, the mail may have
	// been delivered; the next attempt uses the same Message-ID, by which receivers can detect the duplicate.
	Temporary State = "Temporary"
	// Permanent means that the mail server rejected this mail to this recipient permanently.
	Permanent State = "Permanent"
)

// Reason is the cause of a failure as a CamelCase word that can be published in a status. The same cause always has the
// same reason.
type Reason string

// The causes of a failure.
const (
	// ReasonRejected means that the server rejected the mail permanently (5xx).
	ReasonRejected Reason = "Rejected"
	// ReasonInvalidAddress means that the recipient is not a valid address, or that the server does not support the
	// address.
	ReasonInvalidAddress Reason = "InvalidAddress"
	// ReasonDeferred means that the server rejected the mail temporarily (4xx).
	ReasonDeferred Reason = "Deferred"
	// ReasonUnavailable means that the server rejected the session before a mail was sent.
	ReasonUnavailable Reason = "Unavailable"
	// ReasonUnreachable means that the connection could not be established.
	ReasonUnreachable Reason = "Unreachable"
	// ReasonTimedOut means that the server did not respond in time.
	ReasonTimedOut Reason = "TimedOut"
	// ReasonConnectionLost means that the connection ended before the server accepted the mail, or before its response
	// arrived.
	ReasonConnectionLost Reason = "ConnectionLost"
	// ReasonTLSFailed means that the connection could not be protected as required by the options.
	ReasonTLSFailed Reason = "TLSFailed"
	// ReasonAuthFailed means that the server rejected the username and password, or requires authentication.
	ReasonAuthFailed Reason = "AuthFailed"
	// ReasonPasswordUnreadable means that the password file could not be read or is empty.
	ReasonPasswordUnreadable Reason = "PasswordUnreadable"
	// ReasonCancelled means that the caller cancelled the context.
	ReasonCancelled Reason = "Cancelled"
)

// Unreached reports whether the attempt failed before a mail was offered to the server.
func (r Reason) Unreached() bool {
	switch r {
	case ReasonUnreachable, ReasonUnavailable, ReasonTLSFailed, ReasonAuthFailed, ReasonPasswordUnreadable:
		return true
	case ReasonRejected, ReasonInvalidAddress, ReasonDeferred, ReasonTimedOut, ReasonConnectionLost, ReasonCancelled:
	}
	return false
}

// DeliveryStatus describes the outcome of an attempt to send a mail to one recipient.
type DeliveryStatus struct {
	State State
	// Reason is the cause of the failure. It is empty if the mail was sent.
	Reason Reason
	// Code is the reply code of the server that caused the outcome, or 0 if there is none.
	Code int
	// Err is for logs. It is one line and may quote what the server said about the mail. It contains neither the
	// password nor the mail, and never quotes the server's response to a password.
	Err error
}

// Result is the DeliveryStatus of one recipient.
type Result struct {
	To        string
	MessageID string
	DeliveryStatus
}

// Results holds one Result for each recipient, in the order of the envelope.
type Results []Result

// To returns the recipients whose state is the given one.
func (o Results) To(state State) []string {
	var recipients []string
	for _, result := range o {
		if result.State == state {
			recipients = append(recipients, result.To)
		}
	}
	return recipients
}

// Worst returns the status that determines what happens next: the first Temporary status, which requires another
// attempt, or else the first Permanent status, or else Sent.
func (o Results) Worst() DeliveryStatus {
	worst := DeliveryStatus{State: Sent}
	for _, result := range o {
		switch {
		case result.State == Temporary:
			return result.DeliveryStatus
		case result.State == Permanent && worst.State == Sent:
			worst = result.DeliveryStatus
		}
	}
	return worst
}
