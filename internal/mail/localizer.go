// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

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

// defaultLocale is used if no locale was requested, or if the requested locale is not available.
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

// Locales returns the locales that Compose supports, sorted.
func Locales() []string { return slices.Clone(languages) }

// localizer localizes messages into one language. It retains its first error, so that callers need to check for an
// error only once.
type localizer struct {
	locale    string
	localizer *i18n.Localizer
	err       error
}

// newLocalizer returns a localizer for the locale. fallback reports whether the locale is not available and the
// localizer uses defaultLocale instead.
func newLocalizer(locale string) (v *localizer, fallback bool) {
	if locale == "" {
		locale = defaultLocale
	}
	if !slices.Contains(languages, locale) {
		locale, fallback = defaultLocale, true
	}
	return &localizer{locale: locale, localizer: i18n.NewLocalizer(catalogue, locale)}, fallback
}

// templateData holds the values that the catalogues may use in their messages. It contains no free text of a user: with
// a label in the subject, its author could send arbitrary text to the recipients in the name of the operator of the
// manager.
type templateData struct {
	Account, KeyID            string
	Days, Day, Year           int
	Month, Date, OnDate, Time string
	Zone                      string
}

func (v *localizer) text(id string, w templateData) string {
	return v.localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: w})
}

// plural is like text, but for messages with plural forms that depend on the number of days.
func (v *localizer) plural(id string, w templateData) string {
	return v.localize(&i18n.LocalizeConfig{MessageID: id, TemplateData: w, PluralCount: w.Days})
}

func (v *localizer) localize(config *i18n.LocalizeConfig) string {
	text, err := v.localizer.Localize(config)
	if err != nil && v.err == nil {
		v.err = err
	}
	return text
}

func (v *localizer) page(n Notice) page {
	w := v.templateData(n)
	return page{
		Locale:      v.locale,
		Subject:     v.text("subject", w),
		Greeting:    v.text("greeting", w),
		Intro:       v.intro(w),
		Colon:       v.text("colon", w),
		Facts:       v.facts(n, w),
		Consequence: v.text("consequence", w),
		Extend:      v.text("extend", w),
		Command:     n.command(),
		WithPlugin:  v.text("extend_plugin", w),
		PluginLine:  n.pluginCommand(),
		Replace:     v.text("replace", w),
		Footer:      v.text("footer", w),
	}
}

func (v *localizer) intro(w templateData) string {
	if w.Days == 0 {
		return v.text("intro_soon", w)
	}
	return v.plural("intro_days", w)
}

func (v *localizer) facts(n Notice, w templateData) []fact {
	facts := []fact{{v.text("title_account", w), n.owner()}}
	if n.Label != "" {
		facts = append(facts, fact{v.text("title_label", w), n.Label})
	}
	return append(facts,
		fact{v.text("title_key_id", w), n.KeyID},
		fact{v.text("title_namespace", w), n.Namespace},
		fact{v.text("title_name", w), n.Name},
		fact{v.text("title_expires", w), v.expiration(n, w)},
	)
}

func (v *localizer) expiration(n Notice, w templateData) string {
	if n.DateOnly {
		return v.text("expires_day", w)
	}
	return v.text("expires_instant", w)
}

// templateData returns the values of the notice, with its date in the format of the language.
func (v *localizer) templateData(n Notice) templateData {
	t := n.Expiration.In(n.Zone)
	w := templateData{
		Account: n.Account, KeyID: n.KeyID, Days: n.DaysLeft,
		Day: t.Day(), Year: t.Year(), Time: timeOfDay(t), Zone: zoneName(t),
	}
	w.Month = v.text(fmt.Sprintf("month_%d", t.Month()), w)
	w.Date = v.text("date", w)
	w.OnDate = v.text("on_date", w)
	return w
}

// timeOfDay returns the time of day, with seconds only if they are not zero.
func timeOfDay(t time.Time) string {
	if t.Second() == 0 {
		return t.Format("15:04")
	}
	return t.Format(time.TimeOnly)
}

// zoneName returns the name of the time zone and its offset from UTC at that time, because few readers know the offset.
func zoneName(t time.Time) string {
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
