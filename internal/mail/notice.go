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

// ErrNotice is returned for a Notice with missing or invalid fields.
var ErrNotice = errors.New("invalid notice")

// Notice describes a key that is about to expire. It has no field for key material.
type Notice struct {
	// Account is the name of the Account that owns the key.
	Account string
	// AccountDisplayName is the account's name in the provider's own system, if it has one.
	AccountDisplayName string
	// Label is the label of the key, if it has one.
	Label string
	// KeyID is the public id of the current credential.
	KeyID string
	// Namespace and Name are the namespace and the name of the APIKey.
	Namespace, Name string
	// Expiration is the instant from which verifiers reject the key.
	Expiration time.Time
	// Zone is the account's time zone, in which dates are formatted. It defaults to UTC.
	Zone *time.Location
	// DateOnly is true if the expiration was given as a date, which means the START of that day in Zone.
	DateOnly bool
	// DaysLeft is the number of whole days until the expiration. 0 is shown as less than a day.
	DaysLeft int
}

// objectName matches valid values of Namespace and Name. It ensures that the command in the mail contains nothing that
// a shell would interpret.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func (n Notice) check() error {
	switch {
	case n.Account == "", n.KeyID == "":
		return fmt.Errorf("%w: account and key ID must be set", ErrNotice)
	case !objectName.MatchString(n.Namespace), !objectName.MatchString(n.Name):
		return fmt.Errorf("%w: namespace and name must be valid object names", ErrNotice)
	case n.Expiration.IsZero():
		return fmt.Errorf("%w: expiration must be set", ErrNotice)
	case n.DaysLeft < 0:
		return fmt.Errorf("%w: the key has expired", ErrNotice)
	}
	return nil
}

// tidy returns the notice with every text of a user on one line.
func (n Notice) tidy() Notice {
	n.Account, n.AccountDisplayName = oneLine(n.Account), oneLine(n.AccountDisplayName)
	n.Label, n.KeyID = oneLine(n.Label), oneLine(n.KeyID)
	if n.Zone == nil {
		n.Zone = time.UTC
	}
	return n
}

// owner returns the display name of the account with its name, or the name alone if there is no display name.
func (n Notice) owner() string {
	if n.AccountDisplayName == "" || n.AccountDisplayName == n.Account {
		return n.Account
	}
	return n.AccountDisplayName + " (" + n.Account + ")"
}

// command returns the command that extends the key. The reader has to insert a date.
func (n Notice) command() string {
	return fmt.Sprintf(`kubectl patch apikey %s -n %s --type=merge -p '{"spec":{"expiration":"YYYY-MM-DD"}}'`, n.Name, n.Namespace)
}

// pluginCommand returns the command of the kubectl plugin that does the same.
func (n Notice) pluginCommand() string {
	return fmt.Sprintf("kubectl apikey expire %s -n %s --at YYYY-MM-DD", n.Name, n.Namespace)
}

// oneLine returns text without line breaks and control characters, so that a label can add neither a header to a mail
// nor a paragraph to its text. It also removes bidirectional formatting characters, which could disguise the text.
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
