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

// usageAudience names the audience that tokens for /v1/usage must have. Tokens for the API server are not accepted, so
// that clients do not send them to verifiers.
const usageAudience = "apikey-verifier"

// UsageOptions configures the handler for /v1/usage.
type UsageOptions struct {
	// Replica identifies this process. It must change with each start.
	Replica string
	// Clusters holds the clusters whose managers may request reports.
	Clusters []UsageCluster
	Clock    clock.PassiveClock
	Logger   logr.Logger
}

// UsageCluster configures the reports for the manager of one cluster.
type UsageCluster struct {
	// Name is the value of the parameter cluster. It is empty if there is only one cluster, which needs no name.
	Name string
	// API configures access to the API server of the cluster, which authenticates and authorizes clients.
	API *rest.Config
	// Index holds the keys of the cluster. A report contains no others.
	Index *verifier.Index
	// KeysVersion returns the newest resourceVersion that the index has applied.
	KeysVersion func() string
}

// Usage returns a handler for GET /v1/usage. It serves clients that the RBAC rules of a cluster allow to get that path, and
// reports the keys of that cluster only. The request names the cluster, because a token must not be sent to the API server
// of another one, which could use it.
func Usage(o UsageOptions) (http.Handler, error) {
	handlers := make(map[string]http.Handler, len(o.Clusters))
	for i := range o.Clusters {
		cluster := &o.Clusters[i]
		a, err := newAuth(cluster.API, o.Logger)
		if err != nil {
			return nil, err
		}
		handlers[cluster.Name] = a.requireAccess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { o.serve(w, r, cluster) }))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+usage.Path, func(w http.ResponseWriter, r *http.Request) {
		handler := handlers[r.URL.Query().Get(usage.ClusterParameter)]
		if handler == nil {
			problem{Status: http.StatusBadRequest, Detail: "invalid cluster: must be the name that --kubeconfig of the verifier gives " +
				"the cluster of the manager (--verifier-cluster), or absent if it gives none"}.write(w)
			return
		}
		handler.ServeHTTP(w, r)
	})
	return mux, nil
}

func (o *UsageOptions) serve(w http.ResponseWriter, r *http.Request, cluster *UsageCluster) {
	parameters, since := r.URL.Query(), time.Time{}
	if text := parameters.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			problem{Status: http.StatusBadRequest, Detail: "invalid since: must be a time such as 2027-02-28T12:00:00Z"}.write(w)
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
	report := usage.Report{Replica: o.Replica, Synced: cluster.Index.Complete(), KeysVersion: cluster.KeysVersion()}
	report.Refused, report.Known = cluster.Index.Refused(references, o.Clock.Now()), cluster.Index.Known(credentials)
	if parameters.Get("keys") != "none" {
		report.Keys = cluster.Index.Usage(since, o.Clock.Now())
	}
	h := w.Header()
	h["Cache-Control"], h["Content-Type"] = noStore, applicationJSON
	if err := json.NewEncoder(w).Encode(report); err != nil {
		o.Logger.V(1).Info("Failed to send the usage of keys", "cause", err.Error())
	}
}

// parseKeyReferences parses the values of the parameter refused. detail describes what is wrong with them.
func parseKeyReferences(texts []string) (list []usage.KeyReference, detail string) {
	if len(texts) > usage.MaxReferences {
		return nil, fmt.Sprintf("too many values of refused: %d, must be at most %d", len(texts), usage.MaxReferences)
	}
	for _, text := range texts {
		reference, ok := usage.ParseKeyReference(text)
		if !ok {
			return nil, "invalid refused: must be NAMESPACE/NAME/UID"
		}
		list = append(list, reference)
	}
	return list, ""
}

// parseCredentialReferences parses the values of the parameter known. detail describes what is wrong with them.
func parseCredentialReferences(texts []string) (list []usage.CredentialReference, detail string) {
	if len(texts) > usage.MaxReferences {
		return nil, fmt.Sprintf("too many values of known: %d, must be at most %d", len(texts), usage.MaxReferences)
	}
	for _, text := range texts {
		var reference usage.CredentialReference
		if err := reference.UnmarshalText([]byte(text)); err != nil {
			return nil, "invalid known: must be NAMESPACE/NAME/UID/ID"
		}
		list = append(list, reference)
	}
	return list, ""
}

// auth authenticates and authorizes clients with the API server.
type auth struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	logger        logr.Logger
}

func newAuth(api *rest.Config, logger logr.Logger) (*auth, error) {
	reviews, err := authenticationv1.NewForConfig(api)
	if err != nil {
		return nil, fmt.Errorf("create the client for token reviews: %w", err)
	}
	access, err := authorizationv1.NewForConfig(api)
	if err != nil {
		return nil, fmt.Errorf("create the client for access reviews: %w", err)
	}
	const cacheTTL, timeout, initialDelay, factor, attempts = 30 * time.Second, 5 * time.Second, 200 * time.Millisecond, 2, 3
	retry := &wait.Backoff{Duration: initialDelay, Factor: factor, Steps: attempts}
	authn, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous: &apiserver.AnonymousAuthConfig{Enabled: false}, CacheTTL: cacheTTL,
		TokenAccessReviewClient: reviews, TokenAccessReviewTimeout: timeout, WebhookRetryBackoff: retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("create the authenticator: %w", err)
	}
	authz, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: access, AllowCacheTTL: cacheTTL, DenyCacheTTL: cacheTTL, WebhookRetryBackoff: retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("create the authorizer: %w", err)
	}
	return &auth{authenticator: authn, authorizer: authz, logger: logger}, nil
}

// requireAccess passes on requests whose token has the audience of the verifier, from clients that may get the path.
func (a *auth) requireAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := authenticator.WithAudiences(r.Context(), authenticator.Audiences{usageAudience})
		caller, ok, err := a.authenticator.AuthenticateRequest(r.WithContext(ctx))
		if err != nil {
			a.logger.V(1).Info("Failed to authenticate a client", "path", r.URL.Path, "cause", err.Error())
		}
		if err != nil || !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem{
				Status: http.StatusUnauthorized,
				Detail: "the request must have an Authorization: Bearer header with a token for the audience " + usageAudience,
			}.write(w)
			return
		}
		decision, _, err := a.authorizer.Authorize(ctx,
			authorizer.AttributesRecord{User: caller.User, Verb: strings.ToLower(r.Method), Path: r.URL.Path})
		if err != nil {
			a.logger.V(1).Info("Failed to authorize a client", "path", r.URL.Path, "user", caller.User.GetName(), "cause", err.Error())
		}
		if err != nil || decision != authorizer.DecisionAllow {
			problem{Status: http.StatusForbidden, Detail: "RBAC must allow the client to get the nonResourceURL " + r.URL.Path}.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
