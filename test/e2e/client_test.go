// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
)

// The answers of the gateway.
const (
	ok       = "200"
	missing  = "401 MISSING"
	inactive = "401 INACTIVE"
	revoked  = "401 REVOKED"
	// noVerifier is the answer of Caddy if it gets none from a verifier.
	noVerifier = "502"
)

// clientKeys are the keys that the client has: see testdata/client.yaml.
var clientKeys = []string{"steady", "rotated", "switched", "revoked"}

// report is what the client in the cluster answers: see app/client.go.
type report struct {
	Answers map[string]map[string]int
	Slowest time.Duration
	Digests map[string]string
}

// nextPeriod begins a new period, and returns the answers to all requests that began in the previous one.
func nextPeriod(ctx context.Context) report {
	GinkgoHelper()
	return askClient(ctx, clientset.CoreV1().RESTClient().Post())
}

// currentPeriod returns the answers of the current period so far.
func currentPeriod(ctx context.Context) report {
	GinkgoHelper()
	return askClient(ctx, clientset.CoreV1().RESTClient().Get())
}

func askClient(ctx context.Context, request *rest.Request) report {
	GinkgoHelper()
	var r report
	raw, err := request.Namespace("e2e-shop").Resource("services").Name("client:http").SubResource("proxy").Do(ctx).Raw()
	Expect(err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(raw, &r)).To(Succeed())
	return r
}

// unexpected returns an error if there was another answer than those expected, or none at all.
func (r report) unexpected(key string, expected ...string) error {
	counts := r.Answers[key]
	if len(counts) == 0 {
		return fmt.Errorf("no request with key %s has been answered", key)
	}
	for answer := range counts {
		if !slices.Contains(expected, answer) {
			return fmt.Errorf("requests with key %s got %v, want only %s", key, counts, strings.Join(expected, " or "))
		}
	}
	return nil
}

// expectOnly fails if there was another answer than those expected, or none at all.
func (r report) expectOnly(key string, expected ...string) {
	GinkgoHelper()
	Expect(r.unexpected(key, expected...)).To(Succeed())
}

// expectRight fails unless all keys that were not disabled were accepted, and requests without a key rejected, throughout.
func (r report) expectRight(enabled ...string) {
	GinkgoHelper()
	r.expectOnly("none", missing)
	for _, key := range enabled {
		r.expectOnly(key, ok)
	}
}

// expectDigests fails unless the client has the credentials that the status of the keys names.
func (r report) expectDigests(ctx context.Context, keys ...string) {
	GinkgoHelper()
	for _, key := range keys {
		Expect(r.Digests[key]).To(Equal(currentDigest(ctx, key)), "digest of key %s", key)
	}
}

// add adds the answers of another period.
func (r *report) add(other report) {
	r.Slowest = max(r.Slowest, other.Slowest)
	for key, counts := range other.Answers {
		for answer, n := range counts {
			r.addAnswers(key, answer, n)
		}
	}
}

func (r *report) addAnswers(key, answer string, n int) {
	if r.Answers == nil {
		r.Answers = map[string]map[string]int{}
	}
	if r.Answers[key] == nil {
		r.Answers[key] = map[string]int{}
	}
	r.Answers[key][answer] += n
}

// String returns the number of each answer for each key, and the time of the slowest one.
func (r report) String() string {
	var lines []string
	for key, counts := range r.Answers {
		lines = append(lines, fmt.Sprintf("%s %v", key, counts))
	}
	sort.Strings(lines)
	return fmt.Sprintf("%s, slowest %s", strings.Join(lines, ", "), r.Slowest.Round(time.Millisecond))
}

// awaitRequests waits until the client has sent requests with each key in the current period.
func awaitRequests(ctx context.Context) {
	GinkgoHelper()
	const enough = 20
	Eventually(func() int {
		fewest, answers := enough, currentPeriod(ctx).Answers
		for _, key := range append(clientKeys, "none") {
			sum := 0
			for _, n := range answers[key] {
				sum += n
			}
			fewest = min(fewest, sum)
		}
		return fewest
	}).WithContext(ctx).Should(BeNumerically(">=", enough))
}

// observe returns the answers to requests with each key from now on.
func observe(ctx context.Context) report {
	GinkgoHelper()
	nextPeriod(ctx)
	awaitRequests(ctx)
	return nextPeriod(ctx)
}

// eventuallyOnly waits until requests with a key get only the expected answer in a whole period.
func eventuallyOnly(ctx context.Context, key, expected string) {
	GinkgoHelper()
	Eventually(func() error { return observe(ctx).unexpected(key, expected) }).WithContext(ctx).Should(Succeed())
}
