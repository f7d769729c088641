// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"context"
	"fmt"
)

// patience is the number of connections that may break within one Send before the remaining recipients are deferred.
const patience = 2

// Send sends the message to each recipient in a separate transaction, using one connection unless it breaks. It returns
// promptly when the context is cancelled. If the server hangs, Send takes a few timeouts, regardless of the number of
// recipients.
func (s *Sender) Send(ctx context.Context, envelope Envelope) Results {
	r := &delivery{sender: s}
	defer r.end(ctx)
	results := make(Results, 0, len(envelope.To))
	for _, to := range envelope.To {
		id := s.MessageID(envelope.UID, envelope.Day, to, envelope.Expiration)
		results = append(results, Result{To: to, MessageID: id, DeliveryStatus: r.deliver(ctx, envelope, to, id)})
	}
	return results
}

// delivery holds the state of one call of Send: the connection, if any, and the failure that applies to all remaining
// recipients.
type delivery struct {
	sender *Sender
	line   *session
	broken int
	over   *DeliveryStatus // if set, the status of all remaining recipients
}

func (r *delivery) deliver(ctx context.Context, envelope Envelope, to, id string) DeliveryStatus {
	m, err := r.sender.mail(envelope, to, id)
	if err != nil {
		return DeliveryStatus{State: Permanent, Reason: ReasonInvalidAddress, Err: err}
	}
	if r.over != nil {
		return *r.over
	}
	if failure := r.ready(ctx); failure != nil {
		r.over = failure // the failure does not depend on the recipient
		return *failure
	}
	verdict := r.line.transact(ctx, m)
	if verdict.State == Temporary && verdict.Code == 0 {
		r.drop(ctx, verdict)
	}
	return verdict
}

// ready ensures that there is a connection without an open transaction.
func (r *delivery) ready(ctx context.Context) *DeliveryStatus {
	if r.line != nil && !r.line.reset(ctx) {
		r.line.close()
		r.line = nil
	}
	if r.line != nil {
		return nil
	}
	conn, failure := r.sender.connect(ctx)
	r.line = conn
	return failure
}

// drop closes a connection that broke during a transaction. If this happens too often, verdict applies to all remaining
// recipients.
func (r *delivery) drop(ctx context.Context, verdict DeliveryStatus) {
	r.line.close()
	r.line = nil
	r.broken++
	if r.broken >= patience || ctx.Err() != nil {
		r.over = &verdict
	}
}

func (r *delivery) end(ctx context.Context) {
	if r.line != nil {
		r.line.quit(ctx)
	}
}

// failed returns a Temporary status for an attempt that failed before a mail was offered to the server, or because the
// connection broke.
func failed(reason Reason, what string, err error) *DeliveryStatus {
	return &DeliveryStatus{State: Temporary, Reason: reason, Err: fmt.Errorf("%s: %w", what, err)}
}
