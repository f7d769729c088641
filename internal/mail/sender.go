// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"context"
	"fmt"
)

// patience is how many connections may break within one Send before the recipients that are left wait for another time.
const patience = 2

// Send brings the message to each recipient in a transaction of their own, all in one connection as long as that holds.
// Cancelling the context ends it promptly. A server that hangs costs a handful of timeouts, however many the recipients.
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

// delivery is one Send: a connection, if there is one, and what was learned about the server.
type delivery struct {
	sender *Sender
	line   *session
	broken int
	over   *DeliveryStatus // what everybody gets from here on
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
		r.over = failure // no other recipient would fare better
		return *failure
	}
	verdict := r.line.transact(ctx, m)
	if verdict.State == Temporary && verdict.Code == 0 {
		r.drop(ctx, verdict)
	}
	return verdict
}

// ready makes sure that there is a connection with no transaction open in it.
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

// drop gives up a connection that broke within a transaction, and the whole round when that happens too often.
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

// failed is a verdict on a try that never got as far as a mail, or on a connection that broke: never for good.
func failed(reason Reason, what string, err error) *DeliveryStatus {
	return &DeliveryStatus{State: Temporary, Reason: reason, Err: fmt.Errorf("%s: %w", what, err)}
}
