// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// checkStatus is the result of one check.
type checkStatus string

const (
	checkOK     checkStatus = "ok"
	checkFailed checkStatus = "failed"
	// checkUnknown means that the check could not be carried out, for example because the user lacks a right.
	checkUnknown checkStatus = "unknown"
)

// checkResult describes one check of the installation.
type checkResult struct {
	Name   string      `json:"name"`
	Status checkStatus `json:"status"`
	// Detail says what was found, Action what to do.
	Detail string `json:"detail"`
	Action string `json:"action,omitempty"`
}

func ok(format string, args ...any) checkResult {
	return checkResult{Status: checkOK, Detail: fmt.Sprintf(format, args...)}
}

func failed(action, format string, args ...any) checkResult {
	return checkResult{Status: checkFailed, Detail: fmt.Sprintf(format, args...), Action: action}
}

func unknown(action, format string, args ...any) checkResult {
	return checkResult{Status: checkUnknown, Detail: fmt.Sprintf(format, args...), Action: action}
}

// checker checks an installation. No check changes the cluster.
type checker struct {
	*environment

	// version is the version of the plugin.
	version string
	// verifier says how to reach a verifier, and in which namespace it and the manager are.
	verifier verifierFlags

	reader client.Client
	rest   *rest.Config
	// keyNamespace is a namespace in which the user may create keys.
	keyNamespace string

	// skew is how far the clock of the API server is ahead of this machine's.
	skew time.Duration
}

// connect prepares the clients of the checks.
func (c *checker) connect() (err error) {
	if c.rest, err = c.config(); err != nil {
		return err
	}
	if c.reader, err = c.client(); err != nil {
		return err
	}
	c.keyNamespace, err = c.namespace()
	return err
}

// checkTimeout limits one check.
const checkTimeout = 20 * time.Second

// run carries out all checks. If the API server cannot be reached, it returns only that.
func (c *checker) run(ctx context.Context) []checkResult {
	server := c.named("API server", c.checkServer(ctx))
	if server.Status == checkFailed {
		return []checkResult{server}
	}
	results := []checkResult{server}
	for _, check := range []struct {
		name string
		run  func(context.Context) checkResult
	}{
		{"clock", c.checkClock},
		{"resources", c.checkResources},
		{"CRDs", c.checkDefinitions},
		{"admission policies", c.checkPolicies},
		{"webhook configuration", c.checkWebhooks},
		{"webhook", c.checkWebhookAnswers},
		{"manager", func(ctx context.Context) checkResult { return c.checkDeployment(ctx, managerDeployment) }},
		{"leader", c.checkLeader},
		{"key exports", c.checkKeyExports},
		{"verifier", func(ctx context.Context) checkResult { return c.checkDeployment(ctx, verifierDeployment) }},
		{"verifier answers", c.checkVerifier},
	} {
		results = append(results, c.limited(ctx, check.name, check.run))
	}
	return results
}

func (c *checker) named(name string, r checkResult) checkResult { r.Name = name; return r }

// limited carries out one check within checkTimeout.
func (c *checker) limited(ctx context.Context, name string, run func(context.Context) checkResult) checkResult {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.named(name, run(ctx))
}

// maxClockSkew is how far the clocks may differ. The header of the API server has whole seconds.
const maxClockSkew = 5 * time.Second

// checkServer checks that the API server answers, and compares its clock.
func (c *checker) checkServer(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	httpClient, err := rest.HTTPClientFor(c.rest)
	if err != nil {
		return failed("check your kubeconfig", "%v", err)
	}
	address, _, err := rest.DefaultServerUrlFor(c.rest)
	if err != nil {
		return failed("check your kubeconfig", "%v", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.JoinPath("version").String(), nil)
	if err != nil {
		return failed("check your kubeconfig", "%v", err)
	}
	before := c.clock.Now()
	response, err := httpClient.Do(request)
	if err != nil {
		return failed("check your kubeconfig and your network", "%v", err)
	}
	_ = response.Body.Close()
	middle := before.Add(c.clock.Now().Sub(before) / 2)
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		c.skew = date.Add(500 * time.Millisecond).Sub(middle)
	}
	if response.StatusCode == http.StatusUnauthorized {
		return failed("log in: the API server does not accept your credentials", "answered %s", response.Status)
	}
	return ok("answers")
}

func (c *checker) checkClock(context.Context) checkResult {
	skew := c.skew.Abs().Round(time.Second)
	if skew > maxClockSkew {
		return failed("synchronise the clocks of this machine and of the control plane (NTP): keys expire by the clocks of the verifiers",
			"this machine and the API server differ by %s", skew)
	}
	return ok("this machine and the API server differ by less than %s", maxClockSkew)
}

// unlessReadable returns the result of a check whose object could not be read: unknown if the user may not, otherwise failed.
func unlessReadable(err error, right, missing string) checkResult {
	switch {
	case apierrors.IsForbidden(err):
		return unknown("ask an administrator to run this check", "no right to %s", right)
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return failed(missing, "not found: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return failed("check the load of the API server", "no answer within %s", checkTimeout)
	}
	return failed("", "%v", err)
}

// hasFailed reports whether a check failed.
func hasFailed(results []checkResult) bool {
	for _, r := range results {
		if r.Status == checkFailed {
			return true
		}
	}
	return false
}

// plural returns words for a count.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// imageTag returns the tag of an image, or "" if it has none, or the digest after @.
func imageTag(image string) string {
	image, digest, _ := strings.Cut(image, "@")
	name := image[strings.LastIndex(image, "/")+1:]
	if _, tag, found := strings.Cut(name, ":"); found {
		return tag
	}
	return digest
}
