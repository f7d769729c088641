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

	exported = `kubectl get secret gateway-keys -o go-template='{{range $name, $digest := .data}}{{$name}} {{$digest | base64decode}}{{"\n"}}{{end}}'`
	withheld = `kubectl get keyexport gateway-keys -o jsonpath='{range .status.withheld[*]}{.name} {.reason}{"\n"}{end}'`

	keyPattern = `ak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`
)

// scenario lists the steps of the demo in the order in which a new user would try them.
var scenario = []step{
	{
		title: "Create accounts and keys",
		commands: []command{
			{
				line:  "kubectl apply -f config/samples",
				check: contains("account.apikey-manager.io/acme created", "apikey.apikey-manager.io/shop-key created"),
			},
			{line: "kubectl wait --for=condition=Ready apikeys --all --timeout=20s", check: contains("shop-key condition met")},
			{line: "kubectl get apikeys,accounts -A", retry: true, check: contains("shop-key", "campaign-key", "warehouse-key", "4/5", "Forbid")},
		},
	},
	{
		title: "Read the key from its Secret, in the namespace of the application that uses it",
		commands: []command{
			{
				line: printKey, check: all(matches(keyPattern), save(theKey)),
				note: "The demo prints this key because it is deleted at the end. Status, events and logs contain its digest and ID, never the key.",
			},
		},
	},
	{
		title: "Reach the limit of an account: the sixth key is denied",
		commands: []command{
			{line: "kubectl apply -f hack/demo/five-keys.yaml", check: contains("globex-five created")},
			{line: "kubectl get account globex", retry: true, check: contains("5/5")},
			{line: "kubectl apply -f hack/demo/sixth-key.yaml", fails: true, check: contains("denied the request", "globex", "5")},
		},
	},
	{
		title: "Disable a key",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Inactive"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Inactive", "Valid=False Inactive")},
		},
	},
	{
		title: "Enable the key again: the Secret still holds the same key",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Active"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Active", "Valid=True Active")},
			{line: printKey, check: sameAs(theKey), note: "The key has not changed."},
		},
	},
	{
		title: "Let the key expire ten seconds from now",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"expiration":"{soon}"}}'`, check: contains("patched")},
			{line: "kubectl get apikey shop-key --watch", until: "Expired", check: onTime(3 * time.Second)},
			{line: conditions, check: contains("Ready=True Expired", "Valid=False Expired")},
		},
	},
	{
		title: "Extend the expiration by a month: the same key is valid again",
		commands: []command{
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"expiration":"{later}"}}'`, check: contains("patched")},
			{line: conditions, retry: true, check: contains("Ready=True Active", "Valid=True Active")},
			{line: printKey, check: sameAs(theKey), note: "The key has not changed."},
		},
	},
	{
		title: "Rotate the key: the Secret is updated once, and the previous key stays valid for an hour",
		commands: []command{
			{line: "timeout 60 kubectl get secret shop-key --watch -o name > $CHANGES 2>&1 &"},
			{line: countChanges, retry: true, check: matches(` *1`), note: "A watch is running. It prints one line for each change of the Secret."},
			{
				line:  `kubectl patch apikey shop-key --type=merge -p '{"spec":{"rotation":{"requestedAt":"{now}","overlap":"1h"}}}'`,
				check: contains("patched"),
			},
			{line: credentials, retry: true, check: contains("Current ak_", "Previous ak_")},
			{line: printKey, check: all(matches(keyPattern), differsFrom(theKey), save(theKey))},
			{
				line:  countChanges,
				check: matches(` *2`),
				note:  "The Secret changed once, so a controller that restarts Pods on a changed Secret restarts them once.",
			},
		},
	},
	{
		title: "Send an e-mail before the key expires, in the recipient's language",
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
		title: "Try to delete a key and an account that must be kept: both are denied",
		commands: []command{
			{line: "kubectl apply -f hack/demo/kept-key.yaml", check: contains("created")},
			{line: "kubectl wait --for=condition=Ready apikey kept-key --timeout=20s", check: contains("condition met")},
			{line: "kubectl delete apikey kept-key", fails: true, check: contains("denied the request", "horizonte", "Inactive")},
			{line: "kubectl delete account acme", fails: true, check: contains("denied the request", "acme")},
		},
	},
	{
		title: "Delete the Secret: a new key is issued, and the previous one stays valid during the overlap",
		commands: []command{
			{line: "kubectl delete secret shop-key", check: contains("deleted")},
			{line: "kubectl wait --for=create secret/shop-key --timeout=20s", check: contains("condition met")},
			{line: printKey, check: all(matches(keyPattern), differsFrom(theKey)), note: "This is another key."},
			{line: credentials, retry: true, check: contains("Current ak_", "Previous ak_")},
		},
	},
	{
		title: "List the events of the key",
		commands: []command{
			{
				line:  "kubectl get events --field-selector involvedObject.name=shop-key",
				retry: true, check: contains("Issued", "Deactivated", "Activated", "Expired", "Rotated", "NotificationSent", "Reissued"),
			},
		},
	},
	{
		title: "Export keys to a gateway that checks keys itself: a disabled key is withdrawn",
		commands: []command{
			{line: "kubectl apply -f hack/demo/key-export.yaml", check: contains("keyexport.apikey-manager.io/gateway-keys created")},
			{
				line: exported, retry: true, check: all(contains("campaign-key.", "shop-key.", "sha256:"), lacks("warehouse-key")),
				note: "The manager wrote this Secret. It has the digests of the keys, which are not secret. shop-key has two during its overlap.",
			},
			{
				line: withheld, retry: true, check: contains("warehouse-key AddressRestricted"),
				note: "Such a gateway cannot check addresses, scopes and limits. One that asks the verifier can, as in the next step.",
			},
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Inactive"}}'`, check: contains("patched")},
			{line: exported, retry: true, check: all(contains("campaign-key."), lacks("shop-key"))},
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Active"}}'`, check: contains("patched")},
			{line: exported, retry: true, check: contains("campaign-key.", "shop-key.")},
		},
	},
	{
		title: "Send requests through a gateway (Caddy) that asks the verifier: without a key, with a valid key, with a disabled key",
		commands: []command{
			{line: `curl -sS -w '\n%{http_code}\n' $SHOP/`, check: contains(`"code":"MISSING"`, "401")},
			{line: throughGateway, retry: true, check: contains("Welcome, acme", "200")},
			{line: `kubectl patch apikey shop-key --type=merge -p '{"spec":{"state":"Inactive"}}'`, check: contains("patched")},
			{line: strings.Replace(throughGateway, `-w '`, `-w '\n`, 1), retry: true, check: contains(`"code":"INACTIVE"`, "401")},
		},
	},
	{
		title: "Send a CORS preflight request: it needs no key on a route that allows preflights (/orders)",
		commands: []command{
			{line: strings.Replace(preflight, "PATH", "/orders", 1), check: contains("204")},
			{line: strings.Replace(preflight, "PATH", "/stock", 1), check: contains("401")},
			{
				line:  `curl -sS -i -H 'Origin: https://shop.example' $SHOP/orders`,
				check: contains("401", "Access-Control-Allow-Origin: *", `"code":"MISSING"`),
			},
		},
	},
}
