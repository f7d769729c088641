// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// observedStates lists the values of status.state.
var observedStates = []v1alpha1.ObservedState{
	v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateInactive, v1alpha1.StateSuspended, v1alpha1.StateExpired, v1alpha1.StateRevoked,
}

// keyFilter selects APIKeys. The API server evaluates what it can; matches evaluates the rest.
type keyFilter struct {
	account, label, state, keyID string
	uid                          string
	selector                     string
	expiringWithin, unusedSince  days
}

// bind adds the flags that select keys by account and label selector.
func (f *keyFilter) bind(e *environment, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.account, "account", "", "select the keys of an `account`")
	e.completeAccountFlag(cmd)
	flags.StringVarP(&f.selector, "selector", "l", "", "select keys by the labels of the object, such as team=payments")
}

// bindAll adds all flags.
func (f *keyFilter) bindAll(e *environment, cmd *cobra.Command) {
	f.bind(e, cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.label, "label", "", "select keys by spec.label, the display name of a key")
	flags.StringVar(&f.state, "state", "", "select keys in a `state`: "+joinStates(", "))
	flags.StringVar(&f.keyID, "key-id", "", "select the key whose current credential has this `ID`")
	flags.StringVar(&f.uid, "uid", "", "select the key whose object has this `UID`")
	flags.Var(&f.expiringWithin, "expiring-within", "select keys that expire within a `period`, such as 7d or 12h")
	flags.Var(&f.unusedSince, "unused-since", "select keys that are older than a `period` and have not been used in it, such as 90d")
}

// options returns the part of the filter that the API server evaluates.
func (f *keyFilter) options(namespace string) (client.ListOptions, error) {
	selector, err := labels.Parse(f.selector)
	if err != nil {
		return client.ListOptions{}, usageErrorf("invalid value of --selector: %w", err)
	}
	state, err := parseState(f.state)
	if err != nil {
		return client.ListOptions{}, err
	}
	byField := fields.Set{}
	for name, value := range map[string]string{
		"spec.account": f.account, "spec.label": f.label, "status.state": string(state), "status.keyID": f.keyID,
	} {
		if value != "" {
			byField[name] = value
		}
	}
	return client.ListOptions{Namespace: namespace, LabelSelector: selector, FieldSelector: fields.SelectorFromSet(byField)}, nil
}

// matches reports whether the filter selects a key that options selects.
func (f *keyFilter) matches(k *v1alpha1.APIKey, now time.Time) bool {
	return (f.uid == "" || f.uid == string(k.UID)) &&
		(f.expiringWithin == 0 || expiresWithin(k, now, time.Duration(f.expiringWithin))) &&
		(f.unusedSince == 0 || isUnused(k, now.Add(-time.Duration(f.unusedSince))))
}

func expiresWithin(k *v1alpha1.APIKey, now time.Time, period time.Duration) bool {
	expiration := k.Status.ExpirationTime
	return expiration != nil && expiration.After(now) && !expiration.After(now.Add(period))
}

// isUnused reports whether a key existed at a point in time and has not been used since then.
func isUnused(k *v1alpha1.APIKey, since time.Time) bool {
	return k.CreationTimestamp.Time.Before(since) && (k.Status.LastUsedTime == nil || k.Status.LastUsedTime.Time.Before(since))
}

// parseState returns the state that a user means, in upper or lower case.
func parseState(state string) (v1alpha1.ObservedState, error) {
	if state == "" {
		return "", nil
	}
	for _, s := range observedStates {
		if strings.EqualFold(string(s), state) {
			return s, nil
		}
	}
	return "", usageErrorf("invalid value of --state: %q: must be %s", state, joinStates(" or "))
}

func joinStates(separator string) string {
	names := make([]string, len(observedStates))
	for i, s := range observedStates {
		names[i] = string(s)
	}
	return strings.Join(names, separator)
}

// days is a flag for a period that may be long: 90d, 2w, 12h, 1h30m.
type days time.Duration

func (d *days) String() string {
	if *d == 0 {
		return ""
	}
	return model.Duration(*d).String()
}

// Set parses a period.
func (d *days) Set(text string) error {
	period, err := model.ParseDuration(text)
	if err != nil || period <= 0 {
		return usageErrorf("must be a period such as 7d, 12h or 1h30m")
	}
	*d = days(period)
	return nil
}

// Type returns the name of the type in the help of flags.
func (d *days) Type() string { return "period" }

// conditionOf returns a condition of a key. Its status is Unknown if the key does not have it.
func conditionOf(k *v1alpha1.APIKey, condition string) metav1.Condition {
	return findCondition(k.Status.Conditions, condition)
}

// findCondition returns a condition of a list. Its status is Unknown if the list does not have it.
func findCondition(list []metav1.Condition, condition string) metav1.Condition {
	for _, c := range list {
		if c.Type == condition {
			return c
		}
	}
	return metav1.Condition{Type: condition, Status: metav1.ConditionUnknown}
}
