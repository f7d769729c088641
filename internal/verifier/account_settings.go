// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/json"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// settingsCache holds settings for further accounts with the same ones, and time zones, each of which takes kilobytes.
// Writers of the index use it.
type settingsCache struct {
	settings map[string]*accountSettings
	// length is the sum of the lengths of the IDs in settings.
	length int
	zones  map[string]*time.Location
}

// maxIDsLength limits the IDs in a settingsCache, and with them the memory of the settings. maxZones exceeds the number of
// time zones. A map that is full is emptied.
const (
	maxIDsLength = 256 << 10
	maxZones     = 1 << 10
)

// settingsID identifies accounts with the same settings. It holds the whole spec except for what differs in every account, so that
// settings that depend on a further field are not shared by mistake.
type settingsID struct {
	v1alpha1.AccountSpec

	// AllowsAnyScope tells no allowed scopes from any scope, which are the same in the JSON of a spec.
	AllowsAnyScope bool
}

// of returns the settings of an Account.
func (c *settingsCache) of(spec *v1alpha1.AccountSpec) *accountSettings {
	named := settingsID{*spec, spec.AllowedScopes == nil}
	named.DisplayName, named.ExternalID = "", ""
	id, err := json.Marshal(named)
	if err != nil {
		return c.parse(spec)
	}
	known := c.settings[string(id)]
	if known == nil {
		known = c.parse(spec)
		c.add(string(id), known)
	}
	return known
}

func (c *settingsCache) parse(spec *v1alpha1.AccountSpec) *accountSettings {
	s := &accountSettings{
		suspended: spec.State == v1alpha1.AccountSuspended, zone: c.zone(spec.TimeZone), allowedScopes: spec.AllowedScopes,
		whitelistRequired: spec.IPWhitelistPolicy == v1alpha1.IPWhitelistRequired, attributes: newAttributes(spec),
	}
	if d := spec.KeyDefaults; d != nil {
		s.scopes = strings.Join(d.Scopes, ",")
	}
	if spec.AllowedNamespaces == nil {
		return s
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.AllowedNamespaces)
	if err != nil {
		selector = labels.Nothing() // fail closed, as the manager does
	}
	s.selector = selector
	return s
}

// zone returns a time zone, or nil if it is unknown.
func (c *settingsCache) zone(name string) *time.Location {
	if known := c.zones[name]; known != nil {
		return known
	}
	zone, err := keys.LoadZone(name)
	if err != nil {
		return nil
	}
	if c.zones == nil || len(c.zones) >= maxZones {
		c.zones = map[string]*time.Location{}
	}
	c.zones[name] = zone
	return zone
}

func (c *settingsCache) add(id string, s *accountSettings) {
	if c.length += len(id); c.settings == nil || c.length > maxIDsLength {
		c.settings, c.length = map[string]*accountSettings{}, len(id)
	}
	c.settings[id] = s
}
