// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"
)

const (
	printKey   = `kubectl get secret shop-key -o jsonpath={.data.api-key} | base64 -d`
	conditions = `kubectl get apikey shop-key -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}{"\n"}{end}'`
	theKey     = "the key"

	credentials = `kubectl get apikey shop-key -o jsonpath='{range .status.credentials[*]}{.role} {.hint} {.notAfter}{"\n"}{end}'`

	countChanges = `wc -l < $CHANGES`

	preflight      = `curl -sS -o /dev/null -w '%{http_code}\n' -X OPTIONS -H 'Origin: https://shop.example' -H 'Access-Control-Request-Method: GET' $SHOPPATH`
	throughGateway = `curl -sS -w '%{http_code}\n' -H "X-API-Key: $(` + printKey + `)" $SHOP/`

	keyPattern = `ak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`
)

// scenario is what a person would try first, in that order.
var scenario = []step{
	{
		title: "Accounts and their keys are declared",
		commands: []command{
			{line: "kubectl apply -f config/samples", check: contains("account.apikey-manager.io/acme created", "apikey.apikey-manager.io/shop-key created")},
			{line: "kubectl wait --for=condition=Ready apikeys --all --timeout=20s", check: contains("shop-key condition met")},
			{line: "kubectl get apikeys,accounts -A", retry: true, check: contains("shop-key", "campaign-key", "warehouse-key", "4/5", "Forbid")},
		},
	},
	{
		title: "The key is in a Secret, next to the app that uses it",
		commands: []command{
			{
				line: printKey, check: all(matches(keyPattern), save(theKey)),
				note: "(Printed only here: this key ends with the demo. Status, events and logs hold its digest and its id, never the key.)",
			},
		},
	},
	{
		title: "Five keys an account, and not one more",
		commands: []command{
			{line: "kubectl apply -f hack/demo/five-keys.yaml", check: contains("globex-five created")},
			{line: "kubectl get account globex", retry: true, check: contains("5/5")},
			{line: "kubectl apply -f hack/demo/sixth-key.yaml", fails: true, check: contains("denied the request", "globex", "5")},
		},
	},
	{
		title: "A key is switched off",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Inactive"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Inactive", "Valid=False Inactive")},
		},
	},
	{
		title: "It is switched on retry: the same key",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Active"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Active", "Valid=True Active")},
			{line: printKey, check: sameAs(theKey), note: "The same, byte for byte."},
		},
	},
	{
		title: "It expires ten seconds from now",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"expiration":"{soon}"}}'`, check: contains("patched")},
			{line: "kubectl get apikey shop-key --watch", until: "Expired", check: onTime(3 * time.Second)},
			{line: conditions, check: contains("Ready=True Expired", "Valid=False Expired")},
		},
	},
	{
		title: "The end is moved to next month: it lives again, the same key",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"expiration":"{later}"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Active", "Valid=True Active")},
			{line: printKey, check: sameAs(theKey), note: "Still the same."},
		},
	},
	{
		title: "It is rotated: one change of the Secret, and the key before is accepted for an hour more",
		commands: []command{
			{line: "timeout 60 kubectl get secret shop-key --watch -o name > $CHANGES 2>&1 &"},
			{line: countChanges, retry: true, check: matches(` *1`), note: "The watch has begun: from now on, each change of the Secret is one more line."},
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"rotation":{"requestedAt":"{now}","overlap":"1h"}}}'`, check: contains("patched")},
			{line: credentials, retry: true, check: contains("Current ak_", "Previous ak_")},
			{line: printKey, check: all(matches(keyPattern), differsFrom(theKey), save(theKey))},
			{line: countChanges, check: matches(` *2`), note: "What restarts Pods on a changed Secret restarts them once."},
		},
	},
	{
		title: "People are told by mail before it expires, in their language",
		commands: []command{
			{
				line:  `kubectl patch apikey shop-key --type=merge -p '{"spec":{"notification":{"emails":["tienda@example.com"],"daysBefore":[60],"locale":"es"}}}'`,
				check: contains("patched"),
			},
			{line: `cat $MAIL/1.txt`, retry: true, check: contains("tienda@example.com", "acme", "shop-key", "kubectl patch apikey")},
			{
				line:  `kubectl get apikey shop-key -o jsonpath='{range .status.notifications[*]}{.date} {.state}{"\n"}{end}'`,
				retry: true, check: contains("Sent"),
			},
		},
	},
	{
		title: "Where keys must be kept, deletion is refused",
		commands: []command{
			{line: "kubectl apply -f hack/demo/kept-key.yaml", check: contains("created")},
			{line: "kubectl wait --for=condition=Ready apikey kept-key --timeout=20s", check: contains("condition met")},
			{line: "kubectl delete apikey kept-key", fails: true, check: contains("denied the request", "horizonte", "Inactive")},
			{line: "kubectl delete account acme", fails: true, check: contains("denied the request", "acme")},
		},
	},
	{
		title: "A Secret is deleted: a new key is issued, and the old one lives on for the overlap",
		commands: []command{
			{line: "kubectl delete secret shop-key", check: contains("deleted")},
			{line: "kubectl wait --for=create secret/shop-key --timeout=20s", check: contains("condition met")},
			{line: printKey, check: all(matches(keyPattern), differsFrom(theKey)), note: "Another key."},
			{line: credentials, retry: true, check: contains("Current ak_", "Previous ak_")},
		},
	},
	{
		title: "What happened to the key, as events",
		commands: []command{
			{
				line:  "kubectl get events --field-selector involvedObject.name=shop-key",
				retry: true, check: contains("Issued", "Deactivated", "Activated", "Expired", "Rotated", "NotificationSent", "Reissued"),
			},
		},
	},
	{
		title: "A real gateway, Caddy, asks the verifier about each request: no key, a good one, one that is switched off",
		commands: []command{
			{line: `curl -sS -w '\n%{http_code}\n' $SHOP/`, check: contains(`"code":"MISSING"`, "401")},
			{line: throughGateway, retry: true, check: contains("Welcome, acme", "200")},
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Inactive"}}'`, check: contains("patched")},
			{line: strings.Replace(throughGateway, `-w '`, `-w '\n`, 1), retry: true, check: contains(`"code":"INACTIVE"`, "401")},
		},
	},
	{
		title: "A browser asks first whether a page may send a key (CORS): it needs none for that, where the route says so",
		commands: []command{
			{line: strings.Replace(preflight, "PATH", "/orders", 1), check: contains("204")},
			{line: strings.Replace(preflight, "PATH", "/stock", 1), check: contains("401")},
			{line: `curl -sS -i -H 'Origin: https://shop.example' $SHOP/orders`, check: contains("401", "Access-Control-Allow-Origin: *", `"code":"MISSING"`)},
		},
	},
}
