// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

// State is how a try to send a mail to a recipient ended.
type State string

// How a try ended.
const (
	// Sent means the mail server took the mail.
	Sent State = "Sent"
	// Temporary means it may work another time. The mail may even have arrived, if the server's answer got lost: it is
	// sent again with the same Message-ID, by which receivers can tell.
	Temporary State = "Temporary"
	// Permanent means the mail server refused this mail to this recipient for good.
	Permanent State = "Permanent"
)

// Reason is why a mail was not sent, in one word that may be shown in a status: it is the same for the same cause.
type Reason string

// Why a mail was not sent.
const (
	// ReasonRejected means the server refused the mail for good (5xx).
	ReasonRejected Reason = "Rejected"
	// ReasonInvalidAddress means the recipient is no mail address, or none that this server can take.
	ReasonInvalidAddress Reason = "InvalidAddress"
	// ReasonDeferred means the server refused the mail for now (4xx).
	ReasonDeferred Reason = "Deferred"
	// ReasonUnavailable means the server refused to talk, before it heard of any mail.
	ReasonUnavailable Reason = "Unavailable"
	// ReasonUnreachable means that no connection came about.
	ReasonUnreachable Reason = "Unreachable"
	// ReasonTimedOut means that the server took too long.
	ReasonTimedOut Reason = "TimedOut"
	// ReasonConnectionLost means that the connection ended before the server took the mail, or before it said so.
	ReasonConnectionLost Reason = "ConnectionLost"
	// ReasonTLSFailed means that the connection could not be protected as the options ask.
	ReasonTLSFailed Reason = "TLSFailed"
	// ReasonAuthFailed means that the server did not accept the sender's username and password, or asks for some.
	ReasonAuthFailed Reason = "AuthFailed"
	// ReasonPasswordUnreadable means that the password file could not be read, or is empty.
	ReasonPasswordUnreadable Reason = "PasswordUnreadable"
	// ReasonCancelled means that the caller did not want to wait any longer.
	ReasonCancelled Reason = "Cancelled"
)

// Unreached reports whether the server was not asked to take the mail at all.
func (r Reason) Unreached() bool {
	switch r {
	case ReasonUnreachable, ReasonUnavailable, ReasonTLSFailed, ReasonAuthFailed, ReasonPasswordUnreadable:
		return true
	case ReasonRejected, ReasonInvalidAddress, ReasonDeferred, ReasonTimedOut, ReasonConnectionLost, ReasonCancelled:
	}
	return false
}

// DeliveryStatus is what became of a mail to one recipient.
type DeliveryStatus struct {
	State State
	// Reason is why it was not sent, empty if it was.
	Reason Reason
	// Code is the server's reply code that decided it, 0 if none did.
	Code int
	// Err is for logs: one line, which may quote what the server said of the mail. The sender puts neither the password
	// nor the mail into it, and quotes nothing that was said about a password.
	Err error
}

// Result is a Verdict with the recipient it speaks of.
type Result struct {
	To        string
	MessageID string
	DeliveryStatus
}

// Results has one receipt for each recipient, in the order of the envelope.
type Results []Result

// To lists the recipients for whom sending ended that way.
func (o Results) To(state State) []string {
	var recipients []string
	for _, result := range o {
		if result.State == state {
			recipients = append(recipients, result.To)
		}
	}
	return recipients
}

// Worst is the verdict that matters most for what comes next: the first Temporary one, which asks for another try, or
// else the first Permanent one, or else Sent.
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
