// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"embed"
	"fmt"
	"html/template"
	"strings"
	texttemplate "text/template"
)

//go:embed templates
var templates embed.FS

var (
	textPart = texttemplate.Must(texttemplate.ParseFS(templates, "templates/expiry.txt.tmpl"))
	htmlPart = template.Must(template.ParseFS(templates, "templates/expiry.html.tmpl"))
)

// Message holds the content of a mail.
type Message struct {
	// Locale is the language of the message.
	Locale string
	// Fallback is true if the requested locale is not available, so that Locale differs from it.
	Fallback bool
	// Subject is a single line.
	Subject string
	// Text and HTML hold the same content as plain text and as HTML.
	Text, HTML string
}

// fact is an entry in the list that identifies the key.
type fact struct{ Title, Value string }

// page holds the values that the templates use. They are localized but not escaped.
type page struct {
	Locale, Subject              string
	Greeting, Intro, Colon       string
	Facts                        []fact
	Consequence, Extend, Command string
	WithPlugin, PluginLine       string
	Replace, Footer              string
}

// Compose returns the message for a notice in a locale of two letters. If the locale is not available, the message is
// in English and its Fallback is true.
func Compose(notice Notice, locale string) (Message, error) {
	if err := notice.check(); err != nil {
		return Message{}, err
	}
	v, fallback := newLocalizer(locale)
	p := v.page(notice.tidy())
	if v.err != nil {
		return Message{}, fmt.Errorf("localize to %q: %w", v.locale, v.err)
	}
	var text, html strings.Builder
	if err := textPart.Execute(&text, p); err != nil {
		return Message{}, fmt.Errorf("render the text: %w", err)
	}
	if err := htmlPart.Execute(&html, p); err != nil {
		return Message{}, fmt.Errorf("render the HTML: %w", err)
	}
	return Message{Locale: v.locale, Fallback: fallback, Subject: p.Subject, Text: text.String(), HTML: html.String()}, nil
}
