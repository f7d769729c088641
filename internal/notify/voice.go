// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"embed"
	"fmt"
	"slices"
	"time"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

//go:embed locales
var locales embed.FS

// defaultLocale is what is spoken where nothing else was asked for, or nothing else is known.
const defaultLocale = "en"

var languages, catalogue = mustLoad()

func mustLoad() ([]string, *i18n.Bundle) {
	files, err := locales.ReadDir("locales")
	if err != nil {
		panic(err)
	}
	bundle := i18n.NewBundle(language.Make(defaultLocale))
	names := make([]string, 0, len(files))
	for _, file := range files {
		data, err := locales.ReadFile("locales/" + file.Name())
		if err != nil {
			panic(err)
		}
		parsed, err := bundle.ParseMessageFileBytes(data, file.Name())
		if err != nil {
			panic(err)
		}
		names = append(names, parsed.Tag.String())
	}
	return names, bundle
}

// Locales are the languages that Compose knows, sorted.
func Locales() []string { return slices.Clone(languages) }

// voice speaks one language. It keeps its first error, so that a page can be said in one breath.
type voice struct {
	locale    string
	localizer *i18n.Localizer
	err       error
}

// voiceOf says too whether it had to fall back to another language than the one asked for.
func voiceOf(locale string) (v *voice, fallback bool) {
	if locale == "" {
		locale = defaultLocale
	}
	if !slices.Contains(languages, locale) {
		locale, fallback = defaultLocale, true
	}
	return &voice{locale: locale, localizer: i18n.NewLocalizer(catalogue, locale)}, fallback
}

// words are what the catalogues may put into their messages. None is free text of a user: a label in a subject would let
// its author say anything to recipients, in the name of whoever runs the manager.
type words struct {
	Account, KeyID            string
	Days, Day, Year           int
	Month, Date, OnDate, Time string
	Zone                      string
}

func (v *voice) say(id string, w words) string {
	return v.localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: w})
}

// count is say for a message that depends on a number of days.
func (v *voice) count(id string, w words) string {
	return v.localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: w, PluralCount: w.Days})
}

func (v *voice) localize(config *i18n.LocalizeConfig) string {
	text, err := v.localizer.Localize(config)
	if err != nil && v.err == nil {
		v.err = err
	}
	return text
}

func (v *voice) page(n Notice) page {
	w := v.words(n)
	return page{
		Locale:      v.locale,
		Subject:     v.say("subject", w),
		Greeting:    v.say("greeting", w),
		Intro:       v.intro(w),
		Colon:       v.say("colon", w),
		Facts:       v.facts(n, w),
		Consequence: v.say("consequence", w),
		Extend:      v.say("extend", w),
		Command:     n.command(),
		Replace:     v.say("replace", w),
		Footer:      v.say("footer", w),
	}
}

func (v *voice) intro(w words) string {
	if w.Days == 0 {
		return v.say("intro_soon", w)
	}
	return v.count("intro_days", w)
}

func (v *voice) facts(n Notice, w words) []fact {
	facts := []fact{{v.say("title_account", w), n.owner()}}
	if n.Label != "" {
		facts = append(facts, fact{v.say("title_label", w), n.Label})
	}
	return append(facts,
		fact{v.say("title_key_id", w), n.KeyID},
		fact{v.say("title_namespace", w), n.Namespace},
		fact{v.say("title_name", w), n.Name},
		fact{v.say("title_expires", w), v.expiration(n, w)},
	)
}

func (v *voice) expiration(n Notice, w words) string {
	if n.DateOnly {
		return v.say("expires_day", w)
	}
	return v.say("expires_instant", w)
}

// words are the notice's, with its date as this language writes it.
func (v *voice) words(n Notice) words {
	t := n.Expiration.In(n.Zone)
	w := words{
		Account: n.Account, KeyID: n.KeyID, Days: n.DaysLeft,
		Day: t.Day(), Year: t.Year(), Time: clock(t), Zone: zone(t),
	}
	w.Month = v.say(fmt.Sprintf("month_%d", t.Month()), w)
	w.Date = v.say("date", w)
	w.OnDate = v.say("on_date", w)
	return w
}

// clock is the time of day, with its seconds only where there are any.
func clock(t time.Time) string {
	if t.Second() == 0 {
		return t.Format("15:04")
	}
	return t.Format(time.TimeOnly)
}

// zone is a zone's name and how far it is from UTC then, because few readers know that by heart.
func zone(t time.Time) string {
	name := t.Location().String()
	switch offset := t.Format("UTC-07:00"); name {
	case "UTC":
		return name
	case "":
		return offset
	default:
		return name + ", " + offset
	}
}
