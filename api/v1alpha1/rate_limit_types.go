// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RateLimitUnit is the period in which a number of requests is allowed. Week is unknown to Envoy, which then applies a
// limit of its own configuration.
//
// +kubebuilder:validation:Enum=Second;Minute;Hour;Day;Week;Month;Year
type RateLimitUnit string

// The units of rate limits.
const (
	RateLimitSecond RateLimitUnit = "Second"
	RateLimitMinute RateLimitUnit = "Minute"
	RateLimitHour   RateLimitUnit = "Hour"
	RateLimitDay    RateLimitUnit = "Day"
	RateLimitWeek   RateLimitUnit = "Week"
	RateLimitMonth  RateLimitUnit = "Month"
	RateLimitYear   RateLimitUnit = "Year"
)

// RateLimit is a number of requests per unit of time. Gateways enforce it.
type RateLimit struct {
	// name identifies the rate limit within its list. A gateway is configured to enforce the rate limit of this name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=31
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9-]*$')",message="rateLimits.name must be a lower-case letter followed by at most 30 lower-case letters, digits and -, such as requests"
	Name string `json:"name,omitempty"`
	// requests is how many requests are allowed per unit. 0 allows none.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Requests *int32 `json:"requests,omitempty"`
	// unit is the period in which requests are counted: Second, Minute, Hour, Day, Week, Month or Year.
	// +required
	Unit RateLimitUnit `json:"unit,omitempty"`
}
