// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// workers is how many requests with each key are sent at a time.
	workers = 2
	// pause is the time between two requests of a worker.
	pause = 10 * time.Millisecond
	// timeout is how long a request may take.
	timeout = 5 * time.Second
	// withoutKey is the name under which requests without a key are counted.
	withoutKey = "none"
)

// client sends requests with each key until the process ends, and counts the answers. It reads the file of a key again for each
// request, as applications should.
type client struct {
	url, keys string
	http      *http.Client

	mu     sync.Mutex
	period *period
	// last are the keys that the files contained last.
	last map[string]string
}

// period counts the answers to the requests that began in it.
type period struct {
	requests sync.WaitGroup

	mu      sync.Mutex
	answers map[string]map[string]int
	slowest time.Duration
}

// report is what a client answers: how often each answer was given to each key, how long the slowest one took, and the digest of
// the key in each file.
type report struct {
	Answers map[string]map[string]int `json:"answers"`
	Slowest time.Duration             `json:"slowest"`
	Digests map[string]string         `json:"digests"`
}

func newPeriod() *period { return &period{answers: map[string]map[string]int{}} }

// newClient starts a client that uses the keys in the files DIRECTORY/NAME/api-key.
func newClient(url, keys string) (*client, error) {
	c := &client{url: url, keys: keys, http: &http.Client{Timeout: timeout}, period: newPeriod(), last: map[string]string{}}
	entries, err := os.ReadDir(keys)
	if err != nil {
		return nil, err
	}
	names := []string{withoutKey}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	for _, name := range names {
		for range workers {
			go c.work(name)
		}
	}
	return c, nil
}

func (c *client) work(name string) {
	for {
		p, begin := c.begin(), time.Now()
		answer := c.ask(name)
		p.count(name, answer, time.Since(begin))
		p.requests.Done()
		time.Sleep(pause)
	}
}

// begin registers a request with the current period.
func (c *client) begin() *period {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.period.requests.Add(1)
	return c.period
}

func (p *period) count(name, answer string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers[name] == nil {
		p.answers[name] = map[string]int{}
	}
	p.answers[name][answer]++
	p.slowest = max(p.slowest, took)
}

// ask sends one request, and returns the status, followed by the code of the verifier if there is one.
func (c *client) ask(name string) string {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return err.Error()
	}
	if name != withoutKey {
		request.Header.Set("X-API-Key", c.key(name))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return "no answer"
	}
	defer func() { _ = response.Body.Close() }()
	return answer(response)
}

func answer(response *http.Response) string {
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "half an answer"
	}
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &problem) // an answer of the application or of the gateway has no code
	return strings.TrimSpace(strconv.Itoa(response.StatusCode) + " " + problem.Code)
}

// key returns the key in a file, or the last one if the file no longer has any: a stolen key is used after it was revoked as well.
func (c *client) key(name string) string {
	key, err := c.read(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && key != "" {
		c.last[name] = key
	}
	return c.last[name]
}

func (c *client) read(name string) (string, error) {
	key, err := os.ReadFile(filepath.Join(c.keys, name, "api-key"))
	return string(key), err
}

// ServeHTTP answers with a report. POST begins a new period, and reports the previous one when its last request has been answered.
func (c *client) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	p := c.period
	if r.Method == http.MethodPost {
		c.period = newPeriod()
	}
	c.mu.Unlock()
	if r.Method == http.MethodPost {
		p.requests.Wait()
	}
	_ = json.NewEncoder(out).Encode(p.report(c.digests()))
}

func (p *period) report(digests map[string]string) report {
	p.mu.Lock()
	defer p.mu.Unlock()
	answers := map[string]map[string]int{}
	for name, counts := range p.answers {
		answers[name] = maps.Clone(counts)
	}
	return report{Answers: answers, Slowest: p.slowest, Digests: digests}
}

// digests returns the digest of each key, which the status of the key contains as well.
func (c *client) digests() map[string]string {
	digests := map[string]string{}
	entries, _ := os.ReadDir(c.keys) // newClient has read it before
	for _, entry := range entries {
		if key, err := c.read(entry.Name()); err == nil && key != "" {
			sum := sha256.Sum256([]byte(key))
			digests[entry.Name()] = hex.EncodeToString(sum[:])
		}
	}
	return digests
}
