// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package crd

import "strings"

// This file contains the values that a Generator uses for fields without rules about their text.

var labels = []string{"acme", "acme-shop", "a", "0", "shop-key", strings.Repeat("a", 63)}

var names = []string{"team", "example.com/team", "api-key", "previous-api-key", "credentials.json", "X-FF-API-Key", "api_key", "tier", "costCentre", "a"}

var values = []string{
	"{{ .Key }}", "{{.Key}}:{{.PreviousKey}}", "{{ .KeyID }}", "{{ range .Scopes }}{{ . }} {{ end }}", "{{ if .Expiration }}{{ .Expiration }}{{ end }}",
	"{{ .Digest }}", `{"keyHash": {{ quote .Digest }}, "label": {{ quote .Label }}}`, "{{ .Account }}.{{ .KeyID }}", "{{ .Key }}{{ .Digest }}",
	"In", "NotIn", "Exists", "DoesNotExist", "Clave para integración con tienda 🛒", "gold", "shop-1", "x", "Opaque", "example.com/shop", "متجر", "店",
}

var durations = []string{
	"24h", "720h", "90m", "3600s", "1m", "60s", "59s", "0s", "0h", "1h1h1h", "1s1h", "999999h", "999999h999999h999999h", "8760h", "000001h", "1h30m", "99999h59m59s",
}

var zones = []string{
	"UTC", "Europe/Madrid", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "Pacific/Kiritimati", "Etc/GMT+12", "Australia/Lord_Howe", "GMT", "Zulu", "EST5EDT",
	"America/Argentina/Buenos_Aires", "Africa/Cairo", "Asia/Amman", "America/Nuuk",
}

var networks = []string{
	"192.0.2.7", "10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::7", "2001:db8::/32", "192.0.2.7/32", "::1", "::", "fe80::1", "2001:DB8::A", "::ffff:0:0/96", "64:ff9b::/96",
	"1:2:3:4:5:6:7:8", "::1.2.3.4", "128.0.0.0/1", "8000::/1", "::/128",
}

// odd lists strings that at least one rule rejects.
var odd = []string{
	"", " ", "a b", "\x00", "\u202e", "\u00a0", "é", "漢字", "null", "true", "5", "-", ".", "/", "%", "{{", "{{ .Nothing }}", "a\nb", "..", "../../etc/passwd", "Local", "local", "utc", "UTC ",
	"Europe/madrid", "europe/Madrid", "Mars/Base", "posixrules", "+01:00", "EST", "Factory", "99999999h", "1h1m1s", "1d", "1.5h",
	"-1h", "+1h", "1ms", "h", "1", "9223372036s", "999999h999999m999999s", "192.0.2.007", "192.0.2.7/33", "192.0.2.7/8", "10.0.0.0/08", "10.0.0.1/8", "::ffff:192.0.2.7", "::ffff:192.0.2.0/120",
	"fe80::1%eth0", "fe80::/10%eth0", "1.2.3", "0x7f.0.0.1", "127.1", "[::1]", "::1/129", "1.2.3.4/", "a@b", "ops@example.com", "<a@b>", "a@b,c@d", "a@b\r\nBcc: c@d", "*", "**", "a*b", "*a",
	"conversions:write", "reports:*", ",", "kubernetes.io/service-account-token", "helm.sh/release.v1", "apikey-manager.io/x", "kubernetes.io/x", strings.Repeat("a", 64),
	strings.Repeat("é", 130), strings.Repeat("x", 5000), "<script>", "'; DROP TABLE", "$(id)", "\\u0000", "\"", "In", "Exists",
}

// oddTimes lists times that at least one rule rejects.
var oddTimes = []string{
	"2026-12-01t09:00:00z", "2026-12-01T09:00:00.5Z", "2026-12-01T09:00:00,5Z", "2026-12-01T9:00:00Z",
	"2026-12-01 09:00:00Z", "2026-02-30", "2027-02-29", "2028-02-29", "9999-12-31", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "9998-12-31T23:59:59-01:00",
	"9998-12-31T23:59:59+23:59", "9999-01-01T00:00:00+01:00", "1000-01-01T00:00:00+00:01", "1000-01-01T00:00:00-23:59", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0999-12-31",
	"2026-12-01T24:00:00Z", "2026-12-31T23:59:60Z", "2016-12-31T23:59:60Z", "2026-12-01T09:00:00+24:00", "2026-12-01T09:00:00-00:00", "2026-12-01T09:00:00+0100",
}
