// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apikey-manager/apikey-manager/test/ratelimit"
)

const throughEnvoy = `curl -sS -w '%{http_code}\n' ` +
	`-H "X-API-Key: $(kubectl get secret limited-key -o jsonpath={.data.api-key} | base64 -d)" $LIMITED/`

// limits is the step that needs Envoy, its rate limit service and Redis.
var limits = step{
	title: "Limit the requests of an account by its plan, with Envoy, and change the plan",
	commands: []command{
		{line: "kubectl apply -f hack/demo/limited-key.yaml", check: contains("initech created", "limited-key created")},
		{line: "kubectl wait --for=condition=Ready apikey limited-key --timeout=20s", check: contains("condition met")},
		{line: `for i in 1 2 3 4 5; do ` + strings.Replace(throughEnvoy, "-sS", "-sS -o /dev/null", 1) + `; done`, check: contains("200", "429")},
		{
			line:  strings.Replace(throughEnvoy, "-sS", "-sS -i", 1),
			check: contains("429", "x-ratelimit-limit: 3", "x-ratelimit-remaining: 0"),
			note:  "The account may send three requests a day. Envoy received this number from the verifier, and counts in Redis.",
		},
		{
			line: `kubectl patch account initech --type=merge ` +
				`-p '{"spec":{"plan":"pro","rateLimits":[{"name":"requests","requests":10000,"unit":"Day"}]}}'`,
			check: contains("patched"),
		},
		{line: throughEnvoy, retry: true, check: contains("Welcome, initech", "200")},
	},
}

// openLimitedGateway starts Envoy with a rate limit service. It prints what is missing if it cannot.
func (env *environment) openLimitedGateway(ctx context.Context, out io.Writer) error {
	if missing := ratelimit.Missing(env.plane.Root()); missing != nil {
		_, err := fmt.Fprintf(out, "Without the step about rate limits: bin/gateways has no %s (make gateways)\n", strings.Join(missing, ", "))
		return err
	}
	return timed(out, "Starting Envoy, its rate limit service and Redis", func() (err error) {
		dir := filepath.Join(env.plane.Dir(), "ratelimit")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		env.gateway.limited, err = ratelimit.Start(ctx, ratelimit.Options{
			Root: env.plane.Root(), Dir: dir, Verifier: env.gateway.verifierGRPC, Application: env.gateway.applicationAddress,
		})
		return err
	})
}

// steps returns the steps of the scenario for which everything has been started.
func (env *environment) steps() []step {
	if env.gateway.limited == nil {
		return scenario
	}
	return append(slices.Clone(scenario), limits)
}
