// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// usageAudience is what a token must be for that opens /v1/usage, so that no token that was meant for the API server is
// sent around among replicas.
const usageAudience = "apikey-verifier"

// UsageOptions say what is told of the use of keys, and to whom.
type UsageOptions struct {
	// API is how to reach the API server, which knows who may ask.
	API *rest.Config
	// Replica names this process, anew with each start.
	Replica string
	Index   *verifier.Index
	// KeysVersion is the newest that the index enforces.
	KeysVersion func() string
	Clock       clock.PassiveClock
	Logger      logr.Logger
}

// Usage answers GET /v1/usage to those who may get that path by the API server's RBAC.
func Usage(o UsageOptions) (http.Handler, error) {
	a, err := newAuth(o.API, o.Logger)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+usage.Path, a.require(http.HandlerFunc(o.serve)))
	return mux, nil
}

func (o *UsageOptions) serve(w http.ResponseWriter, r *http.Request) {
	parameters, since := r.URL.Query(), time.Time{}
	if text := parameters.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			problem{Status: http.StatusBadRequest, Detail: "since is no time: give one such as 2027-02-28T12:00:00Z, or leave it out"}.write(w)
			return
		}
	}
	references, detail := parseKeyReferences(parameters["refused"])
	if detail != "" {
		problem{Status: http.StatusBadRequest, Detail: detail}.write(w)
		return
	}
	credentials, detail := parseCredentialReferences(parameters["known"])
	if detail != "" {
		problem{Status: http.StatusBadRequest, Detail: detail}.write(w)
		return
	}
	report := usage.Report{Replica: o.Replica, Synced: o.Index.Complete(), KeysVersion: o.KeysVersion()}
	report.Refused, report.Known = o.Index.Refused(references, o.Clock.Now()), o.Index.Known(credentials)
	if parameters.Get("keys") != "none" {
		report.Keys = o.Index.Usage(since, o.Clock.Now())
	}
	h := w.Header()
	h["Cache-Control"], h["Content-Type"] = noStore, applicationJSON
	if err := json.NewEncoder(w).Encode(report); err != nil {
		o.Logger.V(1).Info("Could not send the use of keys", "cause", err.Error())
	}
}

// parseKeyReferences reads which keys the manager asks about, or says what is wrong with that.
func parseKeyReferences(texts []string) (list []usage.KeyReference, detail string) {
	if len(texts) > usage.MaxReferences {
		return nil, fmt.Sprintf("refused is there %d times: ask about at most %d keys at once", len(texts), usage.MaxReferences)
	}
	for _, text := range texts {
		reference, ok := usage.ParseKeyReference(text)
		if !ok {
			return nil, "refused names no key: give NAMESPACE/NAME/UID"
		}
		list = append(list, reference)
	}
	return list, ""
}

// parseCredentialReferences reads which credentials the manager asks about, or says what is wrong with that.
func parseCredentialReferences(texts []string) (list []usage.CredentialReference, detail string) {
	if len(texts) > usage.MaxReferences {
		return nil, fmt.Sprintf("known is there %d times: ask about at most %d credentials at once", len(texts), usage.MaxReferences)
	}
	for _, text := range texts {
		var reference usage.CredentialReference
		if err := reference.UnmarshalText([]byte(text)); err != nil {
			return nil, "known names no credential: give NAMESPACE/NAME/UID/ID"
		}
		list = append(list, reference)
	}
	return list, ""
}

// auth asks the API server who somebody is, and what they may get.
type auth struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	logger        logr.Logger
}

func newAuth(api *rest.Config, logger logr.Logger) (*auth, error) {
	reviews, err := authenticationv1.NewForConfig(api)
	if err != nil {
		return nil, fmt.Errorf("create the client of token reviews: %w", err)
	}
	access, err := authorizationv1.NewForConfig(api)
	if err != nil {
		return nil, fmt.Errorf("create the client of access reviews: %w", err)
	}
	const cacheTTL, timeout, initialDelay, factor, attempts = 30 * time.Second, 5 * time.Second, 200 * time.Millisecond, 2, 3
	retry := &wait.Backoff{Duration: initialDelay, Factor: factor, Steps: attempts}
	authn, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous: &apiserver.AnonymousAuthConfig{Enabled: false}, CacheTTL: cacheTTL,
		TokenAccessReviewClient: reviews, TokenAccessReviewTimeout: timeout, WebhookRetryBackoff: retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("review tokens: %w", err)
	}
	authz, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: access, AllowCacheTTL: cacheTTL, DenyCacheTTL: cacheTTL, WebhookRetryBackoff: retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("review access: %w", err)
	}
	return &auth{authenticator: authn, authorizer: authz, logger: logger}, nil
}

// require lets those through whose token is for the verifier, and who may get the path.
func (a *auth) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := authenticator.WithAudiences(r.Context(), authenticator.Audiences{usageAudience})
		caller, ok, err := a.authenticator.AuthenticateRequest(r.WithContext(ctx))
		if err != nil {
			a.logger.V(1).Info("Could not authenticate a caller", "path", r.URL.Path, "cause", err.Error())
		}
		if err != nil || !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem{Status: http.StatusUnauthorized, Detail: "send a token with the audience " + usageAudience + ", as Authorization: Bearer"}.write(w)
			return
		}
		decision, _, err := a.authorizer.Authorize(ctx, authorizer.AttributesRecord{User: caller.User, Verb: strings.ToLower(r.Method), Path: r.URL.Path})
		if err != nil {
			a.logger.V(1).Info("Could not authorize a caller", "path", r.URL.Path, "user", caller.User.GetName(), "cause", err.Error())
		}
		if err != nil || decision != authorizer.DecisionAllow {
			problem{Status: http.StatusForbidden, Detail: "allow the caller to get the nonResourceURL " + r.URL.Path}.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
