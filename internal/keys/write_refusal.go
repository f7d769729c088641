// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/internal/credential"
)

const (
	// maxRefusal limits the message of a condition, and the note of an Event, that repeats a response of the API
	// server.
	maxRefusal = 900
	// maxRefusedFields limits the number of fields that are named for an object that the API server found invalid.
	maxRefusedFields = 8
	// refusalRecheckInterval separates two attempts of a write that the API server refused. A change after which it
	// would be accepted does not enqueue the key.
	refusalRecheckInterval = time.Minute
)

// RefusedError is the error of a write that the API server refused: because of a quota, by an admission plugin, or
// because the object is invalid. It contains nothing of the response but the reason, since the response may repeat the
// object.
type RefusedError struct{ message string }

// Error implements error.
func (e *RefusedError) Error() string { return e.message }

// IsRefused reports whether an error says that the API server refused a write.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

// NewRefusedError returns the error for the response of the API server to the write of an object with this data,
// without anything of the data. It returns nil if the write failed for another reason.
func NewRefusedError(status metav1.Status, data map[string][]byte) *RefusedError {
	fields := refusedFields(status, data)
	switch {
	case isAdmissionMessage(status.Message):
	case IsAuthorizerDenial(status):
		return nil
	case len(fields) > 0:
		return &RefusedError{"the API server finds " + strings.Join(fields, ", ") + " invalid"}
	case status.Reason == metav1.StatusReasonRequestEntityTooLarge:
		return &RefusedError{"it is too large for the API server"}
	case status.Reason != metav1.StatusReasonForbidden && status.Reason != metav1.StatusReasonInvalid &&
		status.Reason != metav1.StatusReasonBadRequest:
		return nil
	}
	return &RefusedError{redactData(status.Message, data)}
}

// RedactStatus returns the response of the API server to the write of an object with this data, without anything of the
// data.
func RedactStatus(status metav1.Status, data map[string][]byte) metav1.Status {
	return metav1.Status{Status: status.Status, Code: status.Code, Reason: status.Reason, Message: redactData(status.Message, data)}
}

// isAdmissionMessage reports whether an admission webhook or a ValidatingAdmissionPolicy denied a request. The code and
// the reason of the response can't be used for this, because webhooks choose them freely.
func isAdmissionMessage(message string) bool {
	return strings.HasPrefix(message, "admission webhook ") && strings.Contains(message, "denied the request") ||
		strings.Contains(message, "ValidatingAdmissionPolicy '") && strings.Contains(message, "denied request")
}

// IsAuthorizerDenial reports whether the authorizer of the API server denied a request. It does so for a moment after each start
// of the API server, before it has read the roles, so that such a write is tried again soon, and is no reason to notify users.
func IsAuthorizerDenial(status metav1.Status) bool {
	_, user, found := strings.Cut(status.Message, ` is forbidden: User "`)
	_, verb, denied := strings.Cut(user, `" cannot `)
	return status.Reason == metav1.StatusReasonForbidden && found && denied && strings.Contains(verb, ` resource "`)
}

// refusedFields returns the paths of the fields that the API server found invalid. It omits the details, which contain
// the values.
func refusedFields(status metav1.Status, data map[string][]byte) []string {
	if status.Details == nil || status.Reason != metav1.StatusReasonInvalid {
		return nil
	}
	var fields []string
	for _, cause := range status.Details.Causes {
		if cause.Field != "" {
			fields = append(fields, redactData(cause.Field, data))
		}
	}
	slices.Sort(fields)
	fields = slices.Compact(fields)
	return fields[:min(maxRefusedFields, len(fields))]
}

// FailedWebhook returns the name of the admission webhook that could not be called according to a response of the API
// server, or "" if there is none.
func FailedWebhook(status metav1.Status) string {
	_, after, found := strings.Cut(status.Message, `failed calling webhook "`)
	name, _, quoted := strings.Cut(after, `"`)
	if !found || !quoted {
		return ""
	}
	return plainName(name, maxName)
}

// RefusalMessage returns the message for a write that was refused. It is the previous message if that differs only in
// numbers, such as the usage of a quota or the request ID of a webhook, so that the condition does not change with each
// attempt.
func RefusalMessage(before *metav1.Condition, reason, message string) string {
	message = truncateTo(message, maxRefusal)
	if before != nil && before.Reason == reason && withoutNumbers(before.Message) == withoutNumbers(message) {
		return before.Message
	}
	return message
}

// withoutNumbers returns a text in which each word that contains a digit is replaced by #.
func withoutNumbers(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		if strings.ContainsAny(word, "0123456789") || strings.Contains(word, credential.Redacted) {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}
