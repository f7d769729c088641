// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

// options holds the values of the flags.
type options struct {
	server server.Options

	sources         []string
	trusted         []string
	addressHeader   string
	accountHeader   string
	realm           string
	denyStatusOnly  bool
	maxFailures     string
	metadataHeaders []string

	ignoreExtensions []string

	auditSample    float64
	accountMetrics bool
	accountLimit   int

	maxStaleness time.Duration
	kubeconfigs  []string

	replica string
	traces  bool

	log zap.Options
}

func newCommand() *cobra.Command {
	o := options{replica: envOr("POD_NAME", hostname()), traces: isTracingEnabled(os.Environ())}
	cmd := &cobra.Command{
		Use:   "verifier",
		Short: "Verify the API keys of requests",
		Long: "verifier tells gateways and applications whether the API key in a request is valid: Envoy over gRPC (ext_authz), other\n" +
			"gateways over HTTP (/authz), and applications with JSON (/v1/verify). It holds the digests of all keys of its clusters in\n" +
			"memory, and keeps working while the API server is down. It exports traces if OTEL_EXPORTER_OTLP_ENDPOINT is set.",
		Version:       version.Get().String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE:       func(*cobra.Command, []string) error { return o.validate() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
			return run(cmd.Context(), o)
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

func (o *options) bind(f *pflag.FlagSet) {
	o.bindServer(f)
	o.bindClusters(f)
	o.bindRequests(f)
	o.bindReporting(f)

	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.log.BindFlags(zapFlags)
	f.AddGoFlagSet(zapFlags)
}

// bindServer binds the flags for addresses, TLS, limits and shutdown.
func (o *options) bindServer(f *pflag.FlagSet) {
	const defaultDrain, defaultShutdown = 5 * time.Second, 10 * time.Second
	f.StringVar(&o.server.GRPCAddress, "grpc-bind-address", ":9001", "`address` for Envoy (ext_authz over gRPC); 0 disables it")
	f.StringVar(&o.server.HTTPAddress, "http-bind-address", ":8080", "`address` for other gateways and applications (HTTP); 0 disables it")
	f.StringVar(&o.server.UsageAddress, "usage-bind-address", ":8443",
		"`address` of /v1/usage for the manager, over TLS; clients are authenticated and authorized by the API server; 0 disables it")
	f.StringVar(&o.server.MetricsAddress, "metrics-bind-address", ":8082",
		"`address` of /metrics, without authentication, so that it works while the API server is down; 0 disables it")
	f.StringVar(&o.server.ProbeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 disables it")

	f.StringVar(&o.server.TLS.Cert, "tls-cert-file", "",
		"`file` with the server certificate, reloaded when it changes; if unset, gRPC and HTTP are served without TLS")
	f.StringVar(&o.server.TLS.Key, "tls-key-file", "", "`file` with the private key of the server certificate")
	f.StringVar(&o.server.TLS.ClientCA, "tls-client-ca-file", "",
		"`file` with the CA certificates for client certificates, reloaded for each connection; if unset, no client certificate is required")

	f.IntVar(&o.server.MaxConnections, "max-connections", 10000,
		"maximum number of concurrent connections to each of --grpc-bind-address and --http-bind-address; further ones wait. 0 means no limit")
	f.BoolVar(&o.server.Reflection, "grpc-reflection", false, "serve gRPC reflection on --grpc-bind-address, for tools such as grpcurl")
	f.DurationVar(&o.server.DrainDelay, "drain-delay", defaultDrain,
		"how long to keep serving, while reporting as unready, after a termination signal")
	f.DurationVar(&o.server.ShutdownTimeout, "shutdown-timeout", defaultShutdown,
		"how long to wait for requests in flight after --drain-delay")
}

// bindClusters binds the flags for the clusters whose keys are verified.
func (o *options) bindClusters(f *pflag.FlagSet) {
	f.StringArrayVar(&o.kubeconfigs, "kubeconfig", nil,
		"`file` with the address and the credentials of an API server; if unset, KUBECONFIG and the ServiceAccount of the pod are used. To "+
			"follow several clusters, repeat it as NAME=FILE with a name for each cluster, or NAME= for the cluster of the pod; accounts are "+
			"then named ACCOUNT@NAME")
	f.DurationVar(&o.maxStaleness, "max-staleness", 0,
		"how long to give verdicts without a working watch of an API server; after that all its keys, and unknown keys, are refused until "+
			"its keys have been listed again. 0 means no limit")
}

// bindRequests binds the flags for reading and refusing requests.
func (o *options) bindRequests(f *pflag.FlagSet) {
	f.StringArrayVar(&o.sources, "key-source", verifier.DefaultSources,
		"`source` of keys in a request: header:NAME, header:NAME:SCHEME, query:NAME, cookie:NAME or basic; repeatable. A request with two "+
			"different keys is refused")
	f.StringArrayVar(&o.trusted, "trusted-proxy", nil,
		"`network` or address of proxies whose --client-address-header is trusted; repeatable")
	f.StringVar(&o.addressHeader, "client-address-header", "X-Forwarded-For",
		"`header` with the client address set by trusted proxies: X-Forwarded-For, X-Real-IP or Forwarded (RFC 7239). The others are ignored")
	f.StringVar(&o.accountHeader, "account-header", "",
		"request `header` that must identify the account of the key: NAME or NAME:name if it holds the name of the account, NAME:externalID "+
			"if it holds the spec.externalID, such as X-FF-Company:externalID")
	f.StringArrayVar(&o.metadataHeaders, "metadata-header", nil,
		"`ENTRY=HEADER` passes an entry of spec.metadata to the application in a header, such as team=X-Apikey-Team; repeatable. The name of "+
			"the header must begin with X-Apikey-")
	f.StringVar(&o.realm, "realm", "apikey-manager", "realm in the WWW-Authenticate header of 401 responses")
	f.BoolVar(&o.denyStatusOnly, "deny-status-only", false,
		"use only 401 and 403 for refusals, for gateways such as nginx that turn other codes into 500")

	f.StringVar(&o.maxFailures, "max-failures-per-client", "",
		"`rate` such as 60/min of requests with unknown keys from an address, or from an IPv6 /64, that are answered 401; further ones are "+
			"answered 429. Units: s, min, h. Known keys are accepted all the same. If unset, there is no limit")
	f.StringSliceVar(&o.ignoreExtensions, "ignore-extensions", nil,
		"comma-separated `names` of context extensions of Envoy to ignore. Requests of a route with any other unknown extension are refused")
}

// bindReporting binds the flags for the audit log and metrics.
func (o *options) bindReporting(f *pflag.FlagSet) {
	f.Float64Var(&o.auditSample, "audit-sample", 0,
		"fraction (0 to 1) of allowed requests written to the audit log; denied requests are always logged, of those beyond "+
			"--max-failures-per-client fewer and fewer")
	f.BoolVar(&o.accountMetrics, "account-metrics", false, "also count verdicts by account")
	f.IntVar(&o.accountLimit, "account-metrics-limit", 1000,
		"number of accounts that --account-metrics counts individually; the rest are counted together under an empty name")
}

func (o *options) validate() error {
	if _, err := verifier.NewKeyExtractor(o.sources); err != nil {
		return fmt.Errorf("--key-source: %w", err)
	}
	if _, err := verifier.NewClientIPResolver(o.trusted); err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	if _, err := verifier.ParseAddressHeader(o.addressHeader); err != nil {
		return fmt.Errorf("--client-address-header: %w", err)
	}
	if _, err := server.ParseAccountHeader(o.accountHeader); err != nil {
		return fmt.Errorf("--account-header: %w", err)
	}
	if _, err := verifier.ParseFailureRate(o.maxFailures); err != nil {
		return fmt.Errorf("--max-failures-per-client: %w", err)
	}
	if _, err := server.ParseMetadataHeaders(o.metadataHeaders); err != nil {
		return fmt.Errorf("--metadata-header: %w", err)
	}
	if _, err := parseKubeconfigs(o.kubeconfigs); err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	switch t := o.server.TLS; {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("invalid --tls-cert-file and --tls-key-file: must be set together")
	case t.ClientCA != "" && t.Cert == "":
		return errors.New("invalid --tls-client-ca-file: requires --tls-cert-file and --tls-key-file")
	case !(o.auditSample >= 0 && o.auditSample <= 1): // also refuses NaN
		return fmt.Errorf("invalid --audit-sample %v: must be from 0 to 1", o.auditSample)
	case o.accountLimit < 1:
		return fmt.Errorf("invalid --account-metrics-limit %d: must be at least 1", o.accountLimit)
	case !realmPattern.MatchString(o.realm):
		return fmt.Errorf("invalid --realm %q: must consist of ASCII letters, digits, spaces and punctuation except quotes and backslashes",
			o.realm)
	case slices.ContainsFunc(o.ignoreExtensions, isRequirement):
		return fmt.Errorf("invalid --ignore-extensions %s: must not contain scopes, account, externalID or preflight",
			strings.Join(o.ignoreExtensions, ","))
	case o.maxStaleness != 0 && o.maxStaleness < minMaxStaleness:
		return fmt.Errorf("invalid --max-staleness %s: must be at least %s, or 0 for no limit", o.maxStaleness, minMaxStaleness)
	case o.server.MaxConnections < 0:
		return fmt.Errorf("invalid --max-connections %d: must be at least 1, or 0 for no limit", o.server.MaxConnections)
	case o.server.DrainDelay < 0:
		return fmt.Errorf("invalid --drain-delay %s: must not be negative", o.server.DrainDelay)
	case o.server.ShutdownTimeout <= 0:
		return fmt.Errorf("invalid --shutdown-timeout %s: must be positive", o.server.ShutdownTimeout)
	}
	return nil
}

func isRequirement(extension string) bool {
	return slices.Contains([]string{"scopes", "account", "externalID", "preflight"}, extension)
}

// minMaxStaleness limits --max-staleness, because the regular restart of a watch must not disable verdicts.
const minMaxStaleness = 5 * time.Second

var realmPattern = regexp.MustCompile(`^[ !#-\[\]-~]*$`)

// isTracingEnabled reports whether the environment configures an endpoint for traces and does not disable them.
func isTracingEnabled(environment []string) bool {
	wanted := false
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "OTEL_SDK_DISABLED" && strings.EqualFold(value, "true"), name == "OTEL_TRACES_EXPORTER" && value == "none":
			return false
		case name == "OTEL_EXPORTER_OTLP_ENDPOINT", name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
			wanted = wanted || value != ""
		}
	}
	return wanted
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "verifier"
	}
	return name
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
