// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "net/http"

// request is a kind of request to the API server.
type request struct {
	verb     string // POST, PUT, PATCH, DELETE, GET
	resource string // with its subresource: apikeys/status
}

// counts is the number of requests of each kind.
type counts map[request]int

// since returns the requests after an earlier count.
func (c counts) since(before counts) counts {
	diff := counts{}
	for r, n := range c {
		if n != before[r] {
			diff[r] = n - before[r]
		}
	}
	return diff
}

// writes returns the number of requests other than reads.
func (c counts) writes() int {
	n := 0
	for r, k := range c {
		if r.verb != http.MethodGet {
			n += k
		}
	}
	return n
}

// of returns the number of writes of a resource.
func (c counts) of(resource string) int {
	n := 0
	for r, k := range c {
		if r.resource == resource && r.verb != http.MethodGet {
			n += k
		}
	}
	return n
}

// reads returns the number of reads of single objects.
func (c counts) reads(resource string) int { return c[request{http.MethodGet, resource}] }

// ours are the resources that are counted.
var ours = map[string]bool{"apikeys": true, "accounts": true, "keyexports": true, "secrets": true, "events": true}

// requestsServed returns how many requests for these resources the API server has served, and how many of them ended with a
// conflict, from its metrics. It does not count lists and watches.
func requestsServed(metrics []sample) (served counts, conflicts int) {
	served = counts{}
	for _, s := range metrics {
		verb, resource := s.labels["verb"], s.labels["resource"]
		if verb == "APPLY" {
			verb = http.MethodPatch
		}
		switch verb {
		case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodGet:
		default:
			continue
		}
		if s.name != metricRequests || !ours[resource] {
			continue
		}
		if sub := s.labels["subresource"]; sub != "" {
			resource += "/" + sub
		}
		served[request{verb, resource}] += int(s.value)
		if s.labels["code"] == "409" {
			conflicts += int(s.value)
		}
	}
	return served, conflicts
}
