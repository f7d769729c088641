// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// ErrNotice says that a Notice cannot be put into words, because it lacks something or holds what no object can.
var ErrNotice = errors.New("notice")

// Notice is what there is to say about a key that will expire. It has no field for key material.
type Notice struct {
	// Account is the name of the Account that owns the key.
	Account string
	// AccountDisplayName is the account's name in the provider's own system, if it has one.
	AccountDisplayName string
	// Label is what a person calls the key, if anything.
	Label string
	// KeyID is the public id of the current credential.
	KeyID string
	// Namespace and Name are those of the APIKey.
	Namespace, Name string
	// Expiration is the instant from which the key is refused.
	Expiration time.Time
	// Zone is the account's time zone, in which dates are written: UTC if nil.
	Zone *time.Location
	// DateOnly says that the expiration was given as a date: the START of that day in Zone.
	DateOnly bool
	// DaysLeft is how many whole days are left; 0 reads as less than a day.
	DaysLeft int
}

// objectName is what Namespace and Name look like. It keeps the command that readers are asked to run free of anything
// that a shell would interpret.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func (n Notice) check() error {
	switch {
	case n.Account == "", n.KeyID == "":
		return fmt.Errorf("%w: account and key ID must be given", ErrNotice)
	case !objectName.MatchString(n.Namespace), !objectName.MatchString(n.Name):
		return fmt.Errorf("%w: namespace and name must be those of an object", ErrNotice)
	case n.Expiration.IsZero():
		return fmt.Errorf("%w: expiration must be given", ErrNotice)
	case n.DaysLeft < 0:
		return fmt.Errorf("%w: the key has expired", ErrNotice)
	}
	return nil
}

// tidy is the notice with every word of a user on one line.
func (n Notice) tidy() Notice {
	n.Account, n.AccountDisplayName = oneLine(n.Account), oneLine(n.AccountDisplayName)
	n.Label, n.KeyID = oneLine(n.Label), oneLine(n.KeyID)
	if n.Zone == nil {
		n.Zone = time.UTC
	}
	return n
}

// owner is the account as a person knows it.
func (n Notice) owner() string {
	if n.AccountDisplayName == "" || n.AccountDisplayName == n.Account {
		return n.Account
	}
	return n.AccountDisplayName + " (" + n.Account + ")"
}

// command extends the key, once the reader has put a date into it.
func (n Notice) command() string {
	return fmt.Sprintf(`kubectl patch apikey %s -n %s --type=merge -p '{"spec":{"expiration":"YYYY-MM-DD"}}'`, n.Name, n.Namespace)
}

// oneLine is text without line breaks and control characters, so that a label can neither add a header to a mail nor a
// paragraph to its text, and without the characters that make text run backwards, which could disguise what it says.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }), " ")
}
