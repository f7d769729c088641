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

// Message is a mail's words.
type Message struct {
	// Locale is the language it is really written in.
	Locale string
	// Fallback is true if that is not the one asked for, which is unknown here.
	Fallback bool
	// Subject is one line.
	Subject string
	// Text and HTML say the same, in the two forms that readers of mail expect.
	Text, HTML string
}

// fact is a line of the list that tells one key from another.
type fact struct{ Title, Value string }

// page is what the templates show. All of it is in one language, and none of it is escaped yet.
type page struct {
	Locale, Subject              string
	Greeting, Intro, Colon       string
	Facts                        []fact
	Consequence, Extend, Command string
	Replace, Footer              string
}

// Compose puts a notice into words of a locale, two letters. A locale without texts falls back to English, and the
// message says so.
func Compose(notice Notice, locale string) (Message, error) {
	if err := notice.check(); err != nil {
		return Message{}, err
	}
	v, fallback := newLocalizer(locale)
	p := v.page(notice.tidy())
	if v.err != nil {
		return Message{}, fmt.Errorf("say it in %q: %w", v.locale, v.err)
	}
	var text, html strings.Builder
	if err := textPart.Execute(&text, p); err != nil {
		return Message{}, fmt.Errorf("write the text: %w", err)
	}
	if err := htmlPart.Execute(&html, p); err != nil {
		return Message{}, fmt.Errorf("write the HTML: %w", err)
	}
	return Message{Locale: v.locale, Fallback: fallback, Subject: p.Subject, Text: text.String(), HTML: html.String()}, nil
}
